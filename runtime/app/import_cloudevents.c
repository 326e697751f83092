#include "app/import.h"

#include "base/digest.h"
#include "base/json.h"
#include "model/event.h"

#include <ctype.h>
#include <stdlib.h>

/* CloudEvents 1.0, JSON format. What becomes of the attributes:
 *   type            event_type
 *   subject         aggregate_id; where it is missing, the source is
 *   source          source
 *   time            occurred_at
 *   source and id   event_id (derived: the two together name the event, by the specification)
 *   data            data; data_base64 becomes {"data_base64": …}
 *   correlationid   correlation_id
 * and all others, id and the extensions among them, are kept in metadata under their own names in
 * lower case.
 */

typedef struct {
	Str key, raw; /* as they stand, the key with its quotes */
} Member;

static const char *skip_space(const char *s, const char *end)
{
	while (s < end && strchr(" \t\r\n", *s) != NULL)
		s++;
	return s;
}

static const char *skip_string(const char *s, const char *end)
{
	for (s++; s < end && *s != '"'; s++)
		s += *s == '\\';
	return s < end ? s + 1 : end;
}

static const char *skip_value(const char *s, const char *end)
{
	int depth = 0;

	for (; s < end; s++) {
		if (*s == '"') {
			s = skip_string(s, end);
			if (depth == 0)
				return s;
			s--;
			continue;
		}
		if (depth == 0 && strchr(",}] \t\r\n", *s) != NULL)
			return s;
		depth += (*s == '{' || *s == '[') - (*s == '}' || *s == ']');
		if (depth == 0 && (*s == '}' || *s == ']'))
			return s + 1;
	}
	return end;
}

/* The next member of a valid object; `rest` begins at the object's { and moves on. */
static bool next_member(Str *rest, Member *out)
{
	const char *end = rest->s + rest->len, *s = skip_space(rest->s, end), *from;

	if (s < end && (*s == '{' || *s == ','))
		s = skip_space(s + 1, end);
	if (s >= end || *s != '"')
		return false;
	from = s;
	s = skip_string(s, end);
	out->key = (Str){ from, (size_t)(s - from) };
	s = skip_space(s, end);
	s = skip_space(s + 1, end);
	from = s;
	s = skip_value(s, end);
	out->raw = (Str){ from, (size_t)(s - from) };
	*rest = (Str){ s, (size_t)(end - s) };
	return true;
}

static bool is_null(Str raw)
{
	return raw.s == NULL || str_eq(raw, STR("null"));
}

/* A required attribute: a string that is not empty. */
static bool need_text(Str record, const char *name, Str *raw, Err *err)
{
	if (!json_path(record, name, raw) || is_null(*raw))
		return err_set(err, ERR_DATA, "cloudevent: attribute '%s' is missing", name);
	if (raw->s[0] != '"' || raw->len <= 2)
		return err_set(err, ERR_DATA,
			"cloudevent: attribute '%s' is not a string with something in it", name);
	return true;
}

/* An optional one: a string where it is there. */
static bool want_text(Str record, const char *name, Str *raw, Err *err)
{
	*raw = (Str){ 0 };
	if (!json_path(record, name, raw) || is_null(*raw)) {
		*raw = (Str){ 0 };
		return true;
	}
	return raw->s[0] == '"' ||
	       err_set(err, ERR_DATA, "cloudevent: attribute '%s' is not a string", name);
}

/* "2018-04-26T14:48:09+02:00" in its quotes: PostgreSQL would read much more than RFC 3339. */
static bool is_rfc3339(Str raw)
{
	static const char form[] = "\"dddd-dd-ddTdd:dd:dd";
	size_t at = sizeof(form) - 1;

	if (raw.len < at + 2)
		return false;
	for (size_t i = 0; i < at; i++) {
		char c = raw.s[i] == 't' ? 'T' : raw.s[i];

		if (form[i] == 'd' ? !isdigit((unsigned char)c) : c != form[i])
			return false;
	}
	if (raw.s[at] == '.')
		for (at++; at < raw.len && isdigit((unsigned char)raw.s[at]); at++)
			;
	if (raw.s[at] == 'Z' || raw.s[at] == 'z')
		return at + 2 == raw.len;
	return (raw.s[at] == '+' || raw.s[at] == '-') && at + 7 == raw.len && raw.s[at + 3] == ':';
}

/* An attribute's value: a string, a boolean, or an integer of 32 bits. */
static bool is_attribute_value(Str raw)
{
	char digits[16];
	long long n;

	if (raw.s[0] == '"' || str_eq(raw, STR("true")) || str_eq(raw, STR("false")))
		return true;
	if (raw.len >= sizeof(digits) || memchr(raw.s, '.', raw.len) != NULL ||
		(raw.s[0] != '-' && !isdigit((unsigned char)raw.s[0])) ||
		memchr(raw.s, 'e', raw.len) != NULL || memchr(raw.s, 'E', raw.len) != NULL)
		return false;
	memcpy(digits, raw.s, raw.len);
	digits[raw.len] = '\0';
	n = strtoll(digits, NULL, 10);
	return n >= INT32_MIN && n <= INT32_MAX;
}

static bool is_mapped(Str key)
{
	static const char *const names[] = { "\"type\"", "\"source\"", "\"subject\"", "\"time\"",
		"\"data\"", "\"data_base64\"", "\"correlationid\"" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_eq(key, str_from(names[i])))
			return true;
	return false;
}

static bool add_metadata(Str key, Str raw, Buf *metadata, Err *err)
{
	Str name = { key.s + 1, key.len - 2 };

	for (size_t i = 0; i < name.len; i++)
		if (!isalnum((unsigned char)name.s[i]))
			return err_set(err, ERR_DATA,
				"cloudevent: attribute name %.*s has other characters than letters "
				"and digits",
				(int)key.len, key.s);
	if (!is_attribute_value(raw)) {
		err_set(err, ERR_DATA,
			"cloudevent: attribute '%.*s' is no string, boolean or integer of 32 bits",
			(int)name.len, name.s);
		return err_hint(err, "write other values as strings");
	}
	buf_adds(metadata, metadata->len > 1 ? ",\"" : "\"");
	for (size_t i = 0; i < name.len; i++)
		buf_addc(metadata, (char)tolower((unsigned char)name.s[i]));
	buf_adds(metadata, "\":");
	buf_add(metadata, raw.s, raw.len);
	return true;
}

static bool gather_metadata(Str record, Buf *metadata, Err *err)
{
	Member member;

	buf_addc(metadata, '{');
	while (next_member(&record, &member))
		if (!is_mapped(member.key) && !is_null(member.raw) &&
			!add_metadata(member.key, member.raw, metadata, err))
			return false;
	buf_addc(metadata, '}');
	return true;
}

typedef struct {
	Str id, source, type, subject, time, correlation;
} Attributes;

static bool read_attributes(Str record, Attributes *a, Err *err)
{
	Str version;

	if (!need_text(record, "specversion", &version, err) ||
		!need_text(record, "id", &a->id, err) ||
		!need_text(record, "source", &a->source, err) ||
		!need_text(record, "type", &a->type, err) ||
		!want_text(record, "subject", &a->subject, err) ||
		!want_text(record, "time", &a->time, err) ||
		!want_text(record, "correlationid", &a->correlation, err))
		return false;
	if (!str_eq(version, STR("\"1.0\"")))
		return err_set(err, ERR_DATA, "cloudevent: specversion %.*s is not \"1.0\"",
			(int)version.len, version.s);
	if (a->time.s != NULL && !is_rfc3339(a->time))
		return err_set(err, ERR_DATA,
			"cloudevent: attribute 'time' %.*s is not a time of RFC 3339",
			(int)a->time.len, a->time.s);
	return true;
}

static void add_raw(Buf *out, const char *key, Str raw)
{
	if (raw.s == NULL)
		return;
	buf_addf(out, ",\"%s\":", key);
	buf_add(out, raw.s, raw.len);
}

static bool add_data(Str record, Buf *out, Err *err)
{
	Str data = { 0 }, bytes = { 0 };
	bool has_data = json_path(record, "data", &data) && !is_null(data);

	if (!want_text(record, "data_base64", &bytes, err))
		return false;
	if (has_data && bytes.s != NULL)
		return err_set(err, ERR_DATA, "cloudevent: both 'data' and 'data_base64'");
	if (has_data)
		add_raw(out, "data", data);
	if (bytes.s != NULL)
		buf_addf(out, ",\"data\":{\"data_base64\":%.*s}", (int)bytes.len, bytes.s);
	return true;
}

/* The id is derived from what the two literals stand for, not from how they are written. */
static bool add_event_id(const Attributes *a, Buf *out, Err *err)
{
	Buf text = { 0 };
	unsigned char bytes[16];
	char uuid[37];
	bool ok = json_unescape(&text, a->source);

	buf_addc(&text, '\n');
	ok = ok && json_unescape(&text, a->id);
	digest_uuid(buf_str(&text), bytes);
	event_uuid_text(bytes, uuid);
	buf_free(&text);
	buf_addf(out, "{\"event_id\":\"%s\"", uuid);
	return ok || err_set(err, ERR_DATA, "cloudevent: source or id cannot be read");
}

bool import_cloudevent(Str record, const char *aggregate_type, Buf *event, Err *err)
{
	Attributes a;
	Buf metadata = { 0 };
	bool ok = read_attributes(record, &a, err) && gather_metadata(record, &metadata, err) &&
		  add_event_id(&a, event, err);

	if (ok) {
		add_raw(event, "event_type", a.type);
		buf_adds(event, ",\"aggregate_type\":");
		json_add_string(event, str_from(aggregate_type));
		add_raw(event, "aggregate_id",
			a.subject.s != NULL && a.subject.len > 2 ? a.subject : a.source);
		add_raw(event, "source", a.source);
		add_raw(event, "occurred_at", a.time);
		add_raw(event, "correlation_id", a.correlation);
		add_raw(event, "metadata", buf_str(&metadata));
		ok = add_data(record, event, err);
		buf_addc(event, '}');
	}
	buf_free(&metadata);
	return ok;
}
