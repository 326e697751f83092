#include "flow/group_parts.h"

#include <stdio.h>

/* Dead letters are tried again one by one, each in a transaction of its own, in the order of the
 * log; one that fails again parks its key, so that those behind it stay where they are. */
static void on_letters(void *owner, PgRows *rows, const Err *err)
{
	Group *g = owner;
	Consumer *c;
	Err bad;

	if (err != NULL || g->state != LETTERS) {
		pg_rows_free(rows);
		if (err != NULL && err->kind != ERR_CONN && g->state == LETTERS)
			group_dissolve(g, err);
		return;
	}
	c = g->members[g->retried];
	if (!event_page_fill(&g->letters, rows, &bad) || g->letters.count == 0) {
		consumer_mind(c);
		g->due[g->retried] = g->retrying = false;
		g->retried = -1;
		group_to(g, READY);
		group_run_on(g, true);
		return;
	}
	if (c->careful_upto < g->letters.events[0].id)
		c->careful_upto = g->letters.events[0].id;
	group_begin_page(g, (EventSlice){ g->letters.events, g->letters.count });
}

static void on_keys(void *owner, PgRows *rows, const Err *err)
{
	Group *g = owner;

	for (int i = 0; err == NULL && g->state == LETTERS && i < pg_rows_count(rows); i++) {
		Handler *h = g->members[g->retried]->handler;

		h->ops->set_parked(h, pg_rows_str(rows, i, 1), true);
	}
	pg_rows_free(rows);
}

/* Sets the keys free whose letters are all due; the others stay parked. */
static void free_keys(Group *g, Consumer *c)
{
	char names[80];
	const char *params[] = { names, "f" };

	g->retrying = true;
	snprintf(names, sizeof(names), "{%s}", c->name);
	c->handler->ops->set_parked(c->handler, (Str){ NULL, 0 }, false);
	pg_conn_run(g->reader, SQL_DEAD_LETTERS_KEYS, 2, params, on_keys, g);
}

bool group_begin_retry(Group *g)
{
	size_t i = 0;
	const char *params[1];

	while (i < g->n && !g->due[i])
		i++;
	if (i == g->n)
		return false;
	g->retried = (int)i;
	group_to(g, LETTERS);
	group_run_on(g, false);
	if (!g->retrying)
		free_keys(g, g->members[i]);
	params[0] = g->members[i]->name;
	pg_conn_run_binary(g->reader, SQL_EVENTS_DEAD, 1, params, on_letters, g);
	pg_conn_sync(g->reader, NULL, NULL);
	return true;
}
