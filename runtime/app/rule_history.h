#pragma once

#include "flow/history.h"
#include "model/handler.h"

/* Which part of the log decides about a rule, or about one key of it. */

/* Microseconds before an instant that the state at that instant depends on; -1: all history. */
int64_t rule_horizon(const Definition *def);
/* Its clock is when events happened, not when they were appended. */
bool rule_by_occurred(const Definition *def);
/* The event's time by the rule's clock. */
int64_t rule_event_time(const Definition *def, const Event *e);

/* What has to be replayed for what happened in [since, until) by the rule's clock (0: no bound) to
 * come out right. `key`: s != NULL: for that key alone, as far as that is less. What *out points to
 * is the definition's, or in the arena. */
bool rule_history(PgDb *db, const Definition *def, Str key, int64_t since_us, int64_t until_us,
	Arena *arena, HistoryFilter *out, Err *err);
