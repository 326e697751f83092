#include "lua/lua_keys.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/iso_time.h"
#include "base/json.h"
#include "base/number.h"
#include "lua/lua_decimal.h"
#include "lua/lua_gate.h"
#include "lua/lua_json_lazy.h"

/* A row of the database is found by its key: an entry of a B-tree holds no more than a third of a
 * page, the consumer's name included. One event with very many keys would hold up everybody. */
enum { KEY_MAX = 2500, KEYS_MAX = 10000 };

typedef struct {
	EventField field;
	const char *rest; /* the path below data or metadata */
	char *text;       /* the whole path, for messages */
} Path;

struct KeyRule {
	const Shape *shape;
	Path *paths;
	size_t npaths;
	int function; /* registry reference; LUA_NOREF: by paths */
	int place;    /* that function as the script wrote it, for messages */
};

static void read_path(Path *path, const char *text)
{
	size_t first = strcspn(text, ".");

	path->text = mem_strdup(text);
	path->field = lua_event_field((Str){ text, first });
	path->rest = path->text + first + (text[first] == '.');
}

KeyRule *key_rule_open(lua_State *L, const Shape *shape)
{
	KeyRule *k = mem_calloc(1, sizeof(*k));
	int top = lua_gettop(L);

	k->shape = shape;
	k->function = k->place = LUA_NOREF;
	lua_getfield(L, -1, "key_function");
	if (!lua_isnil(L, -1)) {
		k->function = luaL_ref(L, LUA_REGISTRYINDEX);
		lua_getfield(L, -1, "key_written");
		k->place = lua_isnil(L, -1) ? k->function : luaL_ref(L, LUA_REGISTRYINDEX);
		lua_settop(L, top);
		return k;
	}
	lua_pop(L, 1);
	lua_getfield(L, -1, "key_paths");
	k->npaths = lua_objlen(L, -1);
	k->paths = mem_calloc(k->npaths, sizeof(*k->paths));
	for (size_t i = 0; i < k->npaths; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		read_path(&k->paths[i], lua_tostring(L, -1));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return k;
}

void key_rule_close(KeyRule *k)
{
	if (k == NULL)
		return;
	for (size_t i = 0; i < k->npaths; i++)
		free(k->paths[i].text);
	free(k->paths);
	free(k);
}

bool key_rule_is_function(const KeyRule *k)
{
	return k->function != LUA_NOREF;
}

const char *key_rule_path(const KeyRule *k, size_t nth)
{
	return nth < k->npaths ? k->paths[nth].text : NULL;
}

/* ---- lists ---- */

Str key_list_at(const KeyList *list, size_t i)
{
	size_t from = i ? list->ends[i - 1] : 0;

	return (Str){ list->text.s + from, list->ends[i] - from };
}

void key_list_free(KeyList *list)
{
	buf_free(&list->text);
	free(list->ends);
	free(list->hashes);
	*list = (KeyList){ 0 };
}

static void clear(KeyList *list)
{
	buf_clear(&list->text);
	list->count = 0;
}

static bool has_key(const KeyList *list, Str key, uint64_t hash)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->hashes[i] == hash && str_eq(key_list_at(list, i), key))
			return true;
	return false;
}

/* What was appended behind the last key becomes a key, unless it is there already. */
static bool close_key(KeyList *list, Err *err)
{
	size_t from = list->count ? list->ends[list->count - 1] : 0;
	Str key = { list->text.s + from, list->text.len - from };
	uint64_t hash = str_hash(key);

	if (key.len > KEY_MAX)
		return err_set(err, ERR_SCRIPT, "a key of %zu bytes is too long (at most %d)",
			key.len, KEY_MAX);
	if (has_key(list, key, hash)) {
		list->text.len = from;
		return true;
	}
	if (list->count == KEYS_MAX)
		return err_set(
			err, ERR_SCRIPT, "an event has too many keys (at most %d)", KEYS_MAX);
	if (list->count == list->cap) {
		list->cap = list->cap ? list->cap * 2 : 4;
		list->ends = mem_realloc(list->ends, list->cap * sizeof(*list->ends));
		list->hashes = mem_realloc(list->hashes, list->cap * sizeof(*list->hashes));
	}
	list->hashes[list->count] = hash;
	list->ends[list->count++] = list->text.len;
	return true;
}

static bool add_part(const KeyRule *k, size_t i, KeyPart part, KeyList *out, Err *err)
{
	size_t n = shape_nkeys(k->shape);

	if (n > 1)
		buf_addc(&out->text, i ? ',' : '[');
	if (!column_key(shape_key_type(k->shape, i), part, &out->text, err))
		return false;
	if (n > 1 && i + 1 == n)
		buf_addc(&out->text, ']');
	return true;
}

/* ---- paths ---- */

typedef struct {
	Buf unescaped;
	char scratch[40];
} Scratch;

static KeyPart text_part(Str s)
{
	return (KeyPart){ s.s ? PART_STRING : PART_NULL, s };
}

static KeyPart number_part(Scratch *scratch, int64_t v)
{
	int n = snprintf(scratch->scratch, sizeof(scratch->scratch), "%lld", (long long)v);

	return (KeyPart){ PART_NUMBER, { scratch->scratch, (size_t)n } };
}

static KeyPart time_part(Scratch *scratch, int64_t us)
{
	iso_time_format(us, scratch->scratch);
	return (KeyPart){ PART_STRING, str_from(scratch->scratch) };
}

static KeyPart uuid_part(Scratch *scratch, const unsigned char uuid[16])
{
	event_uuid_text(uuid, scratch->scratch);
	return (KeyPart){ PART_STRING, { scratch->scratch, 36 } };
}

/* A scalar of JSON text as it stands in the event. */
static KeyPart json_part(Scratch *scratch, Str text, const char *path)
{
	Str raw;

	if (text.s == NULL || !json_path(text, path, &raw) || raw.len == 0)
		return (KeyPart){ 0 };
	switch (raw.s[0]) {
	case '"':
		buf_clear(&scratch->unescaped);
		buf_reserve(&scratch->unescaped, 1);
		if (!json_unescape(&scratch->unescaped, raw))
			return (KeyPart){ PART_OTHER, raw };
		return (KeyPart){ PART_STRING, buf_str(&scratch->unescaped) };
	case 't':
	case 'f':
		return (KeyPart){ PART_BOOLEAN, raw };
	case 'n':
		return (KeyPart){ 0 };
	case '{':
	case '[':
		return (KeyPart){ PART_OTHER, { NULL, 0 } };
	default:
		return (KeyPart){ PART_NUMBER, raw };
	}
}

static KeyPart part_of(const Event *e, const Path *path, Scratch *scratch)
{
	switch (path->field) {
	case FIELD_ID:
		return number_part(scratch, e->id);
	case FIELD_EVENT_ID:
		return uuid_part(scratch, e->event_id);
	case FIELD_TYPE:
		return text_part(e->type);
	case FIELD_AGGREGATE_TYPE:
		return text_part(e->aggregate_type);
	case FIELD_AGGREGATE_ID:
		return text_part(e->aggregate_id);
	case FIELD_VERSION:
		return number_part(scratch, e->version);
	case FIELD_SCHEMA_VERSION:
		return number_part(scratch, e->schema_version);
	case FIELD_DATA:
		return json_part(scratch, e->data, path->rest);
	case FIELD_METADATA:
		return json_part(scratch, e->metadata, path->rest);
	case FIELD_SOURCE:
		return text_part(e->source);
	case FIELD_CORRELATION_ID:
		return text_part(e->correlation_id);
	case FIELD_CAUSATION_ID:
		return e->has_causation ? uuid_part(scratch, e->causation_id) : (KeyPart){ 0 };
	case FIELD_ACTOR_TYPE:
		return text_part(e->actor_type);
	case FIELD_ACTOR_ID:
		return text_part(e->actor_id);
	case FIELD_SEVERITY:
		return text_part(e->severity);
	case FIELD_IMPACT:
		return text_part(e->impact);
	case FIELD_OCCURRED_AT:
		return time_part(scratch, e->occurred_us);
	case FIELD_TIMESTAMP:
		return time_part(scratch, e->timestamp_us);
	case FIELD_OCCURRENCES:
		return number_part(scratch, e->occurrences);
	case FIELD_COUNT:
		break;
	}
	return (KeyPart){ 0 };
}

static bool path_wrong(const Path *path, KeyPart part, Err *err)
{
	err_prefix(err, "key '%s'", path->text);
	if (part.kind == PART_NULL)
		err_hint(err, "an event without a key: use a function(event) that returns nil to "
			      "skip it");
	return false;
}

bool key_rule_paths(const KeyRule *k, const Event *e, KeyList *out, Err *err)
{
	Scratch scratch = { 0 };
	bool ok = true;

	clear(out);
	for (size_t i = 0; ok && i < k->npaths; i++) {
		KeyPart part = part_of(e, &k->paths[i], &scratch);

		ok = add_part(k, i, part, out, err) || path_wrong(&k->paths[i], part, err);
	}
	buf_free(&scratch.unescaped);
	ok = ok && close_key(out, err);
	if (!ok)
		clear(out);
	return ok;
}

/* ---- functions ---- */

/* The value on top of the stack, which must stay there. */
static KeyPart lua_part(lua_State *L, Scratch *scratch)
{
	KeyPart part = { PART_OTHER, { NULL, 0 } };

	switch (lua_type(L, -1)) {
	case LUA_TSTRING:
		part.kind = PART_STRING;
		part.text.s = lua_tolstring(L, -1, &part.text.len);
		return part;
	case LUA_TNUMBER:
		if (lua_tonumber(L, -1) - lua_tonumber(L, -1) != 0)
			return (KeyPart){ PART_NAN, { NULL, 0 } };
		part.kind = PART_NUMBER;
		part.text.len = number_print(lua_tonumber(L, -1), scratch->scratch);
		part.text.s = scratch->scratch;
		return part;
	case LUA_TBOOLEAN:
		return (KeyPart){ PART_BOOLEAN, lua_toboolean(L, -1) ? STR("true") : STR("false") };
	default:
		if (lua_isnil(L, -1) || lua_json_is_null(L, -1))
			return (KeyPart){ 0 };
		part.text = lua_decimal_text(L, -1);
		part.kind = part.text.s ? PART_NUMBER : PART_OTHER;
		return part;
	}
}

static void fail_key(lua_State *L, const KeyRule *k, Err *err, const char *fmt, size_t n)
{
	char where[256], text[160];

	lua_rawgeti(L, LUA_REGISTRYINDEX, k->place);
	lua_host_where(L, -1, where, sizeof(where));
	if (fmt != NULL) {
		snprintf(text, sizeof(text), fmt, shape_nkeys(k->shape), n);
		err_set(err, ERR_SCRIPT, "%s", text);
	}
	err_prefix(err, "%s: %s: the key function's result", where, lua_host_label(lua_host_of(L)));
	lua_host_raise(L, err);
}

/* [… scalar] -> [… scalar] */
static void add_part_of_key(lua_State *L, const KeyRule *k, size_t i, KeyList *out)
{
	Scratch scratch = { 0 };
	Err err = { 0 };

	if (!add_part(k, i, lua_part(L, &scratch), out, &err))
		fail_key(L, k, &err, NULL, 0);
}

/* One composite key: a list of as many scalars as there are key columns. [… list] -> [… list] */
static void add_tuple(lua_State *L, const KeyRule *k, KeyList *out)
{
	size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
	Err err = { 0 };

	if (n != shape_nkeys(k->shape))
		fail_key(L, k, &err, "a key has %zu parts, and it has %zu", n);
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		add_part_of_key(L, k, i, out);
		lua_pop(L, 1);
	}
	if (!close_key(out, &err))
		fail_key(L, k, &err, NULL, 0);
}

/* A key of one part. [… scalar] -> [… scalar] */
static void add_scalar(lua_State *L, const KeyRule *k, KeyList *out)
{
	Err err = { 0 };

	add_part_of_key(L, k, 0, out);
	if (!close_key(out, &err))
		fail_key(L, k, &err, NULL, 0);
}

static bool is_list_of_lists(lua_State *L)
{
	bool answer;

	lua_rawgeti(L, -1, 1);
	answer = lua_istable(L, -1);
	lua_pop(L, 1);
	return answer;
}

/* [… table] -> [… table] */
static bool has_members(lua_State *L)
{
	bool some;

	lua_lazy_check(L, lua_gettop(L));
	lua_pushnil(L);
	some = lua_next(L, -2) != 0;
	lua_pop(L, some ? 2 : 0);
	return some;
}

/* [… list] -> [… list] */
static void add_each(lua_State *L, const KeyRule *k, KeyList *out)
{
	size_t n = lua_objlen(L, -1);
	Err err = { 0 };

	if (n == 0 && has_members(L))
		fail_key(L, k, &err,
			"a table with names is no key (return a text, a number, or a list of keys)",
			0);
	for (size_t i = 0; i < n; i++) {
		lua_rawgeti(L, -1, (int)i + 1);
		if (shape_nkeys(k->shape) > 1) {
			add_tuple(L, k, out);
		} else {
			add_scalar(L, k, out);
		}
		lua_pop(L, 1);
	}
}

void key_rule_call(lua_State *L, const KeyRule *k, KeyList *out)
{
	clear(out);
	lua_rawgeti(L, LUA_REGISTRYINDEX, k->function);
	lua_pushvalue(L, -2);
	lua_call(L, 1, 1);
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	if (lua_istable(L, -1) && (shape_nkeys(k->shape) == 1 || is_list_of_lists(L))) {
		add_each(L, k, out);
	} else if (shape_nkeys(k->shape) > 1) {
		add_tuple(L, k, out);
	} else {
		add_scalar(L, k, out);
	}
	lua_pop(L, 1);
}

/* ---- keys of other scripts ---- */

/* [… value] -> [… value] */
static bool add_value_part(lua_State *L, const Shape *shape, size_t i, Buf *out, Err *err)
{
	Scratch scratch = { 0 };

	return column_key(shape_key_type(shape, i), lua_part(L, &scratch), out, err) ||
	       err_prefix(err, "the key");
}

bool key_of_value(lua_State *L, const Shape *shape, Buf *out, Err *err)
{
	size_t n = shape_nkeys(shape), given = lua_istable(L, -1) ? lua_objlen(L, -1) : 1;
	bool ok = true;

	if (given != n)
		return err_set(err, ERR_SCRIPT, "the key has %zu parts, and %zu are given%s", n,
			given, n > 1 ? " (write { first, second })" : "");
	if (n == 1 && !lua_istable(L, -1))
		return add_value_part(L, shape, 0, out, err);
	for (size_t i = 0; ok && i < n; i++) {
		buf_adds(out, n == 1 ? "" : i > 0 ? "," : "[");
		lua_rawgeti(L, -1, (int)i + 1);
		ok = add_value_part(L, shape, i, out, err);
		lua_pop(L, 1);
	}
	buf_adds(out, n > 1 ? "]" : "");
	return ok;
}

/* ---- stored keys ---- */

static const char *literal_end(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++) {
		if (*p == '\\')
			p++;
	}
	return p < end ? p + 1 : end;
}

/* jsonb writes "[1, 2]" where we write "[1,2]", and may escape and print otherwise. */
void key_list_stored(Str text, Buf *out)
{
	const char *p = text.s, *end = text.s + text.len;
	Buf plain = { 0 };

	while (p < end) {
		const char *from = p;
		Number n;

		number_scan(p, end, &n);
		if (n.end != NULL && number_in_range(&n)) {
			buf_reserve(out, number_canonical_room(&n));
			out->len += number_canonical(&n, out->s + out->len);
			p = n.end;
		} else if (*p == '"') {
			p = literal_end(p, end);
			buf_clear(&plain);
			if (json_unescape(&plain, (Str){ from, (size_t)(p - from) }))
				json_add_string(out, buf_str(&plain));
		} else if (*p++ != ' ') {
			buf_addc(out, *from);
		}
	}
	buf_free(&plain);
}
