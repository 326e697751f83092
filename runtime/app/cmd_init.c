#include "app/cli.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const Option options[] = {
	{ "json", 0, NULL, NULL, "one JSON object per file" },
	{ 0 },
};

static const char projection_text[] = "-- One row for each aggregate: how many events it had, the "
				      "first, the last, and what the last one was.\n"
				      "-- The table is moonwake.activity. Save this file while "
				      "`moonwake dev` or `moonwake run` is running, and it is\n"
				      "-- loaded again; raise `version` when the meaning changes, "
				      "and the table is built anew from the whole log.\n"
				      "projection \"activity\" {\n"
				      "  version = 1,\n"
				      "\n"
				      "  -- Which row an event belongs to: paths of the event. "
				      "(The default is \"aggregate_id\".)\n"
				      "  key = { \"aggregate_type\", \"aggregate_id\" },\n"
				      "\n"
				      "  -- The row's columns beside the key. Without `columns` "
				      "there is one JSON document for each key.\n"
				      "  columns = {\n"
				      "    events     = \"bigint default 0\",\n"
				      "    first_seen = \"timestamptz\",\n"
				      "    last_seen  = \"timestamptz\",\n"
				      "    last_type  = \"text\",\n"
				      "  },\n"
				      "\n"
				      "  -- Event type -> what it does to the row. \"*\" takes all "
				      "types; \"order.*\" all that begin so; an exact type\n"
				      "  -- wins over both. What the publisher sent is event.data; "
				      "`return delete` removes the row.\n"
				      "  on = {\n"
				      "    [\"*\"] = function(row, event)\n"
				      "      row.events = row.events + 1\n"
				      "      row.first_seen = row.first_seen or event.occurred_at\n"
				      "      row.last_seen = event.occurred_at\n"
				      "      row.last_type = event.type\n"
				      "    end,\n"
				      "  },\n"
				      "}\n";

static const char spec_text[] =
	"-- What projections/activity.lua makes of events: `moonwake test` runs it, without a "
	"database.\n"
	"describe(\"activity\", function()\n"
	"  it(\"counts the events of each aggregate\", function()\n"
	"    given { { \"order.placed\", \"o-1\" }, { \"order.placed\", \"o-2\" } }\n"
	"    advance \"1h\"\n"
	"    when { { \"order.paid\", \"o-1\", { cents = 1250 } } }\n"
	"\n"
	"    expect_row({ \"order\", \"o-1\" }, { events = 2, last_type = \"order.paid\" })\n"
	"    expect_row({ \"order\", \"o-2\" }, { events = 1, last_type = \"order.placed\" })\n"
	"  end)\n"
	"\n"
	"  it(\"keeps when the first and the last happened\", function()\n"
	"    when { { \"order.placed\", \"o-1\", at = \"2026-03-01\" }, { \"order.paid\", \"o-1\", "
	"at = \"2026-03-02T09:30:00Z\" } }\n"
	"\n"
	"    expect_row({ \"order\", \"o-1\" }, { first_seen = \"2026-03-01\", last_seen = "
	"\"2026-03-02T09:30:00Z\" })\n"
	"  end)\n"
	"\n"
	"  it(\"has no row for what never happened\", function()\n"
	"    expect_row({ \"order\", \"o-1\" }, absent)\n"
	"  end)\n"
	"end)\n";

static const char rule_text[] =
	"-- An order that is not paid within half an hour. Nothing has to come for that to be "
	"noticed: the log's clock goes on,\n"
	"-- and the alert opens at its time. It is over when the payment comes after all.\n"
	"--\n"
	"-- `moonwake run` keeps what a rule remembers in the database, with its place in the log; "
	"`moonwake alerts` lists what is\n"
	"-- the case now, and `moonwake backtest unpaid_order` what it would have said about all "
	"that happened until today.\n"
	"rule \"unpaid_order\" {\n"
	"  -- Which events it reads, and what one alert is about: paths of the event.\n"
	"  on = \"order.*\",\n"
	"  by = { order = \"aggregate_id\" },\n"
	"\n"
	"  -- A step, and what must not stay away behind it. Other inputs: window, absent, fold, "
	"score, or the event alone.\n"
	"  seq = { \"order.placed\", missing = { \"order.paid\", \"order.cancelled\" }, within = "
	"\"30m\" },\n"
	"\n"
	"  severity = \"warning\",\n"
	"  summary = \"order {order} was placed half an hour ago, and is not paid\",\n"
	"}\n";

static const char rule_spec_text[] =
	"-- What rules/unpaid_order.lua says when: advance() is the only clock here.\n"
	"describe(\"unpaid_order\", function()\n"
	"  it(\"waits half an hour for the payment\", function()\n"
	"    given { { \"order.placed\", \"o-1\" } }\n"
	"    advance \"30m\"\n"
	"    expect_no_alert \"o-1\"\n"
	"\n"
	"    advance \"1s\"\n"
	"    expect_alert(\"o-1\", { severity = \"warning\", since = \"2026-01-01T00:30:00Z\" })\n"
	"  end)\n"
	"\n"
	"  it(\"is over when the payment comes late\", function()\n"
	"    given { { \"order.placed\", \"o-1\" } }\n"
	"    advance \"1h\"\n"
	"    when { { \"order.paid\", \"o-1\", { cents = 1250 } } }\n"
	"\n"
	"    expect_resolved(\"o-1\", { reason = \"late\" })\n"
	"  end)\n"
	"\n"
	"  it(\"says nothing of an order that was paid, or cancelled\", function()\n"
	"    given { { \"order.placed\", \"o-1\" }, { \"order.paid\", \"o-1\" }, { "
	"\"order.placed\", \"o-2\" }, { \"order.cancelled\", \"o-2\" } }\n"
	"    advance \"1d\"\n"
	"\n"
	"    assert.same({}, alerts())\n"
	"  end)\n"
	"end)\n";

static const char readme_text[] =
	"# A moonwake workspace\n"
	"\n"
	"    moonwake dev                   # an embedded PostgreSQL, and the projections of this "
	"folder, live\n"
	"    moonwake publish order.paid order o-1 '{\"cents\":1250}'      # in another terminal\n"
	"    moonwake tail                  # the events\n"
	"    moonwake status                # how far each projection has come\n"
	"    moonwake dev -- psql -c 'SELECT * FROM moonwake.activity'\n"
	"\n"
	"- `projections/`: read models, one file each; the file's name is the table's\n"
	"- `rules/`: alerts and automations\n"
	"- `scripts/reducers/`, `scripts/upcasters/`: the state of one aggregate, and old events "
	"made new\n"
	"- `scripts/lib/`: modules that scripts `require`\n"
	"- `spec/`: specs of scripts: spec/NAME_spec.lua is for the script NAME\n"
	"\n"
	"`moonwake check` loads all scripts and says what is wrong with them; `moonwake test` runs "
	"their specs, without a\n"
	"database. With a server of your own: set DATABASE_URL, then `moonwake migrate` once, then "
	"`moonwake run`.\n";

typedef struct {
	const char *path;
	const char *text; /* NULL: a folder */
} Part;

/* .luarc.json is made, not fixed: it says where the editor finds the words of the language. */
static const Part parts[] = {
	{ "projections", NULL },
	{ "projections/activity.lua", projection_text },
	{ "rules", NULL },
	{ "rules/unpaid_order.lua", rule_text },
	{ "scripts", NULL },
	{ "scripts/lib", NULL },
	{ "scripts/lib/.gitkeep", "" },
	{ "spec", NULL },
	{ "spec/activity_spec.lua", spec_text },
	{ "spec/unpaid_order_spec.lua", rule_spec_text },
	{ ".gitignore", ".moonwake/\n" },
	{ "README.md", readme_text },
};

static void tell(const Cli *cli, const char *path, bool made)
{
	Buf text = { 0 };

	if (cli_flag(cli, "json")) {
		buf_adds(&text, "{\"path\":");
		json_add_string(&text, str_from(path));
		buf_addf(&text, ",\"made\":%s}", made ? "true" : "false");
		puts(text.s);
		buf_free(&text);
		return;
	}
	printf("%s %s\n", made ? "made" : "kept", path);
}

static bool failed(const char *path, Err *err)
{
	return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static bool make_folder(const char *path, Err *err)
{
	return mkdir(path, 0777) == 0 || errno == EEXIST || failed(path, err);
}

/* O_EXCL: what is there is never written to, also when two run at once. */
static bool make_file(Cli *cli, const char *folder, const char *name, const char *text, Err *err)
{
	const char *path = arena_printf(cli->arena, "%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	size_t len = strlen(text);
	bool ok;

	if (fd < 0 && errno == EEXIST) {
		tell(cli, name, false);
		return true;
	}
	if (fd < 0)
		return failed(path, err);
	ok = write(fd, text, len) == (ssize_t)len;
	ok = close(fd) == 0 && ok;
	if (!ok)
		return failed(path, err);
	tell(cli, name, true);
	return true;
}

/* Where this program's stubs for editors are: beside an installed program, or in its source tree.
 */
static const char *find_stubs(Arena *arena)
{
	static const char *const places[] = { "../share/moonwake/meta", "../runtime/meta",
		"../../runtime/meta" };
	char program[PATH_MAX], path[PATH_MAX + 64], real[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
	char *slash;

	program[n > 0 ? n : 0] = '\0';
	slash = strrchr(program, '/');
	if (slash != NULL)
		*slash = '\0';
	for (size_t i = 0; slash != NULL && i < sizeof(places) / sizeof(places[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", program, places[i]);
		if (realpath(path, real) != NULL)
			return arena_printf(arena, "%s", real);
	}
	return "/usr/local/share/moonwake/meta";
}

static bool make_luarc(Cli *cli, const char *folder, Err *err)
{
	Buf text = { 0 };
	bool ok;

	buf_adds(&text, "{\n  \"runtime.version\": \"LuaJIT\",\n  \"workspace.library\": [");
	json_add_string(&text, str_from(find_stubs(cli->arena)));
	buf_adds(&text, "]\n}\n");
	ok = make_file(cli, folder, ".luarc.json", text.s, err);
	buf_free(&text);
	return ok;
}

static bool make_workspace(Cli *cli, const char *folder, Err *err)
{
	bool ok = make_folder(folder, err);

	for (size_t i = 0; ok && i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (parts[i].text == NULL)
			ok = make_folder(
				arena_printf(cli->arena, "%s/%s", folder, parts[i].path), err);
		else
			ok = make_file(cli, folder, parts[i].path, parts[i].text, err);
	}
	return ok && make_luarc(cli, folder, err);
}

static int run(Cli *cli, int argc, char **argv)
{
	const char *folder = argc > 0 ? cli_path(cli, argv[0]) : cli->workspace;
	bool here = strcmp(folder, ".") == 0;
	Err err;

	if (argc > 1)
		return cli_usage(cli, "takes one folder at most");
	if (argc > 0 && argv[0][0] == '/')
		folder = argv[0];
	if (!make_workspace(cli, folder, &err))
		return cli_fail(&err);
	if (!cli_flag(cli, "json"))
		printf("\nnext: %s%s%smoonwake dev (and `moonwake test` for the specs)\n",
			here ? "" : "cd ", here ? "" : folder, here ? "" : " && ");
	return EXIT_OK;
}

const Command cmd_init = {
	.name = "init",
	.summary = "make a workspace that works at once",
	.usage = "[FOLDER]",
	.details = "Writes a first projection and its spec, the folders of a workspace, and the "
		   "settings that "
		   "make an editor know the words\n"
		   "of the language. Files that are there are kept as they are.",
	.options = options,
	.examples = "  moonwake init\n"
		    "  moonwake init fleet && cd fleet && moonwake dev",
	.run = run,
};
