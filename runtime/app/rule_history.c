#include "app/rule_history.h"

#include <stdlib.h>
#include <string.h>

#include "app/row_events.h"
#include "base/json.h"

static int64_t number_of(const Definition *def, const char *name, int64_t otherwise)
{
	Str digits;

	if (!json_path(def->spec, name, &digits) || digits.len == 0 ||
		strchr("0123456789", digits.s[0]) == NULL)
		return otherwise;
	return strtoll(digits.s, NULL, 10);
}

int64_t rule_horizon(const Definition *def)
{
	return number_of(def, "horizon", -1);
}

bool rule_by_occurred(const Definition *def)
{
	Str clock;

	return json_path(def->spec, "clock", &clock) && str_eq(clock, STR("\"occurred\""));
}

int64_t rule_event_time(const Definition *def, const Event *e)
{
	bool alert = str_eq(e->aggregate_type, STR("alert"));

	return alert || rule_by_occurred(def) ? e->occurred_us : e->timestamp_us;
}

/* What other events do, too, cannot be left out: rows of projections that the rule reads, and the
 * clock that the latest event sets. */
static bool is_alone(const Definition *def)
{
	Str refs;

	return !rule_by_occurred(def) &&
	       (!json_path(def->spec, "refs", &refs) || refs.len <= 2 || str_eq(refs, STR("null")));
}

bool rule_history(PgDb *db, const Definition *def, Str key, int64_t since_us, int64_t until_us,
	Arena *arena, HistoryFilter *out, Err *err)
{
	int64_t horizon = rule_horizon(def);
	bool none = false;

	*out = (HistoryFilter){ .types = def->types, .ntypes = def->ntypes };
	if (key.s != NULL && is_alone(def) && row_events_are_few(def) &&
		!row_events(db, def, key, arena, out, &none, err))
		return false;
	if (since_us > 0 && horizon >= 0 && since_us > horizon)
		out->from_us = since_us - horizon;
	/* What happened by then may be known only later. */
	if (!rule_by_occurred(def) && !def->after_alerts)
		out->until_us = until_us;
	return true;
}
