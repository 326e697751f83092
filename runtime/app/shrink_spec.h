#pragma once

#include "base/err.h"
#include "model/event.h"

/* A history that makes a script fail, as a spec that `moonwake test` runs. */
typedef struct {
	const char *script; /* the path in the workspace */
	const char *name;   /* the definition's */
	EventSlice events;
	size_t of;             /* the events that they were taken from */
	const char *assertion; /* NULL: the script fails by itself … */
	const char *error;     /* … and this is what it says */
	Str key;               /* whose state the assertion is about */
} ShrinkSpec;

/* Folders on the way are made. An existing file is left alone unless
 * `overwrite`. */
bool shrink_spec_write(const ShrinkSpec *spec, const char *path, bool overwrite, Err *err);
