#include "flow/session_parts.h"

#include "base/clock.h"
#include "base/fault.h"

#include <inttypes.h>

#define LINGER_MS 3 /* how often an idle session looks before it goes to sleep */
#define PRUNE_NS  UINT64_C(600000000000)

static void on_poll(uv_timer_t *t)
{
	session_wake(t->data);
}

static void set_poll(Session *s, unsigned ms)
{
	if (ms > 0)
		uv_timer_start(s->poll, on_poll, ms, 0);
	else
		uv_timer_stop(s->poll);
}

void session_wake(Session *s)
{
	if (s->state == LOST || s->frontier == NULL)
		return;
	if (s->options.fast_poll_ms > 0) {
		set_poll(s, s->options.fast_poll_ms);
	} else {
		if (s->sleep != AWAKE) {
			s->sleep = AWAKE;
			s->moved_ns = clock_monotonic_ns();
		}
		bell_hold(s->bell);
		set_poll(s, s->options.slow_poll_ms);
	}
	frontier_look(s->frontier);
}

/* The bell was given up; whoever looked at it before did not ring: look once more. */
void session_on_released(void *owner)
{
	Session *s = owner;

	if (s->state == LOST || s->sleep != RELEASING)
		return;
	FAULT("session.released");
	s->sleep = LISTENING;
	frontier_look(s->frontier);
}

void session_consider_sleep(Session *s, bool at_rest)
{
	bool idle = s->state == RUNNING && at_rest && session_is_idle(s);

	if (s->options.fast_poll_ms > 0)
		return;
	if (s->sleep == LISTENING && idle) {
		s->sleep = ASLEEP;
		s->sleeps++;
		set_poll(s, s->options.slow_poll_ms);
	} else if (s->sleep == LISTENING) {
		session_wake(s);
	} else if (s->sleep == AWAKE && idle &&
		   clock_monotonic_ns() - s->moved_ns >= s->options.linger_ms * UINT64_C(1000000)) {
		s->sleep = RELEASING;
		bell_release(s->bell);
	} else if (s->sleep == AWAKE && idle) {
		set_poll(s, LINGER_MS);
	}
}

/* A position above the log's head: it would wait for numbers that other events get. */
static bool ahead_of_log(const Session *s, Err *err)
{
	for (size_t i = 0; i < s->nteams; i++) {
		int64_t position = group_claim(s->teams[i].group).position;

		if (position <= frontier_head(s->frontier))
			continue;
		err_set(err, ERR_DATA,
			"%s: it stands at event %" PRId64 ", and the log ends at %" PRId64,
			s->teams[i].members[0]->name, position, frontier_head(s->frontier));
		err_hint(err, "the log was restored or exchanged: `moonwake rebuild` fills its "
			      "table again");
		return true;
	}
	return false;
}

/* Those for which the observation brings something new. */
static void wake_teams(Session *s)
{
	bool all = frontier_settled(s->frontier) > s->settled ||
		   frontier_floor(s->frontier) != s->floor;

	for (size_t i = 0; i < s->nteams; i++)
		if (all || group_listens(s->teams[i].group))
			group_wake(s->teams[i].group);
}

void session_on_frontier(void *owner, bool at_rest)
{
	Session *s = owner;
	uint64_t now = clock_monotonic_ns();
	Err err;

	if (s->state == LOST)
		return;
	if (ahead_of_log(s, &err)) {
		session_lose(s, &err);
		return;
	}
	if (!s->observed) {
		s->observed = true;
		s->start_head = frontier_head(s->frontier);
	}
	wake_teams(s);
	s->settled = frontier_settled(s->frontier);
	s->floor = frontier_floor(s->frontier);
	if (s->start_floor == 0)
		s->start_floor = s->floor;
	s->at_rest = at_rest;
	session_tell_caught_up(s);
	session_mind_clocks(s);
	if (s->pruned_ns == 0 || now - s->pruned_ns > PRUNE_NS) {
		s->pruned_ns = now;
		frontier_prune(s->frontier);
	}
	session_consider_sleep(s, at_rest);
}
