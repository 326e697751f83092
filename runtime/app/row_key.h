#pragma once

#include "flow/memory_table.h"

/* A row's key as a person types it: as JSON ("[\"a\",1]", 17), or a plain word for a string. */
bool row_key_is(const char *word, Str key);
const MemoryRow *row_key_find(
	const MemoryTable *t, const char *word); /* NULL: there is no such row */

/* A state as the script knows it. What is loaded into a reducer has its version around it. */
Str row_state(const Definition *def, Str state);
