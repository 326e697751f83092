#include "app/debugger_session.h"

#include "app/debugger_screen.h"
#include "app/replay_summary.h"
#include "app/term.h"
#include "app/whatif.h"

enum { SLICE = 1000 };

bool debugger_begin(Debugger *d, Err *err)
{
	bool ok;

	progress_start(&d->progress, "events", -1);
	ok = walk_to(d->walk, d->first, err);
	progress_end(&d->progress);
	return ok || err_prefix(err, "replay");
}

static bool count_taken(Debugger *d, size_t n, int64_t *taken, Err *err)
{
	EventSlice page;

	*taken = 0;
	for (size_t at = 0; at < n; at += page.count) {
		if (!tape_slice(d->tape, at, n - at < SLICE ? n - at : SLICE, &page, err))
			return false;
		if (page.count == 0)
			return true;
		for (size_t i = 0; i < page.count; i++)
			*taken += replay_source_takes(d->source, &page.events[i]);
	}
	return true;
}

bool debugger_summary(Debugger *d, Err *err)
{
	size_t n = walk_position(d->walk);
	ReplaySummary x = { .events = (int64_t)n,
		.before = (int64_t)(n < d->first ? n : d->first),
		.failures = walk_failures(d->walk),
		.interrupted = cli_stopped(d->cli),
		.def = d->def,
		.table = walk_table(d->walk),
		.key = d->key };

	if (d->started_us != 0)
		x.seconds = (double)(term_now_us() - d->started_us) / 1e6;
	if (!count_taken(d, n, &x.taken, err))
		return false;
	replay_summary_show(d->cli, d->source, &x);
	return true;
}

bool debugger_compare(Debugger *d, bool at_end, Err *err)
{
	size_t n = at_end ? SIZE_MAX : walk_position(d->walk), truth = SIZE_MAX;
	Buf overlays = { 0 };
	WhatIf *w = NULL;
	Handler *h;

	if (!replay_source_is_changed(d->source))
		return err_set(err, ERR_USAGE,
			"compare: nothing was changed (start with --drop, --edit, --insert or "
			"--swap)");
	h = debugger_helper(d, err);
	if (h != NULL && d->truth == NULL)
		d->truth = replay_source_tape(d->source, false, err);
	if (h == NULL || d->truth == NULL)
		return false;
	if (at_end || whatif_truth_at(d->source, d->truth, d->tape, n, &truth, err))
		w = whatif_compare(d->cli, h, d->truth, truth, d->tape, n, err);
	if (w == NULL)
		return false;
	d->what_if_failures = whatif_failures(w);
	replay_source_describe(d->source, &overlays);
	if (cli_flag(d->cli, "json"))
		whatif_show_json(w, buf_str(&overlays).s);
	else
		whatif_show(w, buf_str(&overlays).s);
	buf_free(&overlays);
	whatif_free(w);
	return true;
}
