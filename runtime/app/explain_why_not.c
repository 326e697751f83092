#include "app/explain.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/loader.h"
#include "app/migrate.h"
#include "app/point.h"
#include "app/rule_counts.h"
#include "app/rule_history.h"
#include "app/rule_key.h"
#include "app/show.h"
#include "app/term.h"
#include "base/iso_time.h"
#include "base/json.h"

enum { LOOKS = 6 /* evaluations that are shown */ };

static const int64_t WEEK_US = INT64_C(7) * 86400 * 1000000; /* that is looked at in any case */

/* The columns of sql/queries/explain_rule.sql. */
enum {
	R_POSITION,
	R_STATE,
	R_ERROR,
	R_ERROR_EVENT,
	R_DIGEST,
	R_BODY,
	R_PARKED,
	R_PARKED_ERROR,
	R_EPISODE,
	R_ALERT,
	R_MUTED,
	R_SINCE,
	R_NOW,
	R_SEVERITY
};

typedef struct {
	Cli *cli;
	PgDb *db;
	Handler *handler;
	const Definition *def;
	Buf key, word; /* as in DeadLetter.key; as a person writes it */
	int64_t at_us;
	bool is_now;
	PgRows *live; /* explain_rule.sql */
	Probes probes;
	const Probe *last; /* the last evaluation that asked something; NULL: none did */
	bool fires;
	Buf why;   /* the first thing that keeps it from firing */
	Buf notes; /* lines: what else is to be known */
} Question;

/* ---- what is asked ---- */

static bool open_question(Question *q, int argc, char **argv, Err *err)
{
	LuaOptions lua = { .workspace = q->cli->workspace };
	const char *at = cli_value(q->cli, "at");

	q->is_now = at == NULL;
	if (argc < 2)
		return err_set(err, ERR_USAGE, "explain --why-not: takes a rule and a key");
	if (at != NULL && !point_parse_time("--at", at, &q->at_us, err))
		return false;
	q->handler = loader_open(&lua, argv[0], err);
	if (q->handler == NULL)
		return false;
	q->def = q->handler->ops->definition(q->handler);
	if (q->def->kind != KIND_RULE)
		return err_set(err, ERR_USAGE, "%s is no rule", q->def->path);
	if (!rule_key_read(q->def, argc - 1, argv + 1, &q->key, err))
		return false;
	rule_key_show(buf_str(&q->key), &q->word);
	return true;
}

static bool ask(Question *q, Err *err)
{
	const char *params[] = { q->def->name, q->key.s };
	ProbeAsk what = { q->cli, q->db, q->handler, buf_str(&q->key), 0, 0 };
	int64_t horizon = rule_horizon(q->def);

	q->live = pg_db_run(q->db, SQL_EXPLAIN_RULE, 2, params, err);
	if (q->live == NULL)
		return false;
	if (q->is_now)
		q->at_us = pg_rows_i64(q->live, 0, R_NOW);
	what.until_us = q->at_us + 1;
	if (!rule_by_occurred(q->def)) /* otherwise its clock may stand far behind */
		what.since_us = what.until_us - (horizon < WEEK_US ? WEEK_US - horizon : 0);
	return probes_run(&what, &q->probes, err);
}

/* ---- why ---- */

static bool is_active(Str phase)
{
	return str_eq(phase, STR("firing")) || str_eq(phase, STR("lingering"));
}

static bool active(const Probe *p)
{
	return is_active(p->after);
}

static bool fired(const Probe *p)
{
	return p->why.len >= 8 && memcmp(p->why.s, "it fires", 8) == 0;
}

/* An event that `where` did not take says nothing of the others, and one that waited did so only
 * until the next look. */
static const Probe *last_look(const Probes *p)
{
	for (size_t i = p->count; i-- > 0;) {
		const Probe *at = &p->at[i];

		if (at->is_event ? at->passed : !at->waits || i + 1 == p->count)
			return at;
	}
	return NULL;
}

static void add_types(const Definition *def, Buf *out)
{
	for (size_t i = 0; i < def->ntypes; i++)
		buf_addf(out, "%s%.*s", i > 0 ? ", " : "", (int)def->types[i].len, def->types[i].s);
}

static void say_nothing_came(Question *q)
{
	char time[32];

	buf_adds(&q->why, "no own event of the rule has this key");
	if (q->probes.from_us != 0)
		buf_addf(&q->why, " since %s", show_time(q->probes.from_us, time));
	buf_adds(&q->why, "; it reads ");
	add_types(q->def, &q->why);
	if (q->probes.nearest != NULL)
		buf_addf(&q->why, " (did you mean %s?)", q->probes.nearest);
}

static void say_refused(Question *q)
{
	const Probes *p = &q->probes;
	const Probe *last = &p->last_refused;
	char time[32];

	if (p->refused_by_where > 0)
		buf_addf(&q->why,
			"`where` was false for %s%" PRId64 " event%s, the last one #%" PRId64
			" %.*s at %s",
			p->refused_by_where > 1 ? "all " : "its ", p->refused_by_where,
			p->refused_by_where == 1 ? "" : "s", last->position, (int)last->type.len,
			last->type.s, show_time(last->at, time));
	if (p->without_value > 0)
		buf_addf(&q->why, "%s%" PRId64 " event%s had no value", q->why.len > 0 ? "; " : "",
			p->without_value, p->without_value == 1 ? "" : "s");
}

/* Where the rule's input only waits, or a timer of no concern fired: the last thing that decided.
 */
static void say_last(Question *q)
{
	Str why = q->last->why;
	char time[32];

	for (size_t i = q->probes.count; str_eq(why, STR("nothing new")) && i-- > 0;) {
		const Probe *p = &q->probes.at[i];

		if (is_active(p->before) && !active(p)) {
			buf_addf(&q->why, "its last alert ended at %s, and nothing new came since",
				show_time(p->at, time));
			return;
		}
		if (!p->waits && (!p->is_event || p->passed))
			why = p->why;
	}
	buf_add(&q->why, why.s, why.len);
}

/* A limit has refused the key, or its alert. */
static int64_t counted(const Question *q, const char *name)
{
	Str counts, value;

	if (q->probes.memory.s == NULL || !json_path(q->probes.memory, "counts", &counts) ||
		!json_path(counts, name, &value))
		return 0;
	return strtoll(value.s, NULL, 10);
}

static void find_why(Question *q)
{
	const Probes *p = &q->probes;

	q->last = last_look(p);
	q->fires = q->last != NULL && (active(q->last) || fired(q->last));
	if (p->failure.event_id != 0)
		buf_addf(&q->why, "the rule failed at event #%" PRId64 ", and %s: %s",
			p->failure.event_id,
			q->def->on_error == ON_ERROR_SKIP ? "passes over it"
							  : "the key is parked there",
			p->failure.message);
	else if (p->count == 0 && counted(q, "max_keys") > 0)
		buf_addf(&q->why,
			"max_keys: the rule has as many keys as it may, and refused others %" PRId64
			" times",
			counted(q, "max_keys"));
	else if (p->count == 0)
		say_nothing_came(q);
	else if (q->last == NULL)
		say_refused(q);
	else
		say_last(q);
}

/* ---- what else ---- */

static void note_live_alert(Question *q)
{
	char time[32];

	if (pg_rows_null(q->live, 0, R_EPISODE))
		return;
	buf_addf(&q->notes, "live: %s since %s (%s)\n", pg_rows_text(q->live, 0, R_ALERT),
		show_time(pg_rows_i64(q->live, 0, R_SINCE), time),
		pg_rows_text(q->live, 0, R_EPISODE));
	if (!pg_rows_null(q->live, 0, R_MUTED))
		buf_addf(&q->notes, "live: muted by %s\n", pg_rows_text(q->live, 0, R_MUTED));
}

static void note_live(Question *q)
{
	const char *state = pg_rows_text(q->live, 0, R_STATE);

	if (pg_rows_null(q->live, 0, R_DIGEST)) {
		buf_adds(&q->notes, "live: no daemon has ever run the rule\n");
		return;
	}
	if (strcmp(pg_rows_text(q->live, 0, R_DIGEST), q->def->digest) != 0)
		buf_adds(&q->notes, "live: a daemon runs another version than the workspace has\n");
	if (strcmp(state, "running") != 0)
		buf_addf(&q->notes, "live: the rule is %s\n", state);
	if (pg_rows_i64(q->live, 0, R_ERROR_EVENT) > 0)
		buf_addf(&q->notes, "live: it stands before event #%s: %s\n",
			pg_rows_text(q->live, 0, R_ERROR_EVENT), pg_rows_text(q->live, 0, R_ERROR));
	if (!pg_rows_null(q->live, 0, R_PARKED))
		buf_addf(&q->notes, "live: the key is parked at event #%s: %s\n",
			pg_rows_text(q->live, 0, R_PARKED),
			pg_rows_text(q->live, 0, R_PARKED_ERROR));
	if (q->is_now && pg_rows_i64(q->live, 0, R_POSITION) < q->probes.upto)
		buf_addf(&q->notes, "live: it has come to event #%s of #%" PRId64 "\n",
			pg_rows_text(q->live, 0, R_POSITION), q->probes.upto);
	note_live_alert(q);
}

static void note_counts(Question *q)
{
	Buf counts = { 0 };

	rule_counts_show(q->probes.memory, &counts);
	if (counts.len > 0)
		buf_addf(&q->notes, "of all keys: %s\n", buf_str(&counts).s);
	buf_free(&counts);
}

static void note_events(Question *q)
{
	const Probes *p = &q->probes;
	char time[32];

	if (p->keyless > 0)
		buf_addf(&q->notes, "%" PRId64 " event%s had no key: %s\n", p->keyless,
			p->keyless == 1 ? "" : "s", p->keyless_why);
	if (p->events == 0)
		return;
	buf_addf(&q->notes, "%" PRId64 " own event%s of the key", p->events,
		p->events == 1 ? "" : "s");
	if (p->from_us != 0)
		buf_addf(&q->notes, " since %s", show_time(p->from_us, time));
	if (p->refused_by_where > 0)
		buf_addf(&q->notes, "; `where` did not take %" PRId64 ", the last #%" PRId64,
			p->refused_by_where, p->last_refused.position);
	if (p->without_value > 0)
		buf_addf(&q->notes, "; %" PRId64 " without a value", p->without_value);
	buf_addc(&q->notes, '\n');
}

/* ---- the answer ---- */

static void print_look(TermTable *t, const Probe *p)
{
	Buf what = { 0 }, found = { 0 }, clean = { 0 };
	char time[32];

	explain_cause(p, &what);
	if (!p->is_event || p->passed) {
		explain_values(p->subject, &found);
		explain_levels("when", p->when, &found);
		explain_levels("clear", p->clear, &found);
	}
	if (found.len == 0)
		buf_add(&found, p->why.s, p->why.len);
	show_clean(&clean, buf_str(&found), 100);
	if (!str_eq(p->before, p->after))
		buf_addf(&clean, " -> %.*s", (int)p->after.len, p->after.s);
	term_table_row(t, TERM_PLAIN,
		(const char *[]){ show_time(p->at, time), what.s, buf_str(&clean).s });
	buf_free(&what);
	buf_free(&found);
	buf_free(&clean);
}

static void print_looks(const Probes *p)
{
	static const char *const heads[] = { "at", "looked at", "found" };
	TermTable *t;

	if (p->count == 0)
		return;
	t = term_table_new(3, heads);
	for (size_t i = p->count > LOOKS ? p->count - LOOKS : 0; i < p->count; i++)
		print_look(t, &p->at[i]);
	putchar('\n');
	term_table_print(t, stdout);
	term_table_free(t);
}

static void print_answer(const Question *q)
{
	char time[32];

	term_print(stdout, TERM_BOLD, "%s", q->def->name);
	fputs("  ", stdout);
	show_styled(stdout, TERM_CYAN, buf_str(&q->word));
	if (q->fires && !active(q->last)) /* a signal is over at once */
		printf("  fired at %s\n  ", show_time(q->last->at, time));
	else
		printf("  %s at %s\n  ", q->fires ? "fires" : "does not fire",
			show_time(q->at_us, time));
	show_styled(stdout, q->fires ? TERM_GREEN : TERM_YELLOW, buf_str(&q->why));
	putchar('\n');
	print_looks(&q->probes);
	if (q->notes.len > 0) {
		putchar('\n');
		fwrite(q->notes.s, 1, q->notes.len, stdout);
	}
}

static void add_notes(const Buf *notes, Buf *out)
{
	const char *p = buf_str(notes).s;

	buf_adds(out, ",\"notes\":[");
	while (*p != '\0') {
		size_t len = strcspn(p, "\n");

		buf_adds(out, p > notes->s ? "," : "");
		json_add_string(out, (Str){ p, len });
		p += len + (p[len] == '\n');
	}
	buf_addc(out, ']');
}

static void print_json(const Question *q)
{
	const Probes *p = &q->probes;
	size_t from = p->count > LOOKS ? p->count - LOOKS : 0;
	char at[ISO_TIME_SIZE];
	Buf out = { 0 };

	iso_time_format(q->at_us, at);
	buf_adds(&out, "{\"rule\":");
	json_add_string(&out, str_from(q->def->name));
	buf_addf(&out, ",\"key\":%s,\"at\":\"%s\",\"fires\":%s,\"why\":", q->key.s, at,
		q->fires ? "true" : "false");
	json_add_string(&out, buf_str(&q->why));
	buf_addf(&out,
		",\"events\":%" PRId64 ",\"where_false\":%" PRId64 ",\"without_value\":%" PRId64,
		p->events, p->refused_by_where, p->without_value);
	add_notes(&q->notes, &out);
	buf_adds(&out, ",\"evaluations\":[");
	for (size_t i = from; i < p->count; i++) {
		buf_adds(&out, i > from ? ",\n" : "\n");
		explain_probe_json(&p->at[i], &out);
	}
	buf_adds(&out, "]}\n");
	fwrite(out.s, 1, out.len, stdout);
	buf_free(&out);
}

static void answer(Question *q)
{
	find_why(q);
	note_events(q);
	note_counts(q);
	note_live(q);
	if (cli_flag(q->cli, "json"))
		print_json(q);
	else
		print_answer(q);
}

int explain_why_not(Cli *cli, int argc, char **argv)
{
	Question q = { .cli = cli };
	int code = EXIT_OK;
	Err err = { 0 };

	if (open_question(&q, argc, argv, &err) && q.def != NULL &&
		(q.db = pg_db_open(&cli->target, &err)) != NULL && migrate_check(q.db, &err) &&
		ask(&q, &err))
		answer(&q);
	else
		code = cli_fail(&err);
	probes_free(&q.probes);
	pg_rows_free(q.live);
	pg_db_close(q.db);
	buf_free(&q.key);
	buf_free(&q.word);
	buf_free(&q.why);
	buf_free(&q.notes);
	if (q.handler != NULL)
		q.handler->ops->close(q.handler);
	return code;
}
