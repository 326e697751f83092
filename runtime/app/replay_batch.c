#include "app/replay_batch.h"

#include "app/replay_summary.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "flow/replay.h"

enum { ERRORS_SHOWN = 10 };

typedef struct {
	Cli *cli;
	ReplaySource *source;
	History *history;
	Replay *replay;
	Progress progress;
	bool draws; /* progress */
	EventSlice page;
	ReplaySummary summary;
} Batch;

static void on_failure(void *owner, const Event *event, const Err *failure)
{
	Batch *b = owner;
	Buf out = { 0 };

	if (b->summary.failures++ >= ERRORS_SHOWN)
		return;
	progress_end(&b->progress);
	if (!cli_flag(b->cli, "json")) {
		show_event(stdout, event);
		term_print(stdout, TERM_RED, "  error: ");
		printf("%s\n", failure->message);
		if (failure->trace[0] != '\0')
			printf("%s\n", failure->trace);
		return;
	}
	buf_addf(&out, "{\"event\":%lld,\"error\":", (long long)event->id);
	json_add_string(&out, str_from(failure->message));
	buf_adds(&out, ",\"traceback\":");
	json_add_string(&out, str_from(failure->trace));
	printf("%s}\n", out.s);
	buf_free(&out);
}

/* All events of a page are of types that the script takes, unless others were asked for. */
static void count(Batch *b)
{
	bool all_taken = replay_source_all_taken(b->source);
	ReplaySummary *x = &b->summary;

	x->events += (int64_t)b->page.count;
	x->taken += all_taken ? (int64_t)b->page.count : 0;
	for (size_t i = 0; i < b->page.count && !all_taken; i++)
		x->taken += replay_source_takes(b->source, &b->page.events[i]);
	for (size_t i = 0; i < b->page.count; i++) {
		if (!replay_source_is_before(b->source, &b->page.events[i]))
			break;
		x->before++;
	}
}

static bool go_on(void *owner)
{
	Batch *b = owner;
	size_t handled = (size_t)(replay_events(b->replay) - b->summary.events);

	if (b->draws)
		progress_show(
			&b->progress, b->page.events[handled - 1].id, replay_events(b->replay));
	return !cli_stopped(b->cli);
}

static bool run_page(Batch *b, EventSlice page, Err *err)
{
	bool ok;

	b->page = replay_source_where(b->source, page);
	ok = replay_page(b->replay, b->page, err);
	b->page.count = (size_t)(replay_events(b->replay) - b->summary.events);
	count(b);
	return ok;
}

/* True also where it was interrupted, which a wait for the server may tell as a failure. */
static bool run_pages(Batch *b, Err *err)
{
	EventSlice page;
	bool ok, more = true;

	progress_start(&b->progress, "events", history_upto(b->history));
	while ((ok = history_next(b->history, &page, err)) && (more = page.count > 0))
		if (!(ok = run_page(b, page, err)))
			break;
	progress_end(&b->progress);
	b->summary.interrupted = more && cli_stopped(b->cli);
	return ok || b->summary.interrupted;
}

bool replay_batch(Cli *cli, Handler *h, ReplaySource *source, int64_t *failures, Err *err)
{
	Batch b = { .cli = cli, .source = source, .draws = term_is_tty(stderr) };
	ReplaySummary *x = &b.summary;
	bool ok;

	b.history = replay_source_history(source, err);
	if (b.history == NULL)
		return false;
	b.replay = replay_open(h);
	replay_on_failure(b.replay, on_failure, &b);
	replay_on_pause(b.replay, go_on, &b);
	ok = run_pages(&b, err);
	x->seconds = progress_seconds(&b.progress);
	x->def = h->ops->definition(h);
	x->table = replay_table(b.replay);
	x->key = cli_value(cli, "key");
	*failures = x->failures;
	if (ok && !x->interrupted && x->events == x->before)
		ok = replay_source_nothing(source, err);
	else if (ok || x->events > 0)
		replay_summary_show(cli, source, x);
	replay_close(b.replay);
	history_close(b.history);
	return ok && (!x->interrupted || err_set(err, ERR_STOPPED, "replay: interrupted"));
}
