#pragma once

#include "app/cli.h"
#include "app/condition.h"
#include "flow/tape.h"

/* Which events a replay is about, by the command line: a filter of the log, --where, and overlays.
 * Everything is read in sessions that the server itself keeps from writing. */
typedef struct ReplaySource ReplaySource;

/* What it takes from the command line, for a command's table. */
#define REPLAY_SOURCE_OPTIONS                                                                      \
	{ "from", 0, "ID|TIME", NULL, "begin there; what was before is replayed unseen" },         \
		{ "to", 0, "ID|TIME", NULL,                                                        \
			"end with that event, or with the last up to that time" },                 \
		{ "cold", 0, NULL, NULL, "nothing was before --from: begin with no states" },      \
		{ "aggregate", 0, "TYPE[/ID]", NULL, "only events of these aggregates" },          \
		{ "type", 0, "GLOB", NULL,                                                         \
			"only these event types, also if the script does not take them; may be "   \
			"repeated" },                                                              \
		{ "correlation", 0, "ID", NULL, "only events of this correlation" },               \
		{ "where", 0, "EXPR", NULL,                                                        \
			"only events for which a Lua expression over `event` is true" },           \
		{ "drop", 0, "ID", NULL, "what if this event had not been; may be repeated" },     \
		{ "edit", 0, "ID=PATCH", NULL,                                                     \
			"what if it had been this: a JSON Patch or a merge patch of the event" },  \
		{ "insert", 0, "FILE", NULL,                                                       \
			"what if these events had been, too: JSON as `publish` takes it; "         \
			"\"after\" names an event" },                                              \
	{                                                                                          \
		"swap", 0, "A,B", NULL, "what if these two had come in the other order"            \
	}

/* Checks all words; connects to nothing. */
ReplaySource *replay_source_open(Cli *cli, Handler *h, Err *err);
void replay_source_close(ReplaySource *s); /* after the histories and tapes that came from it */

/* The log's part, without --where. All that are asked for end at the same event. */
History *replay_source_history(ReplaySource *s, Err *err);

/* The same as a tape, with --where; with the overlays, if `changed`. */
Tape *replay_source_tape(ReplaySource *s, bool changed, Err *err);

bool replay_source_is_changed(const ReplaySource *s); /* there are overlays */

/* Leaves out of a page what --where does not take. The answer lives until the next call. */
EventSlice replay_source_where(ReplaySource *s, EventSlice page);
const Condition *replay_source_condition(const ReplaySource *s); /* NULL: no --where */

/* Where --from is on a tape: what is before it is replayed unseen. */
bool replay_source_start(ReplaySource *s, Tape *tape, size_t *number, Err *err);
bool replay_source_is_before(const ReplaySource *s, const Event *e);

/* What the overlays do, for people. */
void replay_source_describe(const ReplaySource *s, Buf *out);

/* The place in the true history that an event of the changed one has: its id, or for a swapped one
 * its partner's; 0 for one that was inserted. */
int64_t replay_source_place(const ReplaySource *s, int64_t id);

/* True where the filter lets only types through that the script has a handler for. */
bool replay_source_all_taken(const ReplaySource *s);

const char *replay_source_aggregate(const ReplaySource *s); /* the id in --aggregate; NULL: none */
bool replay_source_takes(
	const ReplaySource *s, const Event *e); /* the script has a handler for it */

/* "no event matches …", with what may help. */
bool replay_source_nothing(const ReplaySource *s, Err *err);

/* "1042", "#1042" or a time. */
bool replay_source_point(const char *subject, const char *text, int64_t *id, int64_t *us, Err *err);
