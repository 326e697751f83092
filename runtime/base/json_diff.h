#pragma once

#include "base/mem.h"

/* What differs between two JSON values, leaf by leaf: the difference of two lists of leaves. A leaf
 * is a scalar or an empty container, so {"a":{}} to {"a":{"b":1}} is "a" gone and "a.b" come. */
typedef struct {
	Str path;   /* "apps.agent.image", "list[2].name" (elements count from 1, as in Lua), "" for
		     * the value itself; a name that is no plain word is written ["like this"] */
	Str before; /* JSON text as it stood; s == NULL: it was not there */
	Str after;
} JsonChange;

typedef struct {
	JsonChange *at; /* members in bytewise order of their names, elements by position */
	size_t count, cap;
	Arena *arena; /* of the paths; the values point into the texts that were compared */
} JsonDiff;

/* Replaces what is in *out. Zero-initialise it before the first call. Texts must be valid JSON;
 * s == NULL stands for no value at all. Numbers are equal where their values are, members wherever
 * they stand; of a repeated member the last one counts. */
void json_diff(Str before, Str after, JsonDiff *out);
void json_diff_free(JsonDiff *diff);

/* The same for one value: each leaf as a change from nothing. */
static inline void json_leaves(Str value, JsonDiff *out)
{
	json_diff((Str){ NULL, 0 }, value, out);
}

/* The value at a path as above, of a leaf or of a container; s == NULL: there is none. */
Str json_at(Str value, Str path);

/* Appends the value without spaces, with the members of its objects in bytewise order of their
 * names: jsonb has another order. */
void json_add_sorted(Buf *out, Str value);
