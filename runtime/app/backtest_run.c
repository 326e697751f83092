#include "app/backtest.h"

#include "app/rule_history.h"
#include "app/rule_key.h"
#include "app/term.h"
#include "base/json.h"

typedef struct {
	Backtest *b;
	BacktestVersion *v;
	History *history;
	Progress progress;
	bool draws;
	int64_t first_us, last_us; /* of the events, by the rule's clock; 0: there was none */
} Run;

/* ---- what it raises ---- */

static bool is_wanted(const Backtest *b, Str effect)
{
	Str literal;
	Buf key = { 0 };
	bool wanted;

	if (b->key == NULL)
		return true;
	wanted = json_path(effect, "key_text", &literal) && json_unescape(&key, literal) &&
		 rule_key_is(b->key, buf_str(&key));
	buf_free(&key);
	return wanted;
}

static void on_raised(void *owner, Str effect)
{
	Run *run = owner;
	Str kind;

	if (!json_path(effect, "kind", &kind) || !is_wanted(run->b, effect))
		return;
	if (str_eq(kind, STR("\"alert\"")))
		episodes_take(run->v->episodes, effect);
	run->v->emitted += str_eq(kind, STR("\"event\""));
	run->v->acts += str_eq(kind, STR("\"act\""));
}

static void on_letter(void *owner, const DeadLetter *letter)
{
	Run *run = owner;
	BacktestVersion *v = run->v;

	v->refused++;
	if (letter->error.len == 0 || v->nerrors == BACKTEST_ERRORS)
		return;
	v->errors[v->nerrors].event_id = letter->event_id;
	v->errors[v->nerrors].key = (char *)arena_str(run->b->cli->arena, letter->key).s;
	v->errors[v->nerrors++].message = (char *)arena_str(run->b->cli->arena, letter->error).s;
}

static bool on_pause(void *owner, const Event *at)
{
	Run *run = owner;

	if (at != NULL && run->draws)
		progress_show(&run->progress, at->id, history_read(run->history));
	return !cli_stopped(run->b->cli);
}

/* ---- the history ---- */

static void note_times(Run *run, EventSlice page)
{
	const Definition *def = run->v->handler->ops->definition(run->v->handler);

	for (size_t i = 0; i < page.count; i++) {
		int64_t t = rule_event_time(def, &page.events[i]);

		if (run->first_us == 0 || t < run->first_us)
			run->first_us = t;
		run->last_us = t > run->last_us ? t : run->last_us;
	}
}

static bool run_pages(Run *run, RuleRun *rule, Err *err)
{
	EventSlice page;
	bool ok;

	while ((ok = history_next(run->history, &page, err)) && page.count > 0) {
		note_times(run, page);
		if (!rule_run_page(rule, page, err))
			return false;
	}
	return ok;
}

static bool interrupted(Backtest *b, Err *err)
{
	return cli_stopped(b->cli) ? err_set(err, ERR_STOPPED, "backtest: interrupted") : false;
}

/* Without a word about them: from the first event; and by a clock that events set, to the last. */
static void settle_bounds(Run *run)
{
	Backtest *b = run->b;

	if (run->first_us == 0)
		return;
	if (!b->since_given && (b->since_us == 0 || run->first_us < b->since_us))
		b->since_us = run->first_us;
	if (!b->until_given && rule_by_occurred(run->v->handler->ops->definition(run->v->handler)))
		b->until_us = run->last_us + 1;
}

static bool replay(Run *run, Err *err)
{
	RuleWatch watch = { on_raised, on_letter, on_pause, run };
	RuleRun *rule = rule_run_open(run->v->handler, &watch, err);
	bool ok = rule != NULL;

	progress_start(&run->progress, "events", history_upto(run->history));
	ok = ok && run_pages(run, rule, err) && rule_run_until(rule, run->b->until_us, err);
	progress_end(&run->progress);
	if (ok) {
		Str memory = rule_run_memory(rule);

		run->v->cost = *rule_run_cost(rule);
		run->v->memory = memory.s ? arena_str(run->b->cli->arena, memory) : memory;
	}
	rule_run_close(rule);
	return ok || interrupted(run->b, err);
}

bool backtest_run(Backtest *b, BacktestVersion *v, Err *err)
{
	Run run = { .b = b, .v = v, .draws = term_is_tty(stderr) };
	const Definition *def = v->handler->ops->definition(v->handler);
	HistoryFilter filter;
	Arena *arena = arena_new(1024);
	bool ok = rule_history(b->db, def, (Str){ NULL, 0 }, b->since_given ? b->since_us : 0,
		b->until_us, arena, &filter, err);

	v->episodes = episodes_new();
	filter.upto = b->upto;
	filter.after = b->since_given ? 0 : b->after;
	if (ok && !b->until_given)
		filter.until_us = 0;
	run.history = ok ? history_open(b->db, &filter, err) : NULL;
	ok = run.history != NULL && replay(&run, err);
	if (ok) {
		b->upto = history_upto(run.history);
		settle_bounds(&run);
	}
	history_close(run.history);
	arena_free(arena);
	return ok;
}
