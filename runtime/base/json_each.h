#pragma once

#include "base/mem.h"

/* Goes over the members of a JSON object or the elements of an array. The text must be valid JSON;
 * with any other no byte outside of it is read. */
typedef struct {
	const char *p, *end;
	bool object;
} JsonEach;

/* Of anything but an object or an array: nothing to go over. */
JsonEach json_each(Str container);

/* The next one: *name is the member's name as it stands, with its quotes (s == NULL in an array),
 * *value its text. False behind the last one; each->p is then behind the closing bracket. */
bool json_each_next(JsonEach *each, Str *name, Str *value);

/* The same for the next element of an array of containers, without measuring it first: *inner goes
 * over it. Once that is through, give its place back: each->p = inner.p. */
bool json_each_enter(JsonEach *each, JsonEach *inner);

/* Behind the value that begins at p. */
const char *json_value_end(const char *p, const char *end);
