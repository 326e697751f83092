#pragma once

#include "model/handler.h"

/* A projection's table, or a reducer's states, in memory: what stands in for the database where
 * nothing may be written. Key -> state, both as JSON text. */
typedef struct MemoryTable MemoryTable;

typedef struct {
	Str key;   /* as in DeadLetter.key */
	Str state; /* as HandlerOps.load takes it: a row's columns without its key, a document, or
		    * a reducer's {"version", "state"} */
	int64_t position, updated_us;
} MemoryRow;

MemoryTable *memory_table_new(void);
void memory_table_free(MemoryTable *t);
void memory_table_clear(MemoryTable *t); /* no rows are left */

/* Copies; state.s == NULL removes. */
void memory_table_put(MemoryTable *t, const MemoryRow *row);
/* NULL: none. Lives until the next put. */
const MemoryRow *memory_table_get(const MemoryTable *t, Str key);
size_t memory_table_count(const MemoryTable *t);
size_t memory_table_bytes(const MemoryTable *t);

/* All rows in bytewise order of their keys; the array is the caller's to free, the rows live until
 * the next put. */
MemoryRow *memory_table_rows(const MemoryTable *t, size_t *n);

/* Serves a handler from it: loads what need() asks for … */
bool memory_table_prepare(
	MemoryTable *t, Handler *h, EventSlice page, size_t from, size_t to, Err *err);
/* … and takes over what it collects, as if it were committed. */
bool memory_table_commit(MemoryTable *t, Handler *h, Err *err);

/* The same in parts: loads those of `missing` (as need() and due() tell them) that it has; takes
 * the states of what was collected. */
bool memory_table_load(MemoryTable *t, Handler *h, Str missing, Err *err);
void memory_table_take(MemoryTable *t, Handler *h, const Effects *fx);
