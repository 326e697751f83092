#include "app/point.h"

#include "app/show.h"
#include "base/clock.h"
#include "base/iso_time.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const int64_t SECOND = 1000000;

/* Digits alone, as a number that is not too large. */
static bool read_number(const char *text, int64_t *out)
{
	size_t n = strspn(text, "0123456789");

	*out = n > 0 && n <= 18 ? strtoll(text, NULL, 10) : -1;
	return *out >= 0 && text[n] == '\0';
}

static int64_t unit_seconds(const char *word)
{
	static const struct {
		const char *words[4];
		int64_t seconds;
	} units[] = {
		{ { "s", "sec", "second", "seconds" }, 1 },
		{ { "m", "min", "minute", "minutes" }, 60 },
		{ { "h", "hr", "hour", "hours" }, 3600 },
		{ { "d", "day", "days", "" }, 86400 },
		{ { "w", "week", "weeks", "" }, 604800 },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		for (size_t j = 0; j < 4; j++)
			if (units[i].words[j][0] != '\0' && strcmp(word, units[i].words[j]) == 0)
				return units[i].seconds;
	return 0;
}

/* "2h ago", "90 s ago", "3 days ago" */
static bool read_ago(const char *text, int64_t *us)
{
	char unit[16] = "", ago[8] = "";
	int64_t n = 0, seconds;
	int used = 0;

	if (sscanf(text, "%9" SCNd64 " %15[a-z] %7s%n", &n, unit, ago, &used) != 3 || n < 0 ||
		text[used] != '\0' || strcmp(ago, "ago") != 0)
		return false;
	seconds = unit_seconds(unit);
	*us = clock_wall_us() - n * seconds * SECOND;
	return seconds > 0 && iso_time_in_range(*us);
}

bool point_parse_time(const char *subject, const char *text, int64_t *us, Err *err)
{
	if (iso_time_parse(str_from(text), us) || read_ago(text, us))
		return true;
	if (strcmp(text, "now") == 0) {
		*us = clock_wall_us();
		return true;
	}
	return err_set(err, ERR_USAGE,
		"%s: '%.60s' is no time (2026-01-02T03:04:05Z, 2026-01-02, now, or 2h ago)",
		subject, text);
}

static bool is_uuid(const char *text)
{
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? text[i] != '-'
			 : strchr("0123456789abcdefABCDEF", text[i]) == NULL || text[i] == '\0')
			return false;
	}
	return text[36] == '\0';
}

bool point_parse_event(const char *subject, const char *text, Point *out, Err *err)
{
	*out = (Point){ .kind = FOLD_EVENT };
	if (is_uuid(text)) {
		memcpy(out->uuid, text, sizeof(out->uuid));
		return true;
	}
	return read_number(text + (*text == '#'), &out->value) ||
	       err_set(err, ERR_USAGE, "%s: '%.60s' is no event (its id, 1042, or its event_id)",
		       subject, text);
}

bool point_parse(const char *subject, const char *text, Point *out, Err *err)
{
	*out = (Point){ .kind = FOLD_VERSION };
	if (strcmp(text, "start") == 0 || read_number(text + (*text == 'v'), &out->value))
		return true;
	out->kind = strcmp(text, "now") == 0 ? FOLD_NOW : FOLD_TIME;
	if (out->kind == FOLD_NOW)
		return true;
	if (*text == '#' || is_uuid(text))
		return point_parse_event(subject, text, out, err);
	return point_parse_time(subject, text, &out->value, NULL) ||
	       err_set(err, ERR_USAGE,
		       "%s: '%.60s' is no place in a history (a version: 12 or v12, an event: "
		       "#1042, a time: 2026-01-02T03:04:05Z or 2h ago, start, now)",
		       subject, text);
}

bool point_resolve(Point *p, PgDb *db, const char *type, const char *id, Err *err)
{
	const char *params[] = { type, id, p->uuid };
	bool found;
	PgRows *rows;

	if (p->uuid[0] == '\0')
		return true;
	rows = pg_db_run(db, SQL_POINT_EVENT, 3, params, err);
	if (rows == NULL)
		return false;
	found = pg_rows_count(rows) > 0;
	if (found) {
		p->value = pg_rows_i64(rows, 0, 0);
		p->uuid[0] = '\0';
	} else {
		err_set(err, ERR_DATA, "event %s: there is no such event of %s '%s'", p->uuid, type,
			id);
	}
	pg_rows_free(rows);
	return found;
}

bool point_too_early(const Point *p, PgDb *db, const char *type, const char *id, Err *err)
{
	const char *params[] = { type, id };
	PgRows *rows = pg_db_run(db, SQL_POINT_FIRST, 2, params, err);
	bool occurred = p->kind == FOLD_OCCURRED;
	char then[32], first[32];

	if (rows == NULL)
		return false;
	if (p->kind == FOLD_VERSION || pg_rows_count(rows) < 2)
		err_set(err, ERR_DATA, "%s '%s': has no event there (its first is version 1)", type,
			id);
	else
		err_set(err, ERR_DATA,
			"%s '%s': had no event by %s (its first %s at %s, event %" PRId64 ")", type,
			id, show_time(p->value, then), occurred ? "occurred" : "was appended",
			show_time(pg_rows_i64(rows, occurred, 1), first),
			pg_rows_i64(rows, occurred, 0));
	pg_rows_free(rows);
	return false;
}

const char *point_time_text(int64_t us, char out[32])
{
	if (iso_time_in_range(us))
		iso_time_format(us, out);
	else
		snprintf(out, 32, "%" PRId64, us);
	return out;
}
