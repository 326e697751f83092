#include "app/whatif.h"

#include "app/row_key.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"
#include "base/json_diff.h"

#include <stdlib.h>

enum { SLICE = 10000, SAMPLES = 10, MESSAGES = 1000, FIELDS = 32 };

typedef struct {
	int64_t id;
	char *message; /* of the first thousand; NULL otherwise */
} Failure;

typedef struct {
	const Cli *cli;
	Progress *progress;
	Replay *replay;
	size_t events;
	Failure *failures;
	size_t nfailures;
	int64_t *failed; /* their ids, ascending */
	MemoryRow *rows;
	size_t nrows;
} Outcome;

typedef struct {
	const MemoryRow *truth, *changed; /* one of them may be NULL */
} RowPair;

typedef struct {
	Str name;
	size_t rows;
} Field;

struct WhatIf {
	Outcome truth, changed;
	RowPair *pairs; /* rows that differ */
	size_t npairs;
	size_t added, removed, altered, same;
	Field fields[FIELDS]; /* the outermost names that differ in altered rows */
	size_t nfields;
	Arena *names;
};

static void on_failure(void *owner, const Event *event, const Err *err)
{
	Outcome *o = owner;

	o->failures = mem_realloc(o->failures, (o->nfailures + 1) * sizeof(*o->failures));
	o->failures[o->nfailures] = (Failure){ .id = event->id };
	if (o->nfailures < MESSAGES)
		o->failures[o->nfailures].message = mem_strdup(err->message);
	o->nfailures++;
}

static int compare_ids(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void sort_failed(Outcome *o)
{
	o->failed = mem_calloc(o->nfailures + 1, sizeof(*o->failed));
	for (size_t i = 0; i < o->nfailures; i++)
		o->failed[i] = o->failures[i].id;
	qsort(o->failed, o->nfailures, sizeof(*o->failed), compare_ids);
}

static bool go_on(void *owner)
{
	Outcome *o = owner;

	progress_show(o->progress, 0, replay_events(o->replay));
	return !cli_stopped(o->cli);
}

static bool replay_all(Handler *h, Tape *tape, size_t upto, Outcome *o, Err *err)
{
	EventSlice page;

	o->replay = replay_open(h);
	replay_on_failure(o->replay, on_failure, o);
	replay_on_pause(o->replay, go_on, o);
	while (o->events < upto) {
		size_t most = upto - o->events < SLICE ? upto - o->events : SLICE;

		if (!tape_slice(tape, o->events, most, &page, err))
			return false;
		if (page.count == 0)
			break;
		if (!replay_page(o->replay, page, err))
			return err_prefix(err, "compare");
		o->events += page.count;
	}
	o->rows = memory_table_rows(replay_table(o->replay), &o->nrows);
	for (size_t i = 0; i < o->nrows; i++)
		o->rows[i].state = row_state(h->ops->definition(h), o->rows[i].state);
	sort_failed(o);
	return true;
}

static int compare_keys(Str a, Str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = memcmp(a.s, b.s, n);

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* "apps" of "apps.agent.image": up to where the first container is entered. */
static Str outermost(Str path)
{
	size_t n = 0;

	if (n < path.len && path.s[0] == '[')
		n = 1;
	while (n < path.len && path.s[n] != '.' && path.s[n] != '[')
		n++;
	return (Str){ path.s, n };
}

static void count_field(WhatIf *w, Str name)
{
	for (size_t i = 0; i < w->nfields; i++)
		if (str_eq(w->fields[i].name, name)) {
			w->fields[i].rows++;
			return;
		}
	if (w->nfields < FIELDS)
		w->fields[w->nfields++] = (Field){ arena_str(w->names, name), 1 };
}

/* Members come by name, so what a row has in common stands together. */
static void count_fields(WhatIf *w, const JsonDiff *diff)
{
	Str last = { NULL, 0 };

	for (size_t i = 0; i < diff->count; i++) {
		Str name = outermost(diff->at[i].path);

		if (last.s == NULL || !str_eq(last, name))
			count_field(w, name);
		last = name;
	}
}

static void add_pair(WhatIf *w, const MemoryRow *truth, const MemoryRow *changed)
{
	JsonDiff diff = { 0 };

	if (truth != NULL && changed != NULL) {
		json_diff(truth->state, changed->state, &diff);
		count_fields(w, &diff);
		w->same += diff.count == 0;
		w->altered += diff.count > 0;
	} else {
		w->added += truth == NULL;
		w->removed += changed == NULL;
	}
	if (truth == NULL || changed == NULL || diff.count > 0) {
		w->pairs = mem_realloc(w->pairs, (w->npairs + 1) * sizeof(*w->pairs));
		w->pairs[w->npairs++] = (RowPair){ truth, changed };
	}
	json_diff_free(&diff);
}

/* Both lists are in the order of their keys. */
static void pair_rows(WhatIf *w)
{
	size_t a = 0, b = 0;

	while (a < w->truth.nrows || b < w->changed.nrows) {
		int order = a == w->truth.nrows ? 1
			    : b == w->changed.nrows
				    ? -1
				    : compare_keys(w->truth.rows[a].key, w->changed.rows[b].key);

		add_pair(w, order <= 0 ? &w->truth.rows[a] : NULL,
			order >= 0 ? &w->changed.rows[b] : NULL);
		a += order <= 0;
		b += order >= 0;
	}
}

WhatIf *whatif_compare(
	Cli *cli, Handler *h, Tape *truth, size_t ntruth, Tape *changed, size_t nchanged, Err *err)
{
	WhatIf *w = mem_calloc(1, sizeof(*w));
	Progress progress;
	bool ok;

	w->names = arena_new(1024);
	progress_start(&progress, "events", -1);
	w->truth.cli = w->changed.cli = cli;
	w->truth.progress = w->changed.progress = &progress;
	ok = replay_all(h, truth, ntruth, &w->truth, err) &&
	     replay_all(h, changed, nchanged, &w->changed, err);
	progress_end(&progress);
	h->ops->forget(h);
	if (ok) {
		pair_rows(w);
		return w;
	}
	whatif_free(w);
	return NULL;
}

static void free_outcome(Outcome *o)
{
	for (size_t i = 0; i < o->nfailures; i++)
		free(o->failures[i].message);
	free(o->failures);
	free(o->failed);
	free(o->rows);
	if (o->replay != NULL)
		replay_close(o->replay);
}

void whatif_free(WhatIf *w)
{
	if (w == NULL)
		return;
	free_outcome(&w->truth);
	free_outcome(&w->changed);
	free(w->pairs);
	arena_free(w->names);
	free(w);
}

bool whatif_truth_at(
	const ReplaySource *s, Tape *truth, Tape *changed, size_t n, size_t *out, Err *err)
{
	int64_t last = 0;
	EventSlice page;

	for (size_t at = 0; at < n; at += page.count) {
		if (!tape_slice(changed, at, n - at < SLICE ? n - at : SLICE, &page, err))
			return false;
		if (page.count == 0)
			break;
		for (size_t i = 0; i < page.count; i++) {
			int64_t place = replay_source_place(s, page.events[i].id);

			last = place > last ? place : last;
		}
	}
	return tape_find(truth, last + 1, out, err);
}

int64_t whatif_failures(const WhatIf *w)
{
	return (int64_t)w->changed.nfailures;
}

/* Whether another history failed at this event, too. */
static bool failed_at(const Outcome *o, int64_t id)
{
	return bsearch(&id, o->failed, o->nfailures, sizeof(*o->failed), compare_ids) != NULL;
}

static size_t new_failures(const Outcome *o, const Outcome *other)
{
	size_t n = 0;

	for (size_t i = 0; i < o->nfailures; i++)
		n += !failed_at(other, o->failures[i].id);
	return n;
}

/* --- For people --- */

static void print_outcome(const char *name, const Outcome *o)
{
	char events[32], rows[32], errors[32];

	printf("%s: events %s, rows %s, errors %s\n", name, term_count((int64_t)o->events, events),
		term_count((int64_t)o->nrows, rows), term_count((int64_t)o->nfailures, errors));
}

static void print_pair(const RowPair *pair)
{
	const MemoryRow *row = pair->truth ? pair->truth : pair->changed;
	TermStyle style = pair->truth == NULL     ? TERM_GREEN
			  : pair->changed == NULL ? TERM_RED
						  : TERM_YELLOW;
	const char *sign = pair->truth == NULL ? "+" : pair->changed == NULL ? "-" : "~";
	JsonDiff diff = { 0 };

	term_print(stdout, style, "%s ", sign);
	show_styled(stdout, style, row->key);
	putchar('\n');
	json_diff(pair->truth ? pair->truth->state : (Str){ NULL, 0 },
		pair->changed ? pair->changed->state : (Str){ NULL, 0 }, &diff);
	show_changes(stdout, &diff, 2);
	json_diff_free(&diff);
}

static void print_failures(
	const char *sign, TermStyle style, const Outcome *o, const Outcome *other)
{
	int shown = 0;

	for (size_t i = 0; i < o->nfailures && shown < SAMPLES; i++) {
		const Failure *f = &o->failures[i];

		if (failed_at(other, f->id))
			continue;
		shown++;
		term_print(stdout, style, "%s #%lld", sign, (long long)f->id);
		fputs("  ", stdout);
		show_text(stdout, str_from(f->message != NULL ? f->message : ""));
		putchar('\n');
	}
}

void whatif_show(const WhatIf *w, const char *overlays)
{
	char n[4][32];

	term_print(stdout, TERM_BOLD, "what if: %s\n", overlays);
	print_outcome("true history", &w->truth);
	print_outcome("changed", &w->changed);
	printf("rows: %s added, %s removed, %s changed, %s the same\n",
		term_count((int64_t)w->added, n[0]), term_count((int64_t)w->removed, n[1]),
		term_count((int64_t)w->altered, n[2]), term_count((int64_t)w->same, n[3]));
	for (size_t i = 0; i < w->nfields; i++)
		printf("%s%.*s in %zu", i > 0 ? ", " : "fields: ", (int)w->fields[i].name.len,
			w->fields[i].name.s, w->fields[i].rows);
	if (w->nfields > 0)
		putchar('\n');
	for (size_t i = 0; i < w->npairs && i < SAMPLES; i++)
		print_pair(&w->pairs[i]);
	if (w->npairs > SAMPLES)
		printf("(%zu more rows: --json has all)\n", w->npairs - SAMPLES);
	printf("errors: %zu appear, %zu vanish\n", new_failures(&w->changed, &w->truth),
		new_failures(&w->truth, &w->changed));
	print_failures("+", TERM_RED, &w->changed, &w->truth);
	print_failures("-", TERM_GREEN, &w->truth, &w->changed);
}

/* --- JSON --- */

static void json_outcome(Buf *out, const char *name, const Outcome *o)
{
	buf_addf(out, ",\"%s\":{\"events\":%zu,\"rows\":%zu,\"errors\":%zu}", name, o->events,
		o->nrows, o->nfailures);
}

static void json_pair(Buf *out, const RowPair *pair)
{
	const MemoryRow *row = pair->truth ? pair->truth : pair->changed;
	JsonDiff diff = { 0 };

	buf_addf(out, "{\"key\":%.*s,\"change\":\"%s\",\"changes\":", (int)row->key.len, row->key.s,
		pair->truth == NULL     ? "added"
		: pair->changed == NULL ? "removed"
					: "changed");
	json_diff(pair->truth ? pair->truth->state : (Str){ NULL, 0 },
		pair->changed ? pair->changed->state : (Str){ NULL, 0 }, &diff);
	show_changes_json(out, &diff);
	buf_addc(out, '}');
	json_diff_free(&diff);
}

static void json_failures(Buf *out, const char *name, const Outcome *o, const Outcome *other)
{
	const char *comma = "";

	buf_addf(out, ",\"%s\":[", name);
	for (size_t i = 0; i < o->nfailures; i++) {
		if (failed_at(other, o->failures[i].id))
			continue;
		buf_addf(out, "%s{\"event\":%lld,\"error\":", comma, (long long)o->failures[i].id);
		json_add_string(out,
			str_from(o->failures[i].message != NULL ? o->failures[i].message : ""));
		buf_addc(out, '}');
		comma = ",";
	}
	buf_addc(out, ']');
}

void whatif_show_json(const WhatIf *w, const char *overlays)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"compare\":{\"overlays\":");
	json_add_string(&out, str_from(overlays));
	json_outcome(&out, "truth", &w->truth);
	json_outcome(&out, "changed", &w->changed);
	buf_addf(&out,
		",\"rows_added\":%zu,\"rows_removed\":%zu,\"rows_changed\":%zu,\"rows_same\":%zu",
		w->added, w->removed, w->altered, w->same);
	buf_adds(&out, ",\"fields\":{");
	for (size_t i = 0; i < w->nfields; i++) {
		buf_adds(&out, i > 0 ? "," : "");
		json_add_string(&out, w->fields[i].name);
		buf_addf(&out, ":%zu", w->fields[i].rows);
	}
	buf_adds(&out, "},\"rows\":[");
	for (size_t i = 0; i < w->npairs; i++) {
		buf_adds(&out, i > 0 ? "," : "");
		json_pair(&out, &w->pairs[i]);
	}
	buf_addc(&out, ']');
	json_failures(&out, "errors_appear", &w->changed, &w->truth);
	json_failures(&out, "errors_vanish", &w->truth, &w->changed);
	buf_adds(&out, "}}\n");
	fwrite(out.s, 1, out.len, stdout);
	buf_free(&out);
}
