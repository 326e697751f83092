#pragma once

#include "model/event.h"

/* Which event gave each leaf of a state its value: what blame keeps while it folds. */

/* An event that changed the state. It lives as long as a leaf is owed to it. */
typedef struct {
	Event event; /* a copy, in a block of its own */
	void *block;
	Str *kept; /* pairs: the keys of the event, and their rows before it (s == NULL: none) */
	size_t nkept;
	size_t leaves; /* that are owed to it */
	bool traced;
} BlameSetter;

/* `kept` may be NULL; the texts are copied. */
BlameSetter *blame_setter_new(const Event *e, const Str *kept, size_t nkept);
void blame_setter_free(BlameSetter *s);

typedef struct {
	Str path;
	BlameSetter *setter; /* NULL: the leaf is not there … */
	int64_t removed_by;  /* … since the event of this id */
	const char *file;    /* what trace found: the line, */
	int line;
	bool initial; /* or that the state began with it */
} BlameLeaf;

typedef struct {
	BlameLeaf *at; /* in no order */
	size_t count, cap;
	uint32_t *slots;
	size_t mask;
} BlameLeaves;

BlameLeaf *blame_leaf(const BlameLeaves *l, Str path); /* NULL: never seen */
void blame_leaf_set(BlameLeaves *l, Str path, BlameSetter *setter);
void blame_leaf_remove(BlameLeaves *l, Str path, int64_t removed_by);
void blame_leaves_free(BlameLeaves *l);
