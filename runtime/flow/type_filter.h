#pragma once

#include "base/mem.h"

/* Event types, exact ones and globs, as the two text[] literals that statements take. */
typedef struct {
	Buf exact, like; /* types; LIKE patterns */
	bool all;        /* one of them is "*" */
} TypeFilter;

/* Zero-initialise, add, close; then both are literals. */
void type_filter_add(TypeFilter *f, Str type);
void type_filter_close(TypeFilter *f);
void type_filter_free(TypeFilter *f);
