#include "flow/session_parts.h"

#include "base/clock.h"
#include "base/fault.h"

#include <stdlib.h>

#define NEAR     5000                /* groups so close to each other are brought together … */
#define NEAR_NS  UINT64_C(200000000) /* … at most so often */
#define RETRY_MS 200

void session_close_teams(Session *s)
{
	for (size_t i = 0; i < s->nteams; i++) {
		group_close(s->teams[i].group);
		free(s->teams[i].members);
		free(s->teams[i].entries);
	}
	free(s->teams);
	s->teams = NULL;
	s->nteams = 0;
}

static bool all_still(const Session *s)
{
	for (size_t i = 0; i < s->nteams; i++)
		if (!s->teams[i].still && !s->teams[i].over)
			return false;
	return true;
}

bool session_is_idle(const Session *s)
{
	for (size_t i = 0; i < s->nteams; i++)
		if (!group_is_idle(s->teams[i].group))
			return false;
	return true;
}

static void on_group(Group *g, void *owner, GroupEvent ev, const Err *err);

static Team *team_of(Session *s, const Group *g)
{
	for (size_t i = 0; i < s->nteams; i++)
		if (s->teams[i].group == g)
			return &s->teams[i];
	return NULL;
}

/* Entries of one claim form a team. The claims come ordered, the entries do not. */
static void add_to_team(Session *s, size_t entry)
{
	const RosterEntry *e = &s->entries[entry];
	Team *t = NULL;

	for (size_t i = 0; i < s->nteams; i++)
		if (s->entries[s->teams[i].entries[0]].claim.group_id == e->claim.group_id)
			t = &s->teams[i];
	if (t == NULL) {
		s->teams = mem_realloc(s->teams, (s->nteams + 1) * sizeof(*s->teams));
		t = &s->teams[s->nteams++];
		*t = (Team){ 0 };
	}
	t->members = mem_realloc(t->members, (t->n + 1) * sizeof(*t->members));
	t->entries = mem_realloc(t->entries, (t->n + 1) * sizeof(*t->entries));
	t->members[t->n] = &s->entries[entry].consumer;
	t->entries[t->n++] = entry;
}

void session_on_claimed(void *owner, const Err *err)
{
	Session *s = owner;

	if (s->state != CLAIMING)
		return;
	if (err != NULL && err_is_retryable(err) && err->kind != ERR_CONN) {
		session_regroup(s, RETRY_MS);
		return;
	}
	if (err != NULL && err->kind != ERR_STALE) {
		session_lose(s, err);
		return;
	}
	s->state = RUNNING;
	if (err != NULL) { /* with no group at work, until the entries are exchanged */
		session_tell_stale(s);
		return;
	}
	for (size_t i = 0; i < s->n; i++)
		if (s->entries[i].owned && s->entries[i].runs)
			add_to_team(s, i);
	for (size_t i = 0; i < s->nteams; i++)
		s->teams[i].group = group_open(s->loop, &s->target, s->frontier,
			s->entries[s->teams[i].entries[0]].claim, s->teams[i].members,
			s->teams[i].n, s->progress, on_group, s);
	s->fn(s->owner, SESSION_RUNNING, NULL);
	promoter_watch(s->promoter, s->entries, s->n);
	session_wake(s);
	if (s->quiesce)
		session_regroup(s, 0);
}

static void on_quiet(void *owner, const Err *err)
{
	Session *s = owner;

	if (s->state == LOST)
		return;
	if (err != NULL) {
		session_lose(s, err);
		return;
	}
	s->quiesce = false;
	s->state = QUIET;
	s->fn(s->owner, SESSION_QUIET, NULL);
}

static void on_later_claim(uv_timer_t *t)
{
	Session *s = t->data;

	session_close_teams(s);
	s->state = CLAIMING;
	if (s->quiesce && s->for_good) {
		roster_dissolve(s->roster, on_quiet, s);
		return;
	}
	if (s->quiesce) {
		on_quiet(s, NULL);
		return;
	}
	roster_claim(s->roster, session_on_claimed, s);
}

/* Members change: all groups stop at a boundary, and new ones are claimed. One way for a new file,
 * a consumer that was gained or lost, a culprit that must be alone, and groups that met. */
void session_regroup(Session *s, unsigned delay_ms)
{
	if (s->state == LOST || s->state == QUIET)
		return;
	s->state = PAUSING;
	for (size_t i = 0; i < s->nteams; i++)
		if (!s->teams[i].still && !s->teams[i].over)
			group_pause(s->teams[i].group, -1);
	if (all_still(s))
		uv_timer_start(s->later, on_later_claim, delay_ms, 0);
}

/* Groups that came near each other meet at one exact position, and are one from then on. */
static void gather(Session *s)
{
	int64_t settled = frontier_settled(s->frontier);
	size_t near = 0;

	if (s->state != RUNNING || s->nteams < 2 || clock_monotonic_ns() - s->gathered_ns < NEAR_NS)
		return;
	for (size_t i = 0; i < s->nteams; i++)
		if (!s->teams[i].members[0]->solo &&
			group_claim(s->teams[i].group).position >= settled - NEAR)
			near++;
	if (near < 2)
		return;
	s->gathered_ns = clock_monotonic_ns();
	s->state = PAUSING;
	for (size_t i = 0; i < s->nteams; i++)
		group_pause(s->teams[i].group, settled);
}

void session_tell_stale(Session *s)
{
	s->stale = true;
	s->fn(s->owner, SESSION_STALE, NULL);
	if (s->quiesce && s->nteams == 0)
		session_regroup(s, 0);
}

void session_on_promoter(void *owner, PromoterEvent ev)
{
	Session *s = owner;

	if (s->state == LOST)
		return;
	if (ev == PROMOTER_PROMOTED)
		session_tell_stale(s);
	else
		session_tell_caught_up(s);
}

void session_tell_caught_up(Session *s)
{
	if (s->told || s->stale || !s->observed || s->state != RUNNING || roster_wants(s->roster) ||
		promoter_pending(s->promoter))
		return;
	for (size_t i = 0; i < s->nteams; i++)
		if (group_claim(s->teams[i].group).position < s->start_head)
			return;
	if (!session_clocks_caught_up(s))
		return;
	s->told = true;
	s->fn(s->owner, SESSION_CAUGHT_UP, NULL);
}

static bool has_next(const Session *s, const Team *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (s->entries[t->entries[i]].next)
			return true;
	return false;
}

static void on_group(Group *g, void *owner, GroupEvent ev, const Err *err)
{
	Session *s = owner;
	Team *t = team_of(s, g);

	if (s->state == LOST)
		return;
	switch (ev) {
	case GROUP_MOVED:
		if (has_next(s, t))
			FAULT("build.page");
		s->moved_ns = clock_monotonic_ns();
		frontier_look(s->frontier);
		gather(s);
		session_mind_clocks(s);
		break;
	case GROUP_IDLE:
		session_tell_caught_up(s);
		session_mind_clocks(s);
		gather(s);
		if (s->sleep == AWAKE)
			session_consider_sleep(s, s->at_rest);
		break;
	case GROUP_PAUSED:
		t->still = true;
		if (s->state == PAUSING && all_still(s))
			uv_timer_start(s->later, on_later_claim, 0, 0);
		break;
	case GROUP_BROKEN:
		t->over = true;
		for (size_t i = 0; i < t->n; i++)
			if (t->members[i]->stop_err.kind != ERR_NONE) {
				s->report(s->owner, t->members[i]->name, true,
					t->members[i]->stop_err.message);
				err_clear(&t->members[i]->stop_err);
			}
		if (err != NULL && err->kind != ERR_STALE)
			s->report(s->owner, t->members[0]->name, true, err->message);
		session_regroup(s, err != NULL && err->kind != ERR_STALE ? RETRY_MS : 0);
		break;
	case GROUP_LOST:
		session_lose(s, err);
		break;
	}
}
