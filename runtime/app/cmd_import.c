#include "app/cli.h"
#include "app/import.h"
#include "app/import_rejects.h"
#include "app/migrate.h"
#include "app/publisher.h"
#include "app/term.h"
#include "base/json.h"
#include "lua/lua_map.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static const Option options[] = {
	{ "map", 0, "FILE.lua", NULL,
		"a script that returns function(record) -> event, or nil to skip the record" },
	{ "format", 0, "NAME", NULL,
		"ndjson, csv or cloudevents; otherwise told by the name or the first bytes" },
	{ "delimiter", 0, "CHAR", NULL,
		"what stands between the fields of a CSV file (default: a comma; .tsv: a tab)" },
	{ "aggregate-type", 0, "NAME", "cloudevent", "the aggregate_type of CloudEvents" },
	{ "rejects", 0, "FILE", NULL,
		"where rejected records are kept (default: FILE.rejects.ndjson)" },
	{ "dry-run", 0, NULL, NULL, "print the events and append nothing" },
	{ "json", 0, NULL, NULL, "the summary as one JSON object" },
	{ 0 },
};

enum { REPORTED = 20 }; /* rejected records that are shown; all are kept */

typedef struct {
	Cli *cli;
	const char *path;
	ImportReader *reader;
	ImportIds *ids;
	ImportRejects *rejects;
	LuaMap *map;
	Publisher *to; /* NULL: a dry run */
	Progress progress;
	Buf event, identified;
	int64_t records, appended, existing, skipped, line;
	bool lost; /* a rejected record could not be kept: `why` */
	Err why;
} Import;

/* What becomes of records. */

static void reject(Import *m, int64_t line, Str raw, const Err *err)
{
	Err shown = *err;

	if (import_rejects_count(m->rejects) < REPORTED) {
		progress_end(&m->progress);
		err_prefix(&shown, "%s:%lld", m->path, (long long)line);
		cli_fail(&shown);
	} else if (import_rejects_count(m->rejects) == REPORTED) {
		progress_end(&m->progress);
		fprintf(stderr, "moonwake: %s: more records are rejected (see %s)\n", m->path,
			import_rejects_path(m->rejects));
	}
	if (!m->lost)
		m->lost = !import_rejects_add(m->rejects, line, err->message, raw, &m->why);
}

static void on_published(void *owner, const Published *e)
{
	Import *m = owner;

	*(e->appended ? &m->appended : &m->existing) += 1;
}

static void on_refused(void *owner, int64_t line, Str raw, const Err *err)
{
	reject(owner, line, raw, err);
}

static bool on_stopped(void *owner)
{
	const Import *m = owner;

	return cli_stopped(m->cli);
}

/* Makes the event of a record in m->event; left empty where the map skips it. */
static bool map_record(Import *m, Str record, Err *err)
{
	buf_clear(&m->event);
	if (m->map != NULL)
		return lua_map_call(m->map, record, &m->event, err);
	if (import_format(m->reader) == IMPORT_CLOUDEVENTS)
		return import_cloudevent(
			record, cli_value(m->cli, "aggregate-type"), &m->event, err);
	buf_add(&m->event, record.s, record.len);
	return true;
}

/* The length of the object's text without its last bracket and the space around that. */
static size_t without_end(Str object)
{
	size_t n = object.len;

	while (n > 0 && object.s[n - 1] != '}')
		n--;
	n -= n > 0;
	while (n > 0 && strchr(" \t\r\n", object.s[n - 1]) != NULL)
		n--;
	return n;
}

/* Gives the event the record's id where it has none of its own. Of two equal members jsonb keeps
 * the last. */
static Str identify(Import *m, Str record)
{
	Str event = buf_str(&m->event), given;
	size_t n = without_end(event);
	char uuid[37];
	Buf *out = &m->identified;

	/* Counted for every record, so that an id does not depend on what became of its neighbours.
	 */
	import_ids_next(m->ids, record, uuid);
	if (event.len == 0 || (json_path(event, "event_id", &given) && !str_eq(given, STR("null"))))
		return event;
	buf_clear(out);
	buf_add(out, event.s, n);
	buf_addf(out, "%s\"event_id\":\"%s\"}", n > 0 && event.s[n - 1] == '{' ? "" : ",", uuid);
	return buf_str(out);
}

/* On one line: a newline in a valid text stands outside of strings, where a space means the same.
 */
static void print_event(Str event)
{
	for (size_t i = 0; i < event.len; i++)
		putchar(event.s[i] == '\n' || event.s[i] == '\r' ? ' ' : event.s[i]);
	putchar('\n');
}

static bool take_record(Import *m, const ImportRecord *record, Err *err)
{
	Err why;
	bool mapped = map_record(m, record->json, &why);
	Str event = identify(m, record->json);

	if (!mapped) {
		reject(m, record->line, record->raw, &why);
	} else if (event.len == 0) {
		m->skipped++;
	} else if (m->to == NULL) {
		print_event(event);
		m->appended++;
	} else {
		return publisher_add(m->to, record->line, event, record->raw, err);
	}
	return true;
}

/* Reads to the end of the file or to Ctrl-C. What was taken is sent in every case. */
static bool take_records(Import *m, Err *err)
{
	ImportResult result = IMPORT_END;
	ImportRecord record;
	Err why;

	while (!cli_stopped(m->cli) && !m->lost) {
		result = import_next(m->reader, &record, &why);
		if (result == IMPORT_END || result == IMPORT_FAILED)
			break;
		m->records++;
		m->line = record.line;
		if (result == IMPORT_BAD)
			reject(m, record.line, record.raw, &why);
		else if (!take_record(m, &record, err))
			return false;
		progress_show(&m->progress, import_taken(m->reader), m->records);
	}
	if (m->to != NULL && !publisher_flush(m->to, err))
		return false;
	if (m->lost || (result == IMPORT_FAILED && !cli_stopped(m->cli))) {
		*err = m->lost ? m->why : why;
		return false;
	}
	return true;
}

/* What the command says at the end. */

static void show_json(const Import *m, double seconds)
{
	Buf text = { 0 };

	buf_adds(&text, "{\"file\":");
	json_add_string(&text, json_utf8(str_from(m->path), NULL) ? str_from(m->path) : STR("?"));
	buf_addf(&text,
		",\"records\":%lld,\"appended\":%lld,\"existing\":%lld,\"skipped\":%lld,"
		"\"rejected\":%lld",
		(long long)m->records, (long long)m->appended, (long long)m->existing,
		(long long)m->skipped, (long long)import_rejects_count(m->rejects));
	buf_addf(&text, ",\"stopped\":%s,\"seconds\":%.3f}", cli_stopped(m->cli) ? "true" : "false",
		seconds);
	puts(text.s);
	buf_free(&text);
}

static void show_summary(const Import *m)
{
	double seconds = progress_seconds(&m->progress);
	char a[32], b[32], c[32], d[32], e[32];
	FILE *out = m->to == NULL ? stderr : stdout;

	if (cli_flag(m->cli, "json")) {
		show_json(m, seconds);
		return;
	}
	fprintf(out, "%s: %s records: %s events %s, %s already there, %s skipped, %s rejected",
		m->path, term_count(m->records, a), term_count(m->appended, b),
		m->to == NULL ? "made" : "appended", term_count(m->existing, c),
		term_count(m->skipped, d), term_count(import_rejects_count(m->rejects), e));
	fprintf(out, " in %.1f s (%s records/s)\n", seconds,
		term_count((int64_t)((double)m->records / (seconds > 0.001 ? seconds : 0.001)), a));
	if (import_rejects_count(m->rejects) > 0)
		fprintf(out, "%s: the rejected records are in %s\n", m->path,
			import_rejects_path(m->rejects));
	if (cli_stopped(m->cli))
		fprintf(stderr,
			"moonwake: %s: stopped behind line %lld (the same command goes on from "
			"there)\n",
			m->path, (long long)m->line);
}

/* One file. */

static bool choose_format(const Cli *cli, ImportFormat *format, char *delimiter, Err *err)
{
	static const char *const names[] = { "", "ndjson", "csv", "cloudevents" };
	const char *name = cli_value(cli, "format"), *between = cli_value(cli, "delimiter");

	*format = IMPORT_AUTO;
	*delimiter = 0;
	for (int i = 1; name != NULL && i < 4; i++)
		if (strcmp(name, names[i]) == 0)
			*format = (ImportFormat)i;
	if (name != NULL && *format == IMPORT_AUTO)
		return err_set(err, ERR_USAGE,
			"import: unknown format '%.40s' (ndjson, csv or cloudevents)", name);
	if (between != NULL && strcmp(between, "\\t") == 0)
		between = "\t";
	if (between != NULL && (strlen(between) != 1 || strchr("\"\r\n", between[0]) != NULL))
		return err_set(
			err, ERR_USAGE, "import: a delimiter is one character, and no quote");
	*delimiter = between != NULL ? between[0] : 0;
	return true;
}

/* The length of the folder above `path` that has scripts/lib, as a workspace does; else of the
 * file's own. */
static size_t workspace_of(Import *m, const char *path)
{
	size_t own = (size_t)(strrchr(path, '/') - path);

	for (size_t n = own; n > 0; n--) {
		const char *lib = arena_printf(m->cli->arena, "%.*s/scripts/lib", (int)n, path);

		if (path[n] == '/' && access(lib, X_OK) == 0)
			return n;
	}
	return own > 0 ? own : 1;
}

/* A map's path counts from the workspace, and where there is no such file from the current folder.
 * One from elsewhere brings the modules of its own workspace. */
static bool open_map(Import *m, const char *path, Err *err)
{
	LuaOptions lua = { .workspace = m->cli->workspace };
	const char *inside = arena_printf(m->cli->arena, "%s/%s", lua.workspace, path);
	char real[PATH_MAX];
	size_t n;

	if (path[0] != '/' && access(inside, F_OK) == 0)
		return lua_map_open(&lua, path, &m->map, err);
	if (realpath(path, real) == NULL)
		return err_set(
			err, ERR_USAGE, "%s: %s (--map names a Lua script)", path, strerror(errno));
	n = workspace_of(m, real);
	lua.workspace = arena_printf(m->cli->arena, "%.*s", (int)n, real);
	return lua_map_open(&lua, real + n + (real[n] == '/'), &m->map, err);
}

static bool open_file(Import *m, Err *err)
{
	const char *rejects = cli_value(m->cli, "rejects"), *map = cli_value(m->cli, "map");
	ImportFormat format;
	char delimiter;

	if (rejects == NULL)
		rejects = arena_printf(m->cli->arena, "%s.rejects.ndjson",
			strcmp(m->path, "-") == 0 ? "stdin" : m->path);
	m->rejects = import_rejects_new(rejects);
	m->ids = import_ids_new();
	if (!choose_format(m->cli, &format, &delimiter, err))
		return false;
	if (map != NULL && !open_map(m, map, err))
		return false;
	m->reader = import_open(m->path, format, delimiter, err);
	if (m->reader == NULL)
		return false;
	if (import_format(m->reader) == IMPORT_CSV && map == NULL) {
		err_set(err, ERR_USAGE,
			"%s: a CSV file needs --map FILE.lua to say what its records mean",
			m->path);
		return err_hint(err, "see moonwake help import");
	}
	return true;
}

static bool close_file(Import *m, bool ok, Err *err)
{
	Err late;

	import_close(m->reader);
	import_ids_free(m->ids);
	lua_map_close(m->map);
	buf_free(&m->event);
	buf_free(&m->identified);
	if (!import_rejects_close(m->rejects, &late) && ok) {
		*err = late;
		return false;
	}
	return ok;
}

static int import_file(Cli *cli, const char *path)
{
	Import m = { .cli = cli, .path = path };
	PublisherOptions how = { .repeatable = true,
		.published = on_published,
		.refused = on_refused,
		.stopped = on_stopped,
		.owner = &m };
	int64_t rejected;
	Err err;
	bool ok = open_file(&m, &err);

	if (ok && !cli_flag(cli, "dry-run")) {
		m.to = publisher_open(&cli->target, &how, &err);
		ok = m.to != NULL && migrate_check(publisher_db(m.to), &err);
	}
	if (ok) {
		progress_start(&m.progress, "records", import_size(m.reader));
		ok = take_records(&m, &err);
		progress_end(&m.progress);
		show_summary(&m);
	}
	publisher_close(m.to);
	rejected = import_rejects_count(m.rejects);
	if (!close_file(&m, ok, &err))
		return cli_fail(&err);
	return rejected > 0 || cli_stopped(cli) ? EXIT_FAILED : EXIT_OK;
}

static int run(Cli *cli, int argc, char **argv)
{
	int code = EXIT_OK;

	if (argc == 0)
		return cli_usage(cli, "needs the name of a file, or - for standard input");
	cli_catch_stop(cli);
	for (int i = 0; i < argc && !cli_stopped(cli); i++) {
		int one = import_file(cli, argv[i]);

		code = one > code ? one : code;
	}
	return code;
}

const Command cmd_import = {
	.name = "import",
	.summary = "append the records of files as events",
	.usage = "FILE…",
	.details = "Reads NDJSON, CSV (the first row names the fields) and CloudEvents 1.0 JSON "
		   "(one, a batch, or one a\n"
		   "line), plain or gzip. Without a map, a record of NDJSON is an event as "
		   "`publish -` takes it, and a\n"
		   "CloudEvent is mapped: type -> event_type, subject (else source) -> "
		   "aggregate_id, source, time ->\n"
		   "occurred_at, data, correlationid -> correlation_id, source and id -> event_id, "
		   "and all other\n"
		   "attributes -> metadata. With --map, a Lua script decides: it returns "
		   "function(record) -> { event_type =,\n"
		   "aggregate_type =, aggregate_id =, data =, occurred_at =, … } or nil; a CSV "
		   "record is a table of strings.\n"
		   "\n"
		   "An event without an event_id gets one that is derived from the record, so that "
		   "the same file imported\n"
		   "again adds nothing: after Ctrl-C or a failure the same command goes on where "
		   "it stood. Records that\n"
		   "cannot be read or are refused are reported with their line and kept in "
		   "FILE.rejects.ndjson; the exit\n"
		   "code is then 1.",
	.options = options,
	.examples = "  moonwake import events.ndjson.gz\n"
		    "  moonwake import --map scripts/github.lua 2015-01-01-0.json.gz\n"
		    "  moonwake import --map scripts/incidents.lua --dry-run incidents.csv | head\n"
		    "  curl -s https://example.com/batch | moonwake import --format cloudevents -",
	.run = run,
};
