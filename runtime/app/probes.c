#include "app/probes.h"

#include <stdlib.h>
#include <string.h>

#include "app/rule_history.h"
#include "app/rule_key.h"
#include "app/term.h"
#include "base/json.h"

enum { PROBES_MOST = 20000 /* as many again come before the older ones go */ };

typedef struct {
	const ProbeAsk *ask;
	Probes *out;
	History *history;
	Progress progress;
	Buf text;
	Buf key_literal; /* the key as a JSON string */
	bool past;       /* what came was later than what is asked about */
	const char *word;
	size_t best;
} Run;

/* ---- what it says ---- */

static Str raw_of(Run *r, Str effect, const char *name)
{
	Str value;

	if (!json_path(effect, name, &value) || str_eq(value, STR("null")))
		return (Str){ NULL, 0 };
	return arena_str(r->out->arena, value);
}

static Str text_of(Run *r, Str effect, const char *name)
{
	Str literal;

	buf_clear(&r->text);
	if (!json_path(effect, name, &literal) || !json_unescape(&r->text, literal))
		return (Str){ NULL, 0 };
	return arena_str(r->out->arena, buf_str(&r->text));
}

static int64_t number_of(Str effect, const char *name)
{
	Str digits;

	return json_path(effect, name, &digits) ? strtoll(digits.s, NULL, 10) : 0;
}

static bool begins(Str text, const char *with)
{
	size_t len = strlen(with);

	return text.len >= len && memcmp(text.s, with, len) == 0;
}

static Probe read_probe(Run *r, Str effect)
{
	Str where = raw_of(r, effect, "where");
	Probe p = { .at = number_of(effect, "at"),
		.position = number_of(effect, "position"),
		.what = text_of(r, effect, "what"),
		.type = text_of(r, effect, "type"),
		.before = text_of(r, effect, "before"),
		.after = text_of(r, effect, "after"),
		.why = text_of(r, effect, "why"),
		.value = raw_of(r, effect, "value"),
		.subject = raw_of(r, effect, "subject"),
		.when = raw_of(r, effect, "when"),
		.clear = raw_of(r, effect, "clear"),
		.timers = raw_of(r, effect, "timers") };

	/* With clock = "occurred" an event is buffered first, and handled by that timer. */
	p.waits = str_eq(p.what, STR("event")) && begins(p.why, "the event waits");
	p.is_event = (str_eq(p.what, STR("event")) && !p.waits) ||
		     (str_eq(p.what, STR("timer buffer")) && p.type.s != NULL);
	p.passed = p.is_event && !str_eq(where, STR("false")) && !begins(p.why, "value:");
	return p;
}

static void count(Probes *out, const Probe *p)
{
	out->events += p->is_event;
	if (!p->is_event || p->passed)
		return;
	if (begins(p->why, "value:")) {
		out->without_value++;
		return;
	}
	out->refused_by_where++;
	out->last_refused = *p;
}

static void add_probe(Run *r, Str effect)
{
	Probes *out = r->out;
	Probe p = read_probe(r, effect);

	if (p.at >= r->ask->until_us) {
		r->past = r->past || !p.waits;
		return;
	}
	count(out, &p);
	if (out->count == 2 * PROBES_MOST) {
		memmove(out->at, out->at + PROBES_MOST, PROBES_MOST * sizeof(*out->at));
		out->count = PROBES_MOST;
	}
	if (out->count == out->cap) {
		out->cap = out->cap ? out->cap * 2 : 64;
		out->at = mem_realloc(out->at, out->cap * sizeof(*out->at));
	}
	out->at[out->count++] = p;
}

static void on_raised(void *owner, Str effect)
{
	Run *r = owner;
	Str kind, key;

	if (!json_path(effect, "kind", &kind) || !json_path(effect, "key_text", &key) ||
		!str_eq(key, buf_str(&r->key_literal)))
		return;
	if (str_eq(kind, STR("\"probe\"")))
		add_probe(r, effect);
	else if (str_eq(kind, STR("\"alert\"")))
		episodes_take(r->out->episodes, effect);
}

static void on_letter(void *owner, const DeadLetter *letter)
{
	Run *r = owner;

	if (!r->past && letter->key.len == 0 && r->out->keyless++ == 0)
		r->out->keyless_why = mem_strndup(letter->error.s, letter->error.len);
	if (r->past || r->out->failure.event_id != 0 || letter->error.len == 0 ||
		!str_eq(letter->key, r->ask->key))
		return;
	r->out->failure.event_id = letter->event_id;
	r->out->failure.message = mem_strndup(letter->error.s, letter->error.len);
}

static bool on_pause(void *owner, const Event *at)
{
	Run *r = owner;

	if (at != NULL && r->progress.bar)
		progress_show(&r->progress, at->id, history_read(r->history));
	return !cli_stopped(r->ask->cli);
}

/* ---- the history ---- */

/* Keys of the page that look like the one that nothing is found for. */
static void look_for_nearest(Run *r, EventSlice page)
{
	Handler *h = r->ask->handler;
	Buf shown = { 0 };
	Str key;

	for (size_t i = 0; r->out->events == 0 && i < page.count; i++) {
		for (size_t nth = 0; (key = h->ops->key_of(h, page, i, nth)).s != NULL; nth++) {
			buf_clear(&shown);
			rule_key_show(key, &shown);
			if (!options_closer(r->word, buf_str(&shown).s, &r->best))
				continue;
			free(r->out->nearest);
			r->out->nearest = mem_strdup(buf_str(&shown).s);
		}
	}
	buf_free(&shown);
}

static bool run_pages(Run *r, RuleRun *rule, Err *err)
{
	EventSlice page;
	bool ok;

	while ((ok = history_next(r->history, &page, err)) && page.count > 0) {
		if (!rule_run_page(rule, page, err))
			return false;
		look_for_nearest(r, page);
	}
	return ok && rule_run_until(rule, r->ask->until_us, err);
}

static bool watch(Run *r, Err *err)
{
	Handler *h = r->ask->handler;
	RuleWatch fns = { on_raised, on_letter, on_pause, r };
	RuleRun *rule = rule_run_open(h, &fns, err);
	bool ok = rule != NULL && h->ops->probe(h, r->ask->key, err);
	Str memory;

	progress_start(&r->progress, "events", history_upto(r->history));
	ok = ok && run_pages(r, rule, err);
	progress_end(&r->progress);
	if (ok) {
		memory = rule_run_memory(rule);
		r->out->memory = memory.s != NULL ? arena_str(r->out->arena, memory) : memory;
		r->out->upto = history_upto(r->history);
	}
	rule_run_close(rule);
	if (!ok && cli_stopped(r->ask->cli))
		err_set(err, ERR_STOPPED, "explain: interrupted");
	return ok;
}

bool probes_run(const ProbeAsk *ask, Probes *out, Err *err)
{
	Run r = { .ask = ask, .out = out, .best = SIZE_MAX };
	const Definition *def = ask->handler->ops->definition(ask->handler);
	HistoryFilter filter;
	Buf word = { 0 };
	bool ok;

	*out = (Probes){ .arena = arena_new(65536), .episodes = episodes_new() };
	json_add_string(&r.key_literal, ask->key);
	rule_key_show(ask->key, &word);
	r.word = buf_str(&word).s;
	ok = rule_history(
		ask->db, def, ask->key, ask->since_us, ask->until_us, out->arena, &filter, err);
	out->from_us = filter.from_us;
	r.history = ok ? history_open(ask->db, &filter, err) : NULL;
	ok = r.history != NULL && watch(&r, err);
	history_close(r.history);
	buf_free(&word);
	buf_free(&r.text);
	buf_free(&r.key_literal);
	return ok;
}

void probes_free(Probes *p)
{
	episodes_free(p->episodes);
	free(p->failure.message);
	free(p->keyless_why);
	free(p->nearest);
	free(p->at);
	if (p->arena != NULL)
		arena_free(p->arena);
	*p = (Probes){ 0 };
}
