#pragma once

#include "flow/memory_table.h"

/* A rule over a history, in memory and at full speed: its states, its timers, what it raises.
 * Nothing is written anywhere, no action leaves. Events that it refuses are treated as its on_error
 * says, as a daemon would. The events of alerts that the rule itself raised once are passed over:
 * it is raising them again. */
typedef struct RuleRun RuleRun;

/* What it comes to. */
typedef struct {
	int64_t events;   /* handled, of types that it takes */
	int64_t cpu_ns;   /* processor time, with the timers */
	size_t most_keys; /* that had a state at one time */
	size_t keys,
		bytes; /* with their states as JSON, when they took the most room (to a tenth) */
	int64_t letters;
} RuleCost;

/* Told of each object of Effects.raised (alerts, events, acts, probes), in order, and of each dead
 * letter. The texts live for the call. */
typedef struct {
	void (*raised)(void *owner, Str effect);
	void (*letter)(void *owner, const DeadLetter *letter); /* may be NULL */
	/* Asked several times a second; false ends it with ERR_STOPPED. May be NULL. */
	bool (*pause)(void *owner, const Event *at);
	void *owner;
} RuleWatch;

/* The handler (of a rule) stays the caller's; it is forgotten first. */
RuleRun *rule_run_open(Handler *h, const RuleWatch *watch, Err *err);
void rule_run_close(RuleRun *r);

/* The next events of the log. False: it cannot go on, or on_error = "stop" and an event failed. */
bool rule_run_page(RuleRun *r, EventSlice page, Err *err);

/* No event older than this follows: fires the timers that were due before it. */
bool rule_run_until(RuleRun *r, int64_t until_us, Err *err);

const RuleCost *rule_run_cost(RuleRun *r);
const MemoryTable *rule_run_states(const RuleRun *r); /* key -> the engine's document */
/* What the rule keeps of itself beside the keys (counts of what it refused, among others); s ==
 * NULL: nothing. */
Str rule_run_memory(const RuleRun *r);
