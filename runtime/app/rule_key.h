#pragma once

#include "model/handler.h"

/* Keys of rules as people type and read them: a word for each part in the order of their names, or
 * one with / between the parts, or the JSON text. */

/* Appends the key's text, as in DeadLetter.key. False and why, where it is none. */
bool rule_key_read(const Definition *def, int n, char **words, Buf *out, Err *err);

bool rule_key_is(const char *word, Str key);

/* d-17, d-17/agent */
void rule_key_show(Str key, Buf *out);
