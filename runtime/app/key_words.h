#pragma once

#include "model/handler.h"

/* The key of a projection's row from the words that a person typed: one for each key column, or one
 * JSON text for all. Appends it as DeadLetter.key has it. Returns how many words it took; 0 and the
 * reason where they make no key. */
int key_from_words(const Definition *def, int n, char **words, Buf *out, Err *err);

/* The text of a key that has one part: what a person would type. */
const char *key_word(Arena *arena, Str key);
