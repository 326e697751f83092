#include "app/key_words.h"

#include <stdlib.h>

#include "base/iso_time.h"
#include "base/json.h"
#include "base/json_each.h"
#include "base/number.h"

/* A key column, by its member of the definition's spec. */
typedef struct {
	Buf name, type;
} KeyColumn;

static void read_member(Str object, const char *name, Buf *out)
{
	Str literal;

	if (!json_path(object, name, &literal) || !json_unescape(out, literal))
		buf_adds(out, "");
}

static KeyColumn *read_columns(const Definition *def, size_t *n)
{
	KeyColumn *columns = NULL;
	JsonEach each;
	Str key, none, column;

	*n = 0;
	if (!json_path(def->spec, "key", &key))
		return NULL;
	each = json_each(key);
	while (json_each_next(&each, &none, &column)) {
		columns = mem_realloc(columns, (*n + 1) * sizeof(*columns));
		columns[*n] = (KeyColumn){ 0 };
		read_member(column, "name", &columns[*n].name);
		read_member(column, "type", &columns[*n].type);
		++*n;
	}
	return columns;
}

static void free_columns(KeyColumn *columns, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_free(&columns[i].name);
		buf_free(&columns[i].type);
	}
	free(columns);
}

static bool is_type(const KeyColumn *c, const char *const *types)
{
	while (*types != NULL && strcmp(*types, c->type.s) != 0)
		types++;
	return *types != NULL;
}

static bool wrong(const Definition *def, const KeyColumn *c, Str word, Err *err)
{
	return err_set(err, ERR_USAGE, "%s: key column '%s' is of type %s, and '%.*s' is none",
		def->path, c->name.s, c->type.s, (int)(word.len < 100 ? word.len : 100), word.s);
}

static bool add_number(Str word, Buf *out)
{
	Number n;

	number_scan(word.s, word.s + word.len, &n);
	if (n.end != word.s + word.len || !number_in_range(&n))
		return false;
	buf_reserve(out, number_canonical_room(&n));
	out->len += number_canonical(&n, out->s + out->len);
	return true;
}

static bool add_time(Str word, Buf *out)
{
	char time[ISO_TIME_SIZE];
	int64_t us;

	if (!iso_time_parse(word, &us))
		return false;
	iso_time_format(us, time);
	buf_addf(out, "\"%s\"", time);
	return true;
}

static bool add_lower(Str word, Buf *out)
{
	Buf lower = { 0 };

	for (size_t i = 0; i < word.len; i++)
		buf_addc(&lower, (char)(word.s[i] >= 'A' && word.s[i] <= 'Z' ? word.s[i] | 0x20
									     : word.s[i]));
	json_add_string(out, buf_str(&lower));
	buf_free(&lower);
	return word.len == 36;
}

static bool add_boolean(Str word, Buf *out)
{
	buf_add(out, word.s, word.len);
	return str_eq(word, STR("true")) || str_eq(word, STR("false"));
}

static bool add_text(Str word, Buf *out)
{
	if (!json_storable(word))
		return false;
	json_add_string(out, word);
	return true;
}

/* One part, as the keys of events are written. */
static bool add_part(const Definition *def, const KeyColumn *c, Str word, Buf *out, Err *err)
{
	static const char *const numbers[] = { "smallint", "integer", "bigint", "numeric", NULL };
	bool ok;

	if (is_type(c, numbers))
		ok = add_number(word, out);
	else if (strcmp(c->type.s, "timestamptz") == 0)
		ok = add_time(word, out);
	else if (strcmp(c->type.s, "uuid") == 0)
		ok = add_lower(word, out);
	else if (strcmp(c->type.s, "boolean") == 0)
		ok = add_boolean(word, out);
	else
		ok = add_text(word, out);
	return ok || wrong(def, c, word, err);
}

static bool is_json_key(const char *word, size_t ncolumns)
{
	return *word == (ncolumns > 1 ? '[' : '"') && json_check(str_from(word), 0, NULL);
}

/* What a JSON value stands for. */
static Str plain(Str json, Buf *scratch)
{
	buf_clear(scratch);
	return json_unescape(scratch, json) ? buf_str(scratch) : json;
}

static bool wrong_count(const Definition *def, const KeyColumn *columns, size_t n, Err *err)
{
	Buf names = { 0 };

	for (size_t i = 0; i < n; i++)
		buf_addf(&names, "%s%s", i > 0 ? ", " : "", columns[i].name.s);
	err_set(err, ERR_USAGE, "%s: the key has %zu parts: %s (name each, or give one JSON array)",
		def->path, n, names.s);
	buf_free(&names);
	return false;
}

static bool add_parts(const Definition *def, const KeyColumn *columns, size_t n, const Str *words,
	Buf *out, Err *err)
{
	if (n > 1)
		buf_addc(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_addc(out, ',');
		if (!add_part(def, &columns[i], words[i], out, err))
			return false;
	}
	if (n > 1)
		buf_addc(out, ']');
	return true;
}

/* The elements of a JSON key as words; their texts are in the arena. */
static size_t json_words(const char *word, size_t ncolumns, Arena *arena, Str *words)
{
	JsonEach each = json_each(str_from(word));
	Buf scratch = { 0 };
	Str none, value;
	size_t n = 0;

	if (ncolumns == 1)
		words[n++] = arena_str(arena, plain(str_from(word), &scratch));
	while (ncolumns > 1 && json_each_next(&each, &none, &value)) {
		if (n < ncolumns)
			words[n] = arena_str(arena, plain(value, &scratch));
		n++;
	}
	buf_free(&scratch);
	return n;
}

int key_from_words(const Definition *def, int n, char **words, Buf *out, Err *err)
{
	size_t ncolumns, given = (size_t)n;
	KeyColumn *columns = read_columns(def, &ncolumns);
	Arena *arena = arena_new(1024);
	Str *parts = arena_alloc(arena, (ncolumns + given) * sizeof(*parts));
	int used = (int)ncolumns;

	for (size_t i = 0; i < given; i++)
		parts[i] = str_from(words[i]);
	if (given > 0 && is_json_key(words[0], ncolumns)) {
		given = json_words(words[0], ncolumns, arena, parts);
		used = given == ncolumns ? 1 : 0;
	} else if (given < ncolumns) {
		used = 0;
	}
	if (used == 0)
		wrong_count(def, columns, ncolumns, err);
	else if (!add_parts(def, columns, ncolumns, parts, out, err))
		used = 0;
	arena_free(arena);
	free_columns(columns, ncolumns);
	return used;
}

const char *key_word(Arena *arena, Str key)
{
	Buf scratch = { 0 };
	Str text = arena_str(arena, plain(key, &scratch));

	buf_free(&scratch);
	return text.s;
}
