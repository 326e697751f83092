#include "app/backtest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/duration.h"
#include "app/rule_counts.h"
#include "app/rule_key.h"
#include "app/show.h"
#include "app/term.h"

enum { LISTED = 50 /* episodes without --all */ };

static const double DAY_US = 86400e6;

static bool is_compared(const Backtest *b)
{
	return b->against != AGAINST_NONE;
}

static const Episode *either(const EpisodePair *p)
{
	return p->now != NULL ? p->now : p->before;
}

/* ---- one episode ---- */

static void add_length(const Backtest *b, const Episode *e, Buf *out)
{
	char text[32];

	if (e->signal) {
		buf_adds(out, "signal");
		return;
	}
	buf_adds(out, duration_text(episode_end(e, b->until_us) - e->fired_us, text));
	buf_adds(out, e->ended_us == EPISODE_NEVER ? " so far" : "");
}

static void add_word(Buf *out, const char *fmt, const char *text)
{
	buf_adds(out, out->len > 0 ? ", " : "");
	buf_addf(out, fmt, text);
}

static void add_changes(const EpisodePair *p, Buf *out)
{
	char text[32];

	if (p->changes & (EPISODE_ADDED | EPISODE_REMOVED))
		add_word(out, "%s", p->changes & EPISODE_ADDED ? "added" : "removed");
	if (p->moved_us != 0)
		add_word(out, p->moved_us > 0 ? "%s later" : "%s earlier",
			duration_text(p->moved_us > 0 ? p->moved_us : -p->moved_us, text));
	if (p->longer_us != 0)
		add_word(out, p->longer_us > 0 ? "%s longer" : "%s shorter",
			duration_text(p->longer_us > 0 ? p->longer_us : -p->longer_us, text));
	if (p->changes & EPISODE_SEVERITY)
		add_word(out, "was %s", p->before->severity.s);
	if (p->changes == 0)
		add_word(out, "%s", "same");
}

static TermStyle style_of(const EpisodePair *p)
{
	if (p->changes & EPISODE_ADDED)
		return TERM_GREEN;
	if (p->changes & EPISODE_REMOVED)
		return TERM_RED;
	return p->changes != 0 ? TERM_YELLOW : TERM_PLAIN;
}

static void add_row(const Backtest *b, TermTable *t, const EpisodePair *p)
{
	const Episode *e = either(p);
	Buf key = { 0 }, clean = { 0 }, length = { 0 }, severity = { 0 }, last = { 0 };
	char time[32];

	rule_key_show(e->key, &key);
	show_clean(&clean, buf_str(&key), 40);
	add_length(b, e, &length);
	show_clean(&severity, e->severity.s ? e->severity : STR("-"), -1);
	if (is_compared(b))
		add_changes(p, &last);
	else
		show_clean(&last, e->summary.s ? e->summary : STR(""), 60);
	if (e->muted.s != NULL) {
		buf_adds(&last, last.len > 0 ? ", muted: " : "muted: ");
		show_clean(&last, e->muted, 40);
	}
	term_table_row(t, is_compared(b) ? style_of(p) : TERM_PLAIN,
		(const char *[]){ buf_str(&clean).s, show_time(e->fired_us, time), length.s,
			severity.s, buf_str(&last).s });
	buf_free(&key);
	buf_free(&clean);
	buf_free(&length);
	buf_free(&severity);
	buf_free(&last);
}

static void print_list(const Backtest *b)
{
	const char *heads[] = { "key", "fires", ">for", "severity",
		is_compared(b) ? "change" : "summary" };
	bool all = cli_flag(b->cli, "all");
	TermTable *t = term_table_new(5, heads);
	size_t listed = 0, left = 0;
	char n[32];

	for (size_t i = 0; i < b->diff.count; i++) {
		const EpisodePair *p = &b->diff.pairs[i];

		if (is_compared(b) && p->changes == 0 && !all)
			continue;
		if (listed == LISTED && !all) {
			left++;
			continue;
		}
		add_row(b, t, p);
		listed++;
	}
	if (listed > 0) {
		putchar('\n');
		term_table_print(t, stdout);
	}
	if (left > 0)
		printf("and %s more (--all lists them)\n", term_count((int64_t)left, n));
	term_table_free(t);
}

/* ---- the whole ---- */

static void print_against(const Backtest *b)
{
	if (b->against == AGAINST_LIVE)
		printf(", against what it raised live");
	else if (b->against == AGAINST_VERSION)
		printf(", against %s", b->before.label);
	putchar('\n');
}

static void print_rate(double per_day)
{
	char n[32];

	if (per_day < 100)
		printf(", %.3g a day", per_day);
	else
		printf(", %s a day", term_count((int64_t)per_day, n));
}

static void print_head(const Backtest *b)
{
	double days = (double)(b->until_us - b->since_us) / DAY_US;
	size_t count = episodes_count(b->now.episodes);
	char from[32], to[32], n[32];

	term_print(stdout, TERM_BOLD, "%s", b->now.handler->ops->definition(b->now.handler)->name);
	if (b->since_us != 0)
		printf("  %s to %s", show_time(b->since_us, from), show_time(b->until_us, to));
	else
		printf("  up to %s, which has no event for it", show_time(b->until_us, to));
	print_against(b);
	printf("%s episode%s", term_count((int64_t)count, n), count == 1 ? "" : "s");
	if (days > 0 && count > 0)
		print_rate((double)count / days);
	if (episodes_pending(b->now.episodes) > 0)
		printf("; %s pending only",
			term_count((int64_t)episodes_pending(b->now.episodes), n));
	if (b->now.emitted + b->now.acts > 0)
		printf("; %" PRId64 " events and %" PRId64 " actions, not sent", b->now.emitted,
			b->now.acts);
	putchar('\n');
}

static void print_counts(const Backtest *b)
{
	static const TermStyle styles[EPISODE_CHANGES] = { TERM_GREEN, TERM_RED, TERM_YELLOW,
		TERM_YELLOW, TERM_YELLOW, TERM_YELLOW };
	char n[32];

	if (!is_compared(b))
		return;
	printf("  %s same", term_count((int64_t)b->diff.same, n));
	for (size_t bit = 0; bit < EPISODE_CHANGES; bit++) {
		size_t count = b->diff.changed[bit];

		fputs(", ", stdout);
		term_print(stdout, count > 0 ? styles[bit] : TERM_DIM, "%s %s",
			term_count((int64_t)count, n),
			1u << bit == EPISODE_SEVERITY ? "of another severity"
						      : episode_change_name(bit));
	}
	putchar('\n');
}

static void print_cost(const char *label, const BacktestVersion *v)
{
	const RuleCost *c = &v->cost;
	char n[3][32];

	printf("%s: %s event%s", label, term_count(c->events, n[0]), c->events == 1 ? "" : "s");
	if (c->events > 0)
		printf(", %.2f us of processor time each",
			(double)c->cpu_ns / 1e3 / (double)c->events);
	printf("; %s key%s at most", term_count((int64_t)c->most_keys, n[1]),
		c->most_keys == 1 ? "" : "s");
	if (c->keys > 0)
		printf(", %s bytes of state per key",
			term_count((int64_t)(c->bytes / c->keys), n[2]));
	putchar('\n');
}

static void print_errors(const char *label, const BacktestVersion *v)
{
	char n[32];

	if (v->refused == 0)
		return;
	term_print(stdout, TERM_RED, "%s: %s refused", label, term_count(v->refused, n));
	printf(" (events and timers that failed, or waited behind one that did)\n");
	for (size_t i = 0; i < v->nerrors; i++) {
		printf("  #%" PRId64 ": ", v->errors[i].event_id);
		show_text(stdout, str_from(v->errors[i].message));
		putchar('\n');
	}
}

static void print_version(const char *label, const BacktestVersion *v)
{
	if (v->handler == NULL)
		return;
	print_cost(label, v);
	print_errors(strcmp(label, "cost") == 0 ? "errors" : label, v);
}

/* What the engine counted: what a limit refused, what came late. */
static void print_memory(const BacktestVersion *v)
{
	Buf counts = { 0 };

	rule_counts_show(v->memory, &counts);
	if (counts.len > 0)
		printf("besides: %s\n", buf_str(&counts).s);
	buf_free(&counts);
}

void backtest_show(const Backtest *b)
{
	print_head(b);
	print_counts(b);
	print_list(b);
	if (cli_flag(b->cli, "timeline"))
		backtest_timeline(b);
	putchar('\n');
	print_version("cost", &b->now);
	print_memory(&b->now);
	print_version(b->before.label, &b->before);
	if (b->against == AGAINST_LIVE && b->position < b->upto)
		printf("live: it has come to event %" PRId64 " of %" PRId64 "\n", b->position,
			b->upto);
}
