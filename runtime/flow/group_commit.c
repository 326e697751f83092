#include "flow/group_parts.h"

#include "base/fault.h"

#include <inttypes.h>

static const char *letters_done(Group *g, Buf *out)
{
	if (g->retried < 0)
		return NULL;
	for (size_t i = 0; i < g->letters.count; i++)
		buf_addf(out, "%c%" PRId64, i ? ',' : '{', g->letters.events[i].id);
	buf_adds(out, out->len ? "}" : "{}");
	return out->s;
}

void group_commit(Group *g)
{
	Buf done = { 0 };

	FAULT("group.before_commit");
	g->sending = g->handled;
	g->sent_events = g->uncommitted;
	g->sent_last = g->last;
	g->sent_leave = false;
	for (size_t i = 0; i < g->n; i++)
		g->sent_leave = g->sent_leave || g->members[i]->stopping;
	g->uncommitted = 0;
	g->sent_ticks = g->ticked;
	g->ticked = g->stepped = false;
	g->commits_sent++;
	group_mark_rebuilt(g);
	sink_apart(g->sink, g->apart);
	sink_commit(g->sink, g->claim, g->handled, g->given, letters_done(g, &done), g->retried);
	if (g->retried >= 0) {
		event_page_clear(&g->letters);
		g->retried = -1;
	}
	buf_free(&done);
	FAULT("group.after_send");
}

/* The server refused what a commit wanted to store. It is deterministic: the member is found by its
 * statement, and stands alone from then on; its event is found by halving the batch. */
static void refused_by_server(Group *g, const Err *err, int culprit)
{
	Consumer *c;

	if (g->n > 1 && culprit < 0 && !g->apart) { /* what the rules raised may be it */
		g->apart = true;
		group_reset(g);
		return;
	}
	if (g->n > 1) {
		for (size_t i = 0; i < g->n; i++)
			if (culprit < 0 || culprit == (int)i)
				g->members[i]->solo = true;
		group_dissolve(g, err);
		return;
	}
	c = g->members[0];
	if (g->sent_events == 0 && g->sent_ticks) { /* a timer's doing */
		group_stop(g, c, err);
		return;
	}
	if (g->sent_events == 0) { /* no event's doing */
		group_dissolve(g, err);
		return;
	}
	if (g->sent_events == 1) {
		c->poison = g->sent_last;
		c->poison_err = *err;
	}
	c->commit_most = g->sent_events > 1 ? g->sent_events / 2 : 1;
	group_reset(g);
}

static void commit_went_well(Group *g)
{
	FAULT("group.after_commit");
	g->claim.position = g->sending;
	g->apart = false;
	group_listen(g, sink_raised(g->sink), sink_raised_late(g->sink));
	for (size_t i = 0; i < g->n; i++) {
		Consumer *c = g->members[i];

		if (c->sent)
			c->handler->ops->settled(c->handler);
		c->sent = false;
		if (c->commit_most != 0)
			c->commit_most = c->commit_most < GROUP_BATCH_MOST ? c->commit_most * 2 : 0;
		if (c->commit_most == 0 && !c->def->sql)
			c->solo = false; /* it may join the others again */
	}
	if (g->sent_leave) {
		group_dissolve(g, NULL);
		return;
	}
	if (g->state == WAITING)
		group_to(g, g->page.count > g->at ? RUNNING : READY);
	if (g->state == RESETTING)
		group_reset(g);
	if (g->state == READY || g->state == RUNNING)
		group_run_on(g, true);
	g->fn(g, g->owner, GROUP_MOVED, NULL);
}

void group_on_commit(void *owner, const Err *err, int culprit)
{
	Group *g = owner;

	if (g->state == BROKEN || (err != NULL && err->kind == ERR_CONN))
		return; /* its outcome is unknown: the cursor is read again by whoever claims it
			   next */
	if (err == NULL) {
		commit_went_well(g);
	} else if (err->kind == ERR_STALE || err_is_retryable(err)) {
		group_dissolve(g, err);
	} else {
		refused_by_server(g, err, culprit);
	}
}
