#include "app/debugger.h"

#include "app/row_key.h"
#include "base/json_diff.h"

#include <stdlib.h>

static void free_point(DebugPoint *p)
{
	condition_close(&p->when);
	free(p->text);
}

/* Where to begin; an empty tape is an error, and one that ends before --from. */
static bool find_first(Debugger *d, Err *err)
{
	Event event;

	err_clear(err);
	if (!replay_source_start(d->source, d->tape, &d->first, err))
		return false;
	if (d->first != SIZE_MAX && tape_event(d->tape, d->first, &event, err))
		return true;
	return err->kind == ERR_NONE && replay_source_nothing(d->source, err);
}

bool debugger_go_on(void *debugger)
{
	Debugger *d = debugger;

	if (d->progress.bar)
		progress_show(&d->progress, 0, (int64_t)walk_position(d->walk));
	return !cli_stopped(d->cli);
}

Debugger *debugger_open(
	Cli *cli, const char *script, Handler *h, ReplaySource *source, Buf *said, Err *err)
{
	Debugger *d = mem_calloc(1, sizeof(*d));

	d->cli = cli;
	d->script = script;
	d->h = h;
	d->def = h->ops->definition(h);
	d->source = source;
	d->said = said;
	d->key = cli_value(cli, "key");
	d->tape = replay_source_tape(source, true, err);
	if (d->tape == NULL || !find_first(d, err)) {
		debugger_close(d);
		return NULL;
	}
	d->walk = walk_open(h, d->tape);
	walk_on_pause(d->walk, debugger_go_on, d);
	return d;
}

void debugger_close(Debugger *d)
{
	if (d == NULL)
		return;
	for (size_t i = 0; i < d->npoints; i++)
		free_point(&d->points[i]);
	free(d->points);
	free(d->hits);
	free(d->changes);
	debugger_free_origins(d);
	if (d->walk != NULL)
		walk_close(d->walk);
	if (d->helper != NULL)
		d->helper->ops->close(d->helper);
	if (d->tape != NULL)
		tape_close(d->tape);
	if (d->truth != NULL)
		tape_close(d->truth);
	free(d);
}

static DebugPoint *add_point(Debugger *d)
{
	d->points = mem_realloc(d->points, (d->npoints + 1) * sizeof(*d->points));
	d->points[d->npoints] = (DebugPoint){ .number = ++d->last_number };
	return &d->points[d->npoints++];
}

int debugger_break(Debugger *d, const char *subject, const char *expression, Err *err)
{
	Condition when;
	DebugPoint *p;

	if (!condition_open(&when, d->h, subject, expression, err))
		return 0;
	p = add_point(d);
	p->when = when;
	p->text = mem_strdup(expression);
	return p->number;
}

int debugger_watch(Debugger *d, const char *field, Err *err)
{
	DebugPoint *p;

	if (field[0] == '\0') {
		err_set(err, ERR_USAGE, "watch: a field is needed (apps.agent.image)");
		return 0;
	}
	p = add_point(d);
	p->watch = true;
	p->text = mem_strdup(field);
	return p->number;
}

bool debugger_delete(Debugger *d, int number)
{
	for (size_t i = 0; i < d->npoints; i++) {
		if (d->points[i].number != number)
			continue;
		free_point(&d->points[i]);
		d->npoints--;
		memmove(&d->points[i], &d->points[i + 1], (d->npoints - i) * sizeof(*d->points));
		return true;
	}
	return false;
}

const WalkChange *debugger_change(const Debugger *d, size_t nth)
{
	return d->standing && nth < d->nchanges ? &d->changes[nth] : NULL;
}

static void take_changes(Debugger *d)
{
	d->nchanges = 0;
	d->changes = mem_realloc(d->changes, (d->step.nchanges + 1) * sizeof(*d->changes));
	for (size_t i = 0; i < d->step.nchanges; i++) {
		const WalkChange *change = &d->step.changes[i];

		if (d->key == NULL || row_key_is(d->key, change->key))
			d->changes[d->nchanges++] =
				(WalkChange){ change->key, row_state(d->def, change->before),
					row_state(d->def, change->after) };
	}
}

static DebugHit *add_hit(Debugger *d, DebugPoint *p)
{
	DebugHit *hit;

	d->hits = mem_realloc(d->hits, (d->nhits + 1) * sizeof(*d->hits));
	hit = &d->hits[d->nhits++];
	*hit = (DebugHit){ .number = p->number, .watch = p->watch, .text = p->text };
	return hit;
}

static void try_watch(Debugger *d, DebugPoint *p, const WalkChange *change)
{
	Str path = str_from(p->text);
	Str before = change->before.s ? json_at(change->before, path) : change->before;
	Str after = change->after.s ? json_at(change->after, path) : change->after;
	JsonDiff diff = { 0 };
	DebugHit *hit;

	p->seen = p->seen || before.s != NULL || after.s != NULL;
	if (before.s != NULL || after.s != NULL)
		json_diff(before, after, &diff);
	if (diff.count > 0) {
		hit = add_hit(d, p);
		hit->key = change->key;
		hit->before = before;
		hit->after = after;
	}
	json_diff_free(&diff);
}

static void try_point(Debugger *d, DebugPoint *p, const WalkChange *change)
{
	if (p->watch)
		try_watch(d, p, change);
	else if (condition_holds(&p->when, d->h, &d->step.event, change->key, change->before,
			 change->after))
		add_hit(d, p)->key = change->key;
}

/* Fills the hits of the step; what the script does not take has an event, but no state. */
static void find_hits(Debugger *d)
{
	const WalkChange none = { 0 }, *change;

	d->nhits = 0;
	for (size_t i = 0; i < d->npoints; i++) {
		DebugPoint *p = &d->points[i];

		if (d->step.nchanges == 0 && !p->watch && d->key == NULL)
			try_point(d, p, &none);
		for (size_t n = 0; (change = debugger_change(d, n)) != NULL; n++)
			try_point(d, p, change);
	}
}

/* Steps of other rows than the one of --key do not count. */
static bool is_ours(const Debugger *d)
{
	return d->key == NULL || debugger_change(d, 0) != NULL;
}

/* The step from the walk becomes the one that we stand at. */
static void stand(Debugger *d, DebugStop *why)
{
	d->standing = true;
	take_changes(d);
	find_hits(d);
	*why = d->nhits > 0 ? STOP_HIT : d->step.failed ? STOP_ERROR : STOP_STEP;
}

static void leave(Debugger *d)
{
	d->standing = false;
	d->nhits = 0;
}

/* Stands at the last event behind us again, after the walk was somewhere else. */
static bool stand_again(Debugger *d, Err *err)
{
	size_t at = walk_position(d->walk);
	DebugStop why;

	leave(d);
	if (at == 0)
		return true;
	if (!walk_to(d->walk, at - 1, err) || !walk_step(d->walk, &d->step, err))
		return false;
	stand(d, &why);
	return true;
}

static bool step_once(Debugger *d, DebugStop *why, Err *err)
{
	WalkStep next;

	buf_clear(d->said);
	if (walk_step(d->walk, &next, err)) {
		d->step = next;
		stand(d, why);
		return true;
	}
	if (err->kind != ERR_NONE) {
		leave(d);
		return false;
	}
	*why = STOP_END;
	return stand_again(d, err);
}

static bool interrupted(Debugger *d, DebugStop *why)
{
	if (debugger_go_on(d))
		return false;
	*why = STOP_INTERRUPT;
	return true;
}

/* A long way that Ctrl-C ended somewhere is no failure: the states are those of that place. */
static bool arrived(Debugger *d, bool ok, DebugStop *why, Err *err)
{
	progress_end(&d->progress);
	if (ok || err->kind != ERR_STOPPED)
		return ok;
	leave(d);
	err_clear(err);
	*why = STOP_INTERRUPT;
	return true;
}

static bool step_on(Debugger *d, DebugStop *why, Err *err)
{
	do {
		if (!step_once(d, why, err))
			return false;
	} while (*why != STOP_END && !is_ours(d) && !interrupted(d, why));
	return true;
}

static bool run_on(Debugger *d, DebugStop *why, Err *err)
{
	for (;;) {
		if (!step_once(d, why, err))
			return false;
		if (*why == STOP_END || *why == STOP_HIT || interrupted(d, why))
			return true;
		if (*why == STOP_ERROR && !d->pass_errors && is_ours(d))
			return true;
	}
}

bool debugger_step(Debugger *d, DebugStop *why, Err *err)
{
	progress_start(&d->progress, "events", -1);
	return arrived(d, step_on(d, why, err), why, err);
}

bool debugger_run(Debugger *d, DebugStop *why, Err *err)
{
	progress_start(&d->progress, "events", -1);
	return arrived(d, run_on(d, why, err), why, err);
}

/* Whether a way back ends at the event that we stand at. */
static bool ends_here(const Debugger *d, bool run, DebugStop why)
{
	if (!is_ours(d))
		return false;
	return !run || why == STOP_HIT || (why == STOP_ERROR && !d->pass_errors);
}

/* Undoes events until one that ends the way lies just behind us. */
static bool go_back(Debugger *d, bool run, DebugStop *why, Err *err)
{
	bool leaving = d->standing;
	WalkStep undone;

	while (walk_back(d->walk, &undone, err)) {
		d->step = undone;
		stand(d, why);
		if (!leaving && ends_here(d, run, *why))
			return step_once(d, why, err);
		leaving = false;
		if (interrupted(d, why))
			return stand_again(d, err);
	}
	leave(d);
	*why = STOP_START;
	return err->kind == ERR_NONE;
}

bool debugger_back(Debugger *d, DebugStop *why, Err *err)
{
	progress_start(&d->progress, "events", -1);
	return arrived(d, go_back(d, false, why, err), why, err);
}

bool debugger_run_back(Debugger *d, DebugStop *why, Err *err)
{
	progress_start(&d->progress, "events", -1);
	return arrived(d, go_back(d, true, why, err), why, err);
}

bool debugger_goto(Debugger *d, size_t number, DebugStop *why, Err *err)
{
	bool ok;

	progress_start(&d->progress, "events", -1);
	leave(d);
	*why = STOP_START;
	ok = walk_to(d->walk, number == SIZE_MAX ? 0 : number, err) &&
	     (number == SIZE_MAX || step_once(d, why, err));
	return arrived(d, ok, why, err);
}
