#include "app/cli.h"
#include "app/lines.h"
#include "app/migrate.h"
#include "app/publisher.h"
#include "app/term.h"
#include "base/json.h"

enum { LINE_LIMIT = 16 * 1024 * 1024 };

static const Option options[] = {
	{ "event-id", 0, "UUID", NULL,
		"the event's id; publishing the same id again appends nothing" },
	{ "expected-version", 0, "N", NULL,
		"append only if the aggregate stands at version N (0: it is new)" },
	{ "schema-version", 0, "N", NULL, "the version of the shape of DATA" },
	{ "occurred-at", 0, "TIME", NULL, "when it happened, ISO 8601; otherwise now" },
	{ "metadata", 0, "JSON", NULL, "what is not part of the fact itself" },
	{ "source", 0, "TEXT", NULL, "who or what reported it" },
	{ "correlation", 0, "TEXT", NULL, "the id that a whole process shares" },
	{ "causation", 0, "UUID", NULL, "the event_id of the event that caused it" },
	{ "actor-type", 0, "TEXT", NULL, "who did it: user, device, system …" },
	{ "actor-id", 0, "TEXT", NULL, "which one" },
	{ "severity", 0, "TEXT", NULL, "how bad it is" },
	{ "impact", 0, "TEXT", NULL, "how far it reaches" },
	{ "atomic", 0, NULL, NULL, "with `-`: all lines or none" },
	{ "json", 0, NULL, NULL, "one JSON object per published event" },
	{ 0 },
};

typedef struct {
	const Cli *cli;
	bool many;
	int64_t appended, existing, refused;
} Publish;

static void on_published(void *owner, const Published *e)
{
	Publish *p = owner;

	*(e->appended ? &p->appended : &p->existing) += 1;
	if (cli_flag(p->cli, "json"))
		printf("{\"line\":%lld,\"id\":%lld,\"event_id\":\"%s\",\"version\":%lld,"
		       "\"appended\":%s}\n",
			(long long)e->line, (long long)e->id, e->event_id, (long long)e->version,
			e->appended ? "true" : "false");
	else if (!p->many)
		printf("%s %lld (event_id %s, version %lld)\n",
			e->appended ? "event" : "already there: event", (long long)e->id,
			e->event_id, (long long)e->version);
}

static void on_refused(void *owner, int64_t line, Str raw, const Err *err)
{
	Publish *p = owner;
	Err shown = *err;

	(void)raw;
	p->refused++;
	if (p->many)
		err_prefix(&shown, "stdin:%lld", (long long)line);
	else
		err_prefix(&shown, "publish");
	cli_fail(&shown);
}

static bool on_stopped(void *owner)
{
	const Publish *p = owner;

	return cli_stopped(p->cli);
}

/* One event from the words of the command line. */

static void add_member(Buf *out, const char *key, Str raw)
{
	buf_addf(out, "%s\"%s\":", out->len > 1 ? "," : "", key);
	buf_add(out, raw.s, raw.len);
}

static bool add_text(Buf *out, const char *key, const char *text, Err *err)
{
	Buf literal = { 0 };
	bool ok = text == NULL || json_add_string_checked(&literal, str_from(text), err);

	if (text != NULL && ok)
		add_member(out, key, buf_str(&literal));
	buf_free(&literal);
	return ok || err_prefix(err, "publish: %s", key);
}

static bool add_json(Buf *out, const char *key, const char *text, Err *err)
{
	if (text == NULL)
		return true;
	if (!json_check_jsonb(str_from(text), 0, err))
		return err_prefix(err, "publish: %s", key);
	add_member(out, key, str_from(text));
	return true;
}

static bool add_int(Buf *out, const Cli *cli, const char *key, const char *option, Err *err)
{
	int64_t n = -1;

	if (!cli_int(cli, option, 0, INT64_MAX, &n, err))
		return false;
	if (n >= 0)
		buf_addf(out, ",\"%s\":%lld", key, (long long)n);
	return true;
}

static bool make_event(const Cli *cli, int argc, char **argv, Buf *out, Err *err)
{
	static const char *const texts[][2] = { { "event_id", "event-id" },
		{ "occurred_at", "occurred-at" }, { "source", "source" },
		{ "correlation_id", "correlation" }, { "causation_id", "causation" },
		{ "actor_type", "actor-type" }, { "actor_id", "actor-id" },
		{ "severity", "severity" }, { "impact", "impact" } };
	bool ok;

	buf_addc(out, '{');
	ok = add_text(out, "event_type", argv[0], err) &&
	     add_text(out, "aggregate_type", argv[1], err) &&
	     add_text(out, "aggregate_id", argv[2], err) &&
	     add_json(out, "data", argc > 3 ? argv[3] : "{}", err) &&
	     add_json(out, "metadata", cli_value(cli, "metadata"), err) &&
	     add_int(out, cli, "expected_version", "expected-version", err) &&
	     add_int(out, cli, "schema_version", "schema-version", err);
	for (size_t i = 0; ok && i < sizeof(texts) / sizeof(texts[0]); i++)
		ok = add_text(out, texts[i][0], cli_value(cli, texts[i][1]), err);
	buf_addc(out, '}');
	return ok;
}

static bool publish_words(Publish *p, Publisher *to, int argc, char **argv, Err *err)
{
	Buf event = { 0 };
	bool ok = make_event(p->cli, argc, argv, &event, err) &&
		  publisher_add(to, 1, buf_str(&event), STR(""), err);

	buf_free(&event);
	return ok;
}

/* Many events from standard input. */

static void refuse_line(Publish *p, Publisher *to, int64_t line, Err *err)
{
	publisher_spoil(to);
	on_refused(p, line, STR(""), err);
}

static bool take_line(Publish *p, Publisher *to, int64_t number, Str line, Err *err)
{
	size_t start = 0;

	while (start < line.len && (line.s[start] == ' ' || line.s[start] == '\t'))
		start++;
	if (start == line.len)
		return true;
	if (!json_check_jsonb(line, 0, err)) {
		refuse_line(p, to, number, err);
	} else if (line.s[start] != '{') {
		err_set(err, ERR_DATA, "not a JSON object (one event per line)");
		refuse_line(p, to, number, err);
	} else {
		return publisher_add(to, number, line, STR(""), err);
	}
	return true;
}

static bool publish_lines(Publish *p, Publisher *to, Lines *lines, Err *err)
{
	while (!cli_stopped(p->cli)) {
		Str line;
		LineResult result;

		/* A slow writer's events do not wait for a full batch. */
		if (publisher_waiting(to) > 0 && !lines_ready(lines) && !publisher_flush(to, err))
			return false;
		fflush(stdout);
		result = lines_next(lines, &line, err);
		if (result == LINE_END)
			return true;
		if (result == LINE_FAILED)
			return cli_stopped(p->cli) || (publisher_flush(to, err) && false);
		if (result == LINE_TOO_LONG) {
			err_set(err, ERR_LIMIT, "the line is longer than 16 MB");
			refuse_line(p, to, lines_number(lines), err);
		} else if (!take_line(p, to, lines_number(lines), line, err)) {
			return false;
		}
	}
	return true;
}

static bool publish_stdin(Publish *p, Publisher *to, Err *err)
{
	Lines *lines = lines_open("-", LINE_LIMIT, err);
	bool ok;

	if (lines == NULL)
		return false;
	ok = publish_lines(p, to, lines, err);
	lines_close(lines);
	return ok;
}

static void summary(const Publish *p)
{
	bool undone = cli_flag(p->cli, "atomic") && (p->refused > 0 || cli_stopped(p->cli));
	char appended[32], existing[32], refused[32];

	if (!p->many || cli_flag(p->cli, "json"))
		return;
	printf("%s %s events, %s already there, %s refused%s\n", undone ? "took back" : "published",
		term_count(p->appended, appended), term_count(p->existing, existing),
		term_count(p->refused, refused), undone ? " (--atomic: nothing was appended)" : "");
}

static int publish(Publish *p, int argc, char **argv)
{
	PublisherOptions how = { .atomic = cli_flag(p->cli, "atomic"),
		.published = on_published,
		.refused = on_refused,
		.stopped = on_stopped,
		.owner = p };
	Err err;
	Publisher *to = publisher_open(&p->cli->target, &how, &err);
	bool ok = to != NULL && migrate_check(publisher_db(to), &err);

	ok = ok && (p->many ? publish_stdin(p, to, &err) : publish_words(p, to, argc, argv, &err));
	if (ok && cli_stopped(p->cli))
		publisher_spoil(to);
	ok = ok && publisher_finish(to, &err);
	publisher_close(to);
	if (to != NULL)
		summary(p);
	if (!ok)
		return cli_fail(&err);
	if (cli_stopped(p->cli))
		fprintf(stderr, "moonwake: publish: stopped\n");
	return p->refused > 0 || cli_stopped(p->cli) ? EXIT_FAILED : EXIT_OK;
}

static int run(Cli *cli, int argc, char **argv)
{
	Publish p = { .cli = cli, .many = argc == 1 && strcmp(argv[0], "-") == 0 };

	if (!p.many && (argc < 3 || argc > 4))
		return cli_usage(cli, "needs TYPE AGGREGATE_TYPE AGGREGATE_ID [DATA], or - for "
				      "lines on standard input");
	cli_catch_stop(cli);
	return publish(&p, argc, argv);
}

const Command cmd_publish = {
	.name = "publish",
	.summary = "append one event, or many from standard input",
	.usage = "TYPE AGGREGATE_TYPE AGGREGATE_ID [DATA] | -",
	.details = "With `-`, each line of standard input (plain or gzip) is a JSON object with "
		   "the members event_type,\n"
		   "aggregate_type, aggregate_id, and as far as wanted data, metadata, event_id, "
		   "expected_version,\n"
		   "schema_version, occurred_at, source, correlation_id, causation_id, actor_type, "
		   "actor_id, severity,\n"
		   "impact. A line that is refused is reported with its number and does not stop "
		   "the others, unless\n"
		   "--atomic is given; the exit code is then 1.",
	.options = options,
	.examples =
		"  moonwake publish device.online device dev-1 '{\"ip\":\"10.0.0.7\"}'\n"
		"  moonwake publish order.paid order o-17 '{\"cents\":1250}' --expected-version 2\n"
		"  moonwake publish - < events.ndjson\n"
		"  zcat events.ndjson.gz | moonwake publish --atomic --json -",
	.run = run,
};
