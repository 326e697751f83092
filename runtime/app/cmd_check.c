#include "app/cli.h"
#include "app/loader.h"
#include "app/term.h"
#include "base/json.h"

static const Option options[] = {
	{ "json", 0, NULL, NULL, "one JSON object per script" },
	{ 0 },
};

static void print_json(const LoadedScript *s)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"path\":");
	json_add_string(&out, str_from(s->path));
	buf_addf(&out, ",\"ok\":%s,\"error\":", s->handler ? "true" : "false");
	if (s->handler == NULL)
		json_add_string(&out, str_from(s->err.message));
	else
		buf_adds(&out, "null");
	buf_adds(&out, "}");
	puts(out.s);
	buf_free(&out);
}

static void print_plain(const LoadedScript *s)
{
	if (s->handler == NULL) {
		fprintf(stderr, "%s\n", s->err.message);
		return;
	}
	term_print(stdout, TERM_GREEN, "ok");
	printf("  %s%s\n", s->path,
		s->handler->ops->definition(s->handler)->sql
			? "  (sql = true: trusted; replaying it is the script's own responsibility)"
			: "");
}

static int run(Cli *cli, int argc, char **argv)
{
	LuaOptions lua = { .workspace = cli->workspace };
	LoadedScripts loaded;
	size_t bad = 0;
	Err err;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	if (!loader_load(&lua, &loaded, &err))
		return cli_fail(&err);
	for (size_t i = 0; i < loaded.n; i++) {
		bad += loaded.scripts[i].handler == NULL;
		if (cli_flag(cli, "json"))
			print_json(&loaded.scripts[i]);
		else
			print_plain(&loaded.scripts[i]);
	}
	if (!cli_flag(cli, "json"))
		printf("%zu scripts, %zu with errors\n", loaded.n, bad);
	loader_free(&loaded);
	return bad > 0 ? EXIT_FAILED : EXIT_OK;
}

const Command cmd_check = {
	.name = "check",
	.summary = "load every script of the workspace and say what is wrong",
	.usage = "",
	.details = "Needs no database. Each error names the file, the line and the nearest right "
		   "word.",
	.options = options,
	.examples = "  moonwake check\n  moonwake check --json",
	.run = run,
};
