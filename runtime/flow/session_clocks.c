#include "flow/session_parts.h"

#include "base/clock.h"

/* Timers of rules in quiet times: the log's floor is raised when one is due by the server's clock,
 * and the groups fire it when the floor is proved. */

#define RAISE_NS  UINT64_C(50000000) /* the floor is raised at most so often */
#define FAR_MS    UINT64_C(60000)    /* the server's clock may be set meanwhile: look again */
#define MS_OF(us) ((uint64_t)((us) / 1000 + 1))

static bool has_clock(const Team *t)
{
	for (size_t i = 0; i < t->n; i++)
		if (t->members[i]->def->has_clock)
			return true;
	return false;
}

bool session_clocks_caught_up(const Session *s)
{
	for (size_t i = 0; i < s->nteams; i++) {
		Group *g = s->teams[i].group;

		if (has_clock(&s->teams[i]) &&
			(s->start_floor == 0 || group_next_due(g, INT64_MIN) <= s->start_floor ||
				!group_has_heard(g)))
			return false;
	}
	return true;
}

/* --- Rules over alerts in one group wait for the rules of the others
 * -----------------------------------------------------------------------------------------------
 */

/* How far those of `of` may go for the sake of `other`. At one instant the first team is first. */
static int64_t ceiling_by(const Session *s, size_t of, size_t other)
{
	Group *g = s->teams[other].group;
	int64_t clock = group_clock(g), late = group_late_due(g);

	if (!has_clock(&s->teams[other]) || s->teams[other].over)
		return INT64_MAX;
	if (group_is_behind(g) || (group_has_late(g) && !group_is_idle(g)))
		return INT64_MIN;
	if (late != INT64_MAX && of > other)
		late--;
	return clock < late ? clock : late;
}

static void set_ceilings(Session *s)
{
	for (size_t i = 0; i < s->nteams; i++) {
		int64_t ceiling = INT64_MAX;

		for (size_t j = 0; j < s->nteams; j++)
			if (j != i && ceiling_by(s, i, j) < ceiling)
				ceiling = ceiling_by(s, i, j);
		group_set_ceiling(s->teams[i].group, ceiling);
	}
}

/* --- When the floor is raised
 * -------------------------------------------------------------------- */

static void on_clock(uv_timer_t *t)
{
	session_mind_clocks(t->data);
}

static void mind_in(Session *s, uint64_t ms)
{
	uv_update_time(s->loop);
	uv_timer_start(s->clock, on_clock, ms < FAR_MS ? ms : FAR_MS, 0);
}

static void raise_floor(Session *s)
{
	uint64_t now = clock_monotonic_ns();

	if (now - s->raised_ns < RAISE_NS) {
		mind_in(s, (RAISE_NS - (now - s->raised_ns)) / 1000000 + 1);
		return;
	}
	s->raised_ns = now;
	if (s->sleep != AWAKE)
		session_wake(s);
	frontier_prune(s->frontier);
}

/* Timers below the floor are the groups' business; groups that are still on their way have theirs
 * when they come. */
void session_mind_clocks(Session *s)
{
	int64_t floor, due = INT64_MAX, now;

	uv_timer_stop(s->clock);
	if (s->state != RUNNING || !s->observed)
		return;
	if (s->nteams > 1)
		set_ceilings(s);
	floor = frontier_floor(s->frontier);
	now = frontier_now(s->frontier);
	for (size_t i = 0; floor != 0 && i < s->nteams; i++) {
		int64_t wanted = group_wants_floor(s->teams[i].group, floor);

		due = wanted < due ? wanted : due;
	}
	if (due == INT64_MAX)
		return;
	if (due <= now)
		raise_floor(s);
	else
		mind_in(s, MS_OF(due - now));
}
