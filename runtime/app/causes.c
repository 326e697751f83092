#include "app/causes.h"

#include "app/key_words.h"
#include "app/loader.h"
#include "app/row_events.h"
#include "base/json.h"
#include "base/json_each.h"
#include "flow/blame.h"

#include <inttypes.h>
#include <stdlib.h>

struct Causes {
	PgDb *db;
	Handler *h; /* NULL: nothing is known */
	Arena *arena;
	Buf key; /* of the row that was looked at last */
	Blame blame;
};

Causes *causes_open(Cli *cli, PgDb *db, const char *projection)
{
	LuaOptions lua = { .workspace = cli->workspace };
	Causes *c = mem_calloc(1, sizeof(*c));
	Err err;

	c->db = db;
	c->arena = arena_new(1024);
	c->h = loader_open(&lua, projection, &err);
	if (c->h != NULL && !row_events_are_few(c->h->ops->definition(c->h))) {
		c->h->ops->close(c->h);
		c->h = NULL;
	}
	return c;
}

void causes_close(Causes *c)
{
	if (c == NULL)
		return;
	blame_free(&c->blame);
	if (c->h != NULL)
		c->h->ops->close(c->h);
	buf_free(&c->key);
	arena_free(c->arena);
	free(c);
}

/* The blame of a row: of its one key column's value. */
static bool look_at(Causes *c, Str key)
{
	const Definition *def = c->h->ops->definition(c->h);
	JsonEach columns = json_each(key);
	Str name, value;
	Buf text = { 0 };
	char *word;
	HistoryFilter filter;
	bool none, ok;
	Err err;

	if (!json_each_next(&columns, &name, &value))
		return false;
	word = mem_strndup(value.s, value.len);
	ok = key_from_words(def, 1, &word, &text, &err) == 1;
	free(word);
	if (ok && !str_eq(buf_str(&text), buf_str(&c->key))) {
		blame_free(&c->blame);
		c->blame = (Blame){ 0 };
		buf_clear(&c->key);
		ok = row_events(c->db, def, buf_str(&text), c->arena, &filter, &none, &err) &&
		     blame_key(c->db, c->h, &filter, buf_str(&text), &c->blame, &err);
		if (ok)
			buf_add(&c->key, text.s, text.len);
	}
	buf_free(&text);
	return ok;
}

static bool is_in(Str path, Str field)
{
	return path.len >= field.len && memcmp(path.s, field.s, field.len) == 0 &&
	       (path.len == field.len || path.s[field.len] == '.' || path.s[field.len] == '[');
}

/* A field may hold many leaves: the one that changed last. */
static const BlameField *last_of(const Blame *b, Str field)
{
	const BlameField *found = NULL;

	for (size_t i = 0; i < b->nfields; i++) {
		const BlameField *f = &b->fields[i];

		if (is_in(f->path, field) && f->event != NULL &&
			(found == NULL || f->event->id > found->event->id))
			found = f;
	}
	return found;
}

void causes_find(Causes *c, Str key, Str field, Buf *out)
{
	const BlameField *cause;
	Buf name = { 0 };

	if (c->h == NULL || !look_at(c, key) || !json_unescape(&name, field))
		goto out;
	cause = last_of(&c->blame, buf_str(&name));
	if (cause == NULL)
		goto out;
	buf_addf(out, "#%" PRId64 " %.*s", cause->event->id, (int)cause->event->type.len,
		cause->event->type.s);
	if (cause->file != NULL && cause->line > 0)
		buf_addf(out, ", %s:%d", cause->file, cause->line);
out:
	buf_free(&name);
}
