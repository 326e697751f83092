#pragma once

#include "model/handler.h"

/* The Lua of `moonwake test`: a state of its own with all of Lua's library and the modules of the
 * system (busted), for a workspace's specs, which are trusted. What its words ask of the scripts
 * under test is done by a trial. */

/* A script, a table in memory, and the events that a spec made up: a small history that only grows.
 * Events are numbered from 0. */
typedef struct SpecTrial SpecTrial;

typedef struct {
	/* `script` is a name or a path of the workspace. `cover`: lines are counted. A rule tells
	 * how it judged, too ("probe" among what it raises). */
	SpecTrial *(*open)(void *owner, const char *script, bool cover, Err *err);
	/* Another one over the same events, not yet handled, with an empty table. It must be closed
	 * before the first. */
	SpecTrial *(*again)(SpecTrial *t, Err *err);
	void (*close)(SpecTrial *t);

	const Definition *(*definition)(SpecTrial *t);
	void (*add)(SpecTrial *t, const Event *event); /* copied */
	/* Which of the definition's types takes the event; -1: none. */
	int (*taken_by)(SpecTrial *t, size_t number);
	Str (*key_of)(SpecTrial *t, size_t number, size_t nth); /* as HandlerOps.key_of */

	/* As the daemon does it: the page [from, to) is prepared, then run in one go or in parts.
	 * A failure stops at *at, with every state as it was before that event. */
	bool (*prepare)(SpecTrial *t, size_t from, size_t to, Err *err);
	bool (*run)(SpecTrial *t, size_t *at, size_t to, Err *err);
	bool (*commit)(SpecTrial *t, Err *err);
	void (*forget)(SpecTrial *t); /* what was not committed never happened */
	void (*park)(SpecTrial *t, size_t number);
	/* The script is loaded anew, as after a restart of the program; the table stays. */
	bool (*restart)(SpecTrial *t, Err *err);

	/* The nth row in bytewise order of the keys; key.s == NULL behind the last one. They live
	 * until the next commit. */
	void (*row)(SpecTrial *t, size_t nth, Str *key, Str *state, int64_t *position,
		int64_t *updated_us);
	Str (*coverage)(SpecTrial *t); /* as HandlerOps.coverage */

	/* Of a rule: no event is older than the horizon; fires the timers that were due before it,
	 * and commits. */
	bool (*advance)(SpecTrial *t, int64_t horizon_us, Err *err);
	/* The nth object that was raised, and the nth letter of a timer that failed, of all
	 * commits; s == NULL behind the last one. */
	Str (*raised)(SpecTrial *t, size_t nth);
	Str (*letter)(SpecTrial *t, size_t nth, Str *key, Str *trace);
} SpecOps;

/* Runs spec files. `options` is a JSON object for the embedded Lua (runtime/spec/init.lua says what
 * is in it). *passed: no spec failed. False where nothing could be run: ERR_USAGE for what was
 * asked, another kind where something is missing. The current folder is the workspace. */
bool lua_spec_run(const SpecOps *ops, void *owner, Str options, bool *passed, Err *err);
