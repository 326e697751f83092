#include "app/audit.h"
#include "app/migrate.h"
#include "base/json.h"

#include <inttypes.h>

static const Option options[] = {
	{ "from", 0, "ID", "1", "only the ranges from the one that holds this event on" },
	{ "to", 0, "ID", NULL, "only the ranges up to the one that holds this event" },
	{ "json", 0, NULL, NULL, "one JSON object for each consumer, then one for the log" },
	{ 0 },
};

/* --- What is to be audited
 * -------------------------------------------------------------------------- */

static bool want(Audit *a, const char *name, Err *err)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX;

	for (size_t i = 0; i < a->n; i++) {
		if (strcmp(a->consumers[i].name, name) == 0)
			return a->consumers[i].wanted = true;
		if (options_closer(name, a->consumers[i].name, &best))
			nearest = a->consumers[i].name;
	}
	err_set(err, ERR_USAGE, "consumer '%.100s': has never been started", name);
	if (nearest != NULL)
		err_hint(err, "did you mean '%s'?", nearest);
	return false;
}

static bool choose(Audit *a, int argc, char **argv, Err *err)
{
	for (size_t i = 0; i < a->n; i++)
		a->consumers[i].wanted = argc == 0;
	for (int i = 0; i < argc; i++)
		if (!want(a, argv[i], err))
			return false;
	return true;
}

static bool read_bounds(Audit *a, Err *err)
{
	a->to = INT64_MAX;
	if (!cli_int(a->cli, "from", 1, INT64_MAX, &a->from, err) ||
		(cli_value(a->cli, "to") != NULL &&
			!cli_int(a->cli, "to", 1, INT64_MAX, &a->to, err)))
		return false;
	return a->from <= a->to ||
	       err_set(err, ERR_USAGE, "audit: --from %" PRId64 " lies behind --to %" PRId64,
		       a->from, a->to);
}

static bool in_log(const Audit *a, Err *err)
{
	return a->from <= 1 || a->from <= a->log.head ||
	       err_set(err, ERR_USAGE,
		       "audit: --from %" PRId64 " lies behind the log's head, %" PRId64, a->from,
		       a->log.head);
}

/* --- For people
 * ------------------------------------------------------------------------------------- */

static const char *verdict(const AuditConsumer *c)
{
	if (!audit_consumer_is_proved(c))
		return c->bad > 0 || c->beyond ? "DIFFERS" : "changed meanwhile";
	if (c->position == 0)
		return "not begun";
	if (c->recorded < 0)
		return "not recorded";
	return "proved";
}

static void print_consumers(const Audit *a)
{
	static const char *const heads[] = { "consumer", ">position", ">events", ">ranges",
		"verdict" };
	TermTable *t = term_table_new(5, heads);

	for (size_t i = 0; i < a->n; i++) {
		const AuditConsumer *c = &a->consumers[i];
		char n[3][32];
		const char *cells[] = { c->name, term_count(c->position, n[0]),
			term_count(c->events, n[1]), term_count(c->ranges, n[2]), verdict(c) };

		if (c->wanted)
			term_table_row(
				t, audit_consumer_is_proved(c) ? TERM_PLAIN : TERM_RED, cells);
	}
	term_table_print(t, stdout);
	term_table_free(t);
}

static void print_fault(const AuditConsumer *c)
{
	Buf text = { 0 };
	int64_t first = c->fault.range << AUDIT_RANGE_BITS;
	char n[32];

	audit_describe(&c->fault, &text);
	printf("\n%s: ids %" PRId64 " to %" PRId64 ": %s\n", c->name, first,
		first + (INT64_C(1) << AUDIT_RANGE_BITS) - 1, text.s);
	if (c->bad > 1)
		printf("  %s more of its ranges differ\n", term_count(c->bad - 1, n));
	buf_free(&text);
}

static void print_notes(const Audit *a)
{
	char n[2][32];

	for (size_t i = 0; i < a->n; i++) {
		const AuditConsumer *c = &a->consumers[i];

		if (!c->wanted)
			continue;
		if (c->bad > 0)
			print_fault(c);
		if (c->beyond)
			printf("\n%s: stands at %s, above the log's head %s, or was given events "
			       "from there\n",
				c->name, term_count(c->position, n[0]),
				term_count(a->log.head, n[1]));
		if (c->changed)
			printf("\n%s: was sent back or removed meanwhile: audit it again\n",
				c->name);
		if (c->recorded > 0)
			printf("\n%s: what it was given up to event %s was not recorded\n", c->name,
				term_count(c->recorded, n[0]));
		else if (c->recorded < 0 && c->position > 0)
			printf("\n%s: what it was given was not recorded yet (a daemon of this "
			       "version does)\n",
				c->name);
	}
}

static void print_log(const AuditLog *log)
{
	char n[4][32];

	printf("\nlog: head %s, sealed up to %s; %s %s over %s events: %s\n",
		term_count(log->head, n[0]), term_count(log->sealed_to, n[1]),
		term_count(log->checked, n[2]), log->checked == 1 ? "seal" : "seals",
		term_count(log->events, n[3]), audit_log_is_proved(log) ? "proved" : "DIFFERS");
	if (log->bad > 0)
		printf("log: ids %" PRId64 " to %" PRId64 ": %s\n", log->bad_from, log->bad_to,
			log->problem);
	for (int64_t i = 0; i < log->nsuspects && i < AUDIT_SUSPECTS; i++)
		printf("log: event %" PRId64 ": %s\n", log->suspects[i].id,
			log->suspects[i].problem);
	if (log->nsuspects > AUDIT_SUSPECTS)
		printf("log: and %s more events\n",
			term_count(log->nsuspects - AUDIT_SUSPECTS, n[0]));
	if (log->bad > 1)
		printf("log: %s more sealed ranges differ\n", term_count(log->bad - 1, n[0]));
}

/* --- For programs
 * ----------------------------------------------------------------------------------- */

static const char *fault_name(RollingFault fault)
{
	static const char *const names[] = { [ROLLING_SAME] = "unknown",
		[ROLLING_MISSED] = "missed",
		[ROLLING_DOUBLED] = "doubled",
		[ROLLING_GONE] = "gone",
		[ROLLING_OTHER] = "other",
		[ROLLING_UNKNOWN] = "unknown" };

	return names[fault];
}

static void add_text(Buf *out, const char *name, const char *value)
{
	buf_addf(out, ",\"%s\":", name);
	json_add_string(out, str_from(value));
}

static void add_number(Buf *out, const char *name, int64_t value)
{
	buf_addf(out, ",\"%s\":%" PRId64, name, value);
}

static void add_fault(Buf *out, const AuditFault *f)
{
	Buf text = { 0 };
	int64_t first = f->range << AUDIT_RANGE_BITS;

	buf_addf(out, ",\"first_bad\":{\"range\":%" PRId64, f->range);
	add_number(out, "from", first);
	add_number(out, "to", first + (INT64_C(1) << AUDIT_RANGE_BITS) - 1);
	add_number(out, "expected", f->expected);
	add_number(out, "events", f->events);
	add_text(out, "fault", fault_name(f->finding.fault));
	if (f->finding.count > 0) {
		add_number(out, "count", f->finding.count);
		add_number(out, "first_event", f->finding.first);
		add_number(out, "last_event", f->finding.last);
	}
	audit_describe(f, &text);
	add_text(out, "problem", text.s);
	buf_addc(out, '}');
	buf_free(&text);
}

static void print_consumer_json(const AuditConsumer *c)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"consumer\":");
	json_add_string(&out, str_from(c->name));
	add_text(&out, "kind", c->kind);
	add_number(&out, "position", c->position);
	if (c->recorded >= 0)
		add_number(&out, "recorded_after", c->recorded);
	else
		buf_adds(&out, ",\"recorded_after\":null");
	add_number(&out, "expected", c->expected);
	add_number(&out, "events", c->events);
	add_number(&out, "ranges", c->ranges);
	add_number(&out, "bad_ranges", c->bad);
	buf_addf(&out, ",\"above_head\":%s", c->beyond ? "true" : "false");
	add_text(&out, "verdict", verdict(c));
	if (c->bad > 0)
		add_fault(&out, &c->fault);
	buf_addc(&out, '}');
	puts(out.s);
	buf_free(&out);
}

static void print_log_json(const AuditLog *log)
{
	Buf out = { 0 };

	buf_addf(&out, "{\"log\":{\"head\":%" PRId64, log->head);
	add_number(&out, "sealed_to", log->sealed_to);
	add_number(&out, "seals", log->checked);
	add_number(&out, "events", log->events);
	add_number(&out, "bad_seals", log->bad);
	add_text(&out, "verdict", audit_log_is_proved(log) ? "proved" : "DIFFERS");
	if (log->bad > 0) {
		buf_addf(&out, ",\"first_bad\":{\"from\":%" PRId64, log->bad_from);
		add_number(&out, "to", log->bad_to);
		add_text(&out, "problem", log->problem);
		buf_addc(&out, '}');
	}
	buf_adds(&out, ",\"suspects\":[");
	for (int64_t i = 0; i < log->nsuspects && i < AUDIT_SUSPECTS; i++) {
		buf_addf(&out, "%s{\"event\":%" PRId64, i ? "," : "", log->suspects[i].id);
		add_text(&out, "problem", log->suspects[i].problem);
		buf_addc(&out, '}');
	}
	buf_adds(&out, "]}}");
	puts(out.s);
	buf_free(&out);
}

/* --- The command
 * ------------------------------------------------------------------------------------ */

static int report(const Audit *a, bool json)
{
	bool proved = audit_log_is_proved(&a->log);

	for (size_t i = 0; i < a->n; i++) {
		const AuditConsumer *c = &a->consumers[i];

		proved = proved && (!c->wanted || audit_consumer_is_proved(c));
		if (json && c->wanted)
			print_consumer_json(c);
	}
	if (json) {
		print_log_json(&a->log);
	} else {
		if (a->n == 0)
			printf("no consumer has been started yet (`moonwake run`)\n");
		else
			print_consumers(a);
		print_notes(a);
		print_log(&a->log);
	}
	return proved ? EXIT_OK : EXIT_FAILED;
}

static int run(Cli *cli, int argc, char **argv)
{
	Audit a = { .cli = cli };
	int code = EXIT_FAILED;
	Err err;

	if (!read_bounds(&a, &err))
		return cli_fail(&err);
	cli_catch_stop(cli);
	a.db = pg_db_open(&cli->target, &err);
	if (a.db == NULL || !migrate_check(a.db, &err) || !audit_open(&a, &err) ||
		!choose(&a, argc, argv, &err) || !in_log(&a, &err) || !audit_consumers(&a, &err) ||
		!audit_log(&a, &err)) {
		if (cli_stopped(cli))
			fprintf(stderr, "moonwake: audit: stopped, nothing is proved\n");
		else
			code = cli_fail(&err);
		goto out;
	}
	code = report(&a, cli_flag(cli, "json"));
out:
	pg_db_close(a.db);
	return code;
}

const Command cmd_audit = {
	.name = "audit",
	.summary = "prove that each consumer saw each event once, and that the log is as it was",
	.usage = "[CONSUMER…]",
	.details =
		"Whenever a consumer moves, the same transaction counts and hashes the events that "
		"it was given, by ranges\n"
		"of 65,536 ids. What it should have been given follows from the log and its event "
		"types; both must agree up\n"
		"to its position. Dead letters count as given. Then the log is compared with its "
		"seals (sha-256 over 10,000\n"
		"ids, each over the one before), and what no seal covers yet with the versions of "
		"its aggregates. It reads page\n"
		"by page beside running daemons and publishers. A consumer that began before this "
		"was recorded is proved from there on.\n"
		"Exit code 0: proved; 1: something differs, and the first range that does is "
		"named.",
	.options = options,
	.examples = "  moonwake audit\n"
		    "  moonwake audit device_summary --from 1000000\n"
		    "  moonwake audit --json | jq 'select(.bad_ranges > 0)'",
	.run = run,
};
