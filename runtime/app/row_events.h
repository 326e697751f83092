#pragma once

#include "flow/history.h"
#include "model/handler.h"

/* Where to look for the events of a projection's row (key as in DeadLetter.key): among the types
 * that the script takes, and where the key is the aggregate's id, with that aggregate alone. *none:
 * no aggregate has this id. What *out points to is the definition's, or in the arena. */
bool row_events(PgDb *db, const Definition *def, Str key, Arena *arena, HistoryFilter *out,
	bool *none, Err *err);

/* True where that is a quick look, and not a reading of the whole log. */
bool row_events_are_few(const Definition *def);
