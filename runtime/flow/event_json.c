#include "flow/event_json.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/iso_time.h"
#include "base/json.h"
#include "base/json_each.h"
#include "base/number.h"
#include "model/options.h"

typedef enum { INT64, INT32, TEXT, JSON, TIME, UUID, CAUSATION } Kind;

/* The members in the order in which they are written. */
static const struct {
	const char *name;
	Kind kind;
	size_t offset;
} members[] = {
	{ "id", INT64, offsetof(Event, id) },
	{ "event_id", UUID, offsetof(Event, event_id) },
	{ "event_type", TEXT, offsetof(Event, type) },
	{ "aggregate_type", TEXT, offsetof(Event, aggregate_type) },
	{ "aggregate_id", TEXT, offsetof(Event, aggregate_id) },
	{ "version", INT64, offsetof(Event, version) },
	{ "schema_version", INT32, offsetof(Event, schema_version) },
	{ "data", JSON, offsetof(Event, data) },
	{ "metadata", JSON, offsetof(Event, metadata) },
	{ "source", TEXT, offsetof(Event, source) },
	{ "correlation_id", TEXT, offsetof(Event, correlation_id) },
	{ "causation_id", CAUSATION, offsetof(Event, causation_id) },
	{ "actor_type", TEXT, offsetof(Event, actor_type) },
	{ "actor_id", TEXT, offsetof(Event, actor_id) },
	{ "severity", TEXT, offsetof(Event, severity) },
	{ "impact", TEXT, offsetof(Event, impact) },
	{ "occurred_at", TIME, offsetof(Event, occurred_us) },
	{ "timestamp", TIME, offsetof(Event, timestamp_us) },
	{ "occurrences", INT32, offsetof(Event, occurrences) },
};

enum { MEMBERS = sizeof(members) / sizeof(members[0]), TYPE_MEMBER = 2 };

/* ---- writing ---- */

static void add_uuid(Buf *out, const unsigned char uuid[16])
{
	char text[37];

	event_uuid_text(uuid, text);
	buf_addf(out, "\"%s\"", text);
}

/* Times that ISO 8601 has no four-digit year for are seconds since 1970. */
static void add_time(Buf *out, int64_t us)
{
	char text[ISO_TIME_SIZE];

	if (!iso_time_in_range(us)) {
		json_add_double(out, (double)us / 1e6);
		return;
	}
	iso_time_format(us, text);
	buf_addf(out, "\"%s\"", text);
}

static void add_value(Buf *out, const Event *e, size_t i)
{
	const void *field = (const char *)e + members[i].offset;
	const Str *text = field;

	switch (members[i].kind) {
	case INT64:
		json_add_int(out, *(const int64_t *)field);
		break;
	case INT32:
		json_add_int(out, *(const int32_t *)field);
		break;
	case TIME:
		add_time(out, *(const int64_t *)field);
		break;
	case UUID:
		add_uuid(out, field);
		break;
	case CAUSATION:
		if (e->has_causation)
			add_uuid(out, field);
		else
			buf_adds(out, "null");
		break;
	default:
		if (text->s == NULL)
			buf_adds(out, "null");
		else if (members[i].kind == JSON)
			buf_add(out, text->s, text->len);
		else
			json_add_string(out, *text);
	}
}

void event_to_json(Buf *out, const Event *e)
{
	for (size_t i = 0; i < MEMBERS; i++) {
		buf_addf(out, "%c\"%s\":", i == 0 ? '{' : ',', members[i].name);
		add_value(out, e, i);
	}
	buf_addc(out, '}');
}

/* ---- reading ---- */

Event event_blank(void)
{
	return (Event){ .version = 1,
		.schema_version = 1,
		.occurrences = 1,
		.data = STR("{}"),
		.metadata = STR("{}") };
}

static bool wrong(size_t i, Str value, const char *what, Err *err)
{
	return err_set(err, ERR_DATA, "%s: %.*s is not %s", members[i].name,
		(int)(value.len < 60 ? value.len : 60), value.s, what);
}

static bool read_integer(size_t i, Str value, int64_t least, int64_t most, int64_t *out, Err *err)
{
	char text[32], *end;

	if (value.len < sizeof(text)) {
		memcpy(text, value.s, value.len);
		text[value.len] = '\0';
		*out = strtoll(text, &end, 10);
		if (*end == '\0' && *out >= least && *out <= most && value.len < 20)
			return true;
	}
	return wrong(i, value, least > 0 ? "a whole number from 1 on" : "a whole number", err);
}

static bool read_text(size_t i, Str value, Arena *arena, Str *out, Err *err)
{
	Buf text = { 0 };
	bool ok;

	if (value.s[0] != '"')
		return wrong(i, value, "a string", err);
	buf_reserve(&text, 1);
	ok = json_unescape(&text, value);
	*out = arena_str(arena, buf_str(&text));
	buf_free(&text);
	return ok || wrong(i, value, "a string", err);
}

static bool read_time(size_t i, Str value, Arena *arena, int64_t *us, Err *err)
{
	Number n;
	Str text;

	if (value.s[0] == '"')
		return (read_text(i, value, arena, &text, err) && iso_time_parse(text, us)) ||
		       wrong(i, value, "a time (2026-01-02T03:04:05.678Z)", err);
	number_scan(value.s, value.s + value.len, &n);
	if (n.end != value.s + value.len || fabs(number_nearest(&n)) > 9e12)
		return wrong(i, value, "a time (2026-01-02T03:04:05.678Z)", err);
	*us = llrint(number_nearest(&n) * 1e6);
	return true;
}

static int hex(char c)
{
	const char *all = "0123456789abcdef";
	const char *at = c ? strchr(all, c | 0x20) : NULL;

	return at != NULL ? (int)(at - all) : -1;
}

static bool read_uuid(size_t i, Str value, unsigned char uuid[16], Err *err)
{
	size_t digits = 0;
	bool ok = value.len == 38 && value.s[0] == '"';

	for (size_t at = 1; ok && at < 37; at++) {
		if (at == 9 || at == 14 || at == 19 || at == 24) {
			ok = value.s[at] == '-';
			continue;
		}
		ok = hex(value.s[at]) >= 0;
		uuid[digits / 2] = (unsigned char)(uuid[digits / 2] << 4 | hex(value.s[at]));
		digits++;
	}
	return ok || wrong(i, value, "a uuid", err);
}

static bool read_null(size_t i, Event *e, Err *err)
{
	void *field = (char *)e + members[i].offset;

	if (members[i].kind == CAUSATION)
		e->has_causation = false;
	else if (members[i].kind == TEXT)
		*(Str *)field = (Str){ NULL, 0 };
	else
		return err_set(err, ERR_DATA, "%s: must not be null", members[i].name);
	return true;
}

static bool read_value(size_t i, Str value, Arena *arena, Event *e, Err *err)
{
	void *field = (char *)e + members[i].offset;
	int64_t number = 0;

	if (str_eq(value, STR("null")) && members[i].kind != JSON)
		return read_null(i, e, err);
	switch (members[i].kind) {
	case INT64:
		return read_integer(i, value, 0, INT64_MAX, field, err);
	case INT32:
		if (!read_integer(i, value, 1, INT32_MAX, &number, err))
			return false;
		*(int32_t *)field = (int32_t)number;
		return true;
	case TIME:
		return read_time(i, value, arena, field, err);
	case TEXT:
		return read_text(i, value, arena, field, err);
	case CAUSATION:
		e->has_causation = true;
		return read_uuid(i, value, field, err);
	case UUID:
		return read_uuid(i, value, field, err);
	case JSON:
		*(Str *)field = arena_str(arena, value);
		return true;
	}
	return true;
}

static bool unknown_member(Str name, Err *err)
{
	size_t best = SIZE_MAX, nearest = 0;
	char word[64];

	snprintf(word, sizeof(word), "%.*s", (int)name.len, name.s);
	for (size_t i = 0; i < MEMBERS; i++)
		if (options_closer(word, members[i].name, &best))
			nearest = i;
	err_set(err, ERR_DATA, "unknown member '%s'", word);
	if (best != SIZE_MAX)
		err_hint(err, "did you mean '%s'?", members[nearest].name);
	else
		err_hint(err, "an event has the members that `moonwake tail --json` shows");
	return false;
}

static size_t member_of(Str literal, Buf *name)
{
	buf_clear(name);
	buf_reserve(name, 1);
	json_unescape(name, literal);
	if (str_eq(buf_str(name), STR("type")))
		return TYPE_MEMBER;
	for (size_t i = 0; i < MEMBERS; i++)
		if (str_eq(buf_str(name), str_from(members[i].name)))
			return i;
	return MEMBERS;
}

static bool is_complete(const Event *e, Err *err)
{
	const struct {
		const char *name;
		Str value;
	} needed[] = { { "event_type", e->type }, { "aggregate_type", e->aggregate_type },
		{ "aggregate_id", e->aggregate_id } };

	for (size_t i = 0; i < 3; i++)
		if (needed[i].value.len == 0)
			return err_set(err, ERR_DATA, "%s: is missing", needed[i].name);
	return true;
}

bool event_from_json(Str json, Arena *arena, Event *e, Err *err)
{
	JsonEach each;
	Buf name = { 0 };
	Str literal, value;
	bool ok = true;

	if (!json_check_jsonb(json, 0, err))
		return false;
	each = json_each(json);
	if (!each.object)
		return err_set(err, ERR_DATA, "an event is a JSON object");
	while (ok && json_each_next(&each, &literal, &value)) {
		size_t i = member_of(literal, &name);

		ok = i < MEMBERS ? read_value(i, value, arena, e, err)
				 : unknown_member(buf_str(&name), err);
	}
	buf_free(&name);
	return ok && is_complete(e, err);
}
