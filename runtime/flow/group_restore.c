#include "flow/group_parts.h"

/* What the database keeps of a rule beside the states of its keys: read after every claim, and
 * whenever what was not committed was dropped. */

static void on_restored(void *owner, PgRows *rows, const Err *err)
{
	struct Load *load = owner;
	Group *g = load->group;
	Consumer *c = load->consumer;
	Err bad;

	g->loads--;
	if (err != NULL) {
		if (err->kind != ERR_CONN && g->state != BROKEN)
			group_dissolve(g, err);
		return;
	}
	if (g->state == RESTORING) {
		c->live_from = pg_rows_null(rows, 0, 1) ? 0 : pg_rows_i64(rows, 0, 1);
		if (c->live_from != 0)
			g->since = frontier_now(g->frontier);
		if (c->handler->ops->restore(c->handler, pg_rows_str(rows, 0, 0), &bad))
			consumer_mind(c);
		else
			group_stop(g, c, &bad);
	}
	pg_rows_free(rows);
	if (g->loads > 0)
		return;
	if (g->state == RESETTING) {
		group_reset(g);
	} else if (g->state == RESTORING) {
		group_to(g, READY);
		group_run_on(g, true);
	}
}

static bool wants(const Consumer *c)
{
	return c->def->has_clock && !c->stopping && c->handler->ops->wants(c->handler);
}

bool group_wants(const Group *g)
{
	for (size_t i = 0; i < g->n; i++)
		if (wants(g->members[i]))
			return true;
	return false;
}

bool group_begin_restore(Group *g)
{
	g->loads = 0;
	for (size_t i = 0; i < g->n; i++) {
		Consumer *c = g->members[i];
		const char *params[] = { c->name };

		if (!wants(c))
			continue;
		g->load[i] = (struct Load){ g, c };
		pg_conn_run(g->reader, SQL_RULE_RESTORE, 1, params, on_restored, &g->load[i]);
		g->loads++;
	}
	if (g->loads == 0)
		return false;
	pg_conn_sync(g->reader, NULL, NULL);
	group_to(g, RESTORING);
	group_run_on(g, false);
	return true;
}
