#include "flow/consumer.h"

#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>

void consumer_init(Consumer *c, Handler *handler, const char *name)
{
	*c = (Consumer){ .handler = handler, .def = handler->ops->definition(handler) };
	c->name = mem_strdup(name ? name : c->def->name);
	c->solo = c->def->sql;
	c->due = INT64_MAX;
}

static void stmt_clear(PgStmt *s)
{
	free((char *)s->name);
	free((char *)s->text);
	*s = (PgStmt){ 0 };
}

void consumer_clear(Consumer *c)
{
	free((char *)c->name);
	c->name = NULL;
	stmt_clear(&c->load);
	stmt_clear(&c->upsert);
	stmt_clear(&c->remove);
	buf_free(&c->letters);
}

static void stmt_set(PgStmt *s, const char *name, const char *verb, const char *text)
{
	Buf full = { 0 };

	stmt_clear(s);
	buf_addf(&full, "%s:%s", name, verb);
	s->name = full.s;
	s->text = mem_strdup(text);
}

void consumer_set_statements(Consumer *c, const char *load, const char *upsert, const char *remove)
{
	stmt_set(&c->load, c->name, "load", load);
	stmt_set(&c->upsert, c->name, "upsert", upsert);
	stmt_set(&c->remove, c->name, "delete", remove);
}

static void add_member(Buf *b, const char *name, Str value)
{
	buf_addf(b, ",\"%s\":", name);
	if (value.s == NULL || value.len == 0)
		buf_adds(b, "null");
	else
		json_add_string(b, value);
}

void consumer_add_letter(Consumer *c, int64_t event_id, Str key, Str error, Str trace, bool parked)
{
	Buf *b = &c->letters;

	if (b->len > 0)
		buf_addc(b, ',');
	buf_addf(b, "{\"event_id\":%" PRId64 ",\"parked\":%s,\"key\":", event_id,
		parked ? "true" : "false");
	json_add_string(b, key);
	add_member(b, "error", error);
	add_member(b, "trace", trace);
	buf_addc(b, '}');
	c->refused++;
}

bool consumer_ends_rebuild(const Consumer *c, int64_t position)
{
	return c->live_from != 0 && c->live_from <= position && !c->stopping;
}

void consumer_mind(Consumer *c)
{
	if (c->def->has_clock)
		c->due = c->handler->ops->next_due(c->handler);
}

void consumer_touch(Consumer *c)
{
	c->touched = true;
	consumer_mind(c);
}

void consumer_forget(Consumer *c)
{
	c->handler->ops->forget(c->handler);
	c->touched = c->sent = c->rebuilt = c->stopping = false;
	c->due = INT64_MAX;
	c->live_from = 0;
	buf_clear(&c->letters);
}
