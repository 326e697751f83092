#pragma once

#include "flow/memory_table.h"

/* What the database keeps of a rule, in memory: the states of its keys, its timers, and what it has
 * beside them (a document of its own, the rows of the projections that it reads). */
typedef struct RuleStore RuleStore;

RuleStore *rule_store_new(void);
void rule_store_free(RuleStore *s);

/* Gives the handler what it wants back after it was opened or forgotten; nothing where it wants
 * nothing. The two below do it, too. */
bool rule_store_restore(RuleStore *s, Handler *h, Err *err);

/* Serves the handler: before run(), and one round of advance(), which is to be repeated while
 * next_due() is below the horizon; what each of them changed has to be collected … */
bool rule_store_prepare(
	RuleStore *s, Handler *h, EventSlice page, size_t from, size_t to, Err *err);
bool rule_store_advance(RuleStore *s, Handler *h, int64_t horizon_us, bool once, Err *err);
/* … and taken over. Calls raised() for each object of Effects.raised that is for
 * others (alerts, events, acts, probes), in order; the text lives for the call. */
void rule_store_take(RuleStore *s, Handler *h, const Effects *fx,
	void (*raised)(void *owner, Str effect), void *owner);

const MemoryTable *rule_store_states(const RuleStore *s); /* key -> the engine's document */
Str rule_store_memory(const RuleStore *s); /* the document of its own; s == NULL: none */
