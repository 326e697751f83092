#include "app/cli.h"
#include "app/loader.h"
#include "app/term.h"
#include "base/json.h"

static const Option options[] = {
	{ "json", 0, NULL, NULL, "one JSON object per script" },
	{ 0 },
};

static const struct {
	const char *folder, *kind;
} places[] = { { "scripts/reducers/", "reducer" }, { "scripts/upcasters/", "upcaster" },
	{ "rules/", "rule" } };

/* What was loaded; upcasters have no handler of their own. */
typedef struct {
	const LoadedScript *script;
	const char *kind;
	bool ok, trusted;
} Checked;

static Checked look_at(const LoadedScript *s)
{
	const Definition *def = s->handler ? s->handler->ops->definition(s->handler) : NULL;
	Checked c = { s, "projection", s->err.kind == ERR_NONE, def != NULL && def->sql };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strncmp(s->path, places[i].folder, strlen(places[i].folder)) == 0)
			c.kind = places[i].kind;
	return c;
}

static void print_json(const Checked *c)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"path\":");
	json_add_string(&out, str_from(c->script->path));
	buf_addf(&out, ",\"kind\":\"%s\",\"ok\":%s,\"error\":", c->kind, c->ok ? "true" : "false");
	if (c->ok)
		buf_adds(&out, "null");
	else
		json_add_string(&out, str_from(c->script->err.message));
	buf_adds(&out, "}");
	puts(out.s);
	buf_free(&out);
}

static void print_plain(const Checked *c)
{
	if (!c->ok) {
		fprintf(stderr, "%s\n", c->script->err.message);
		return;
	}
	term_print(stdout, TERM_GREEN, "ok");
	printf("  %-10s  %s%s\n", c->kind, c->script->path,
		c->trusted
			? "  (sql = true: trusted; replaying it is the script's own responsibility)"
			: "");
}

/* An upcaster that does not load keeps every script from loading: it is told once. */
static bool was_told(const LoadedScripts *upcasters, const LoadedScript *s)
{
	for (size_t i = 0; i < upcasters->n; i++) {
		if (strcmp(upcasters->scripts[i].err.message, s->err.message) == 0)
			return true;
	}
	return false;
}

static size_t show(Cli *cli, const LoadedScripts *list, const LoadedScripts *told)
{
	size_t bad = 0;

	for (size_t i = 0; i < list->n; i++) {
		Checked c = look_at(&list->scripts[i]);

		bool again = !c.ok && was_told(told, c.script);

		bad += !c.ok && !again;
		if (cli_flag(cli, "json"))
			print_json(&c);
		else if (!again)
			print_plain(&c);
	}
	return bad;
}

static int run(Cli *cli, int argc, char **argv)
{
	LuaOptions lua = { .workspace = cli->workspace };
	LoadedScripts loaded, upcasters = { 0 };
	size_t bad = 0;
	Err err;
	bool ok;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	ok = loader_load(&lua, &loaded, &err) && loader_upcasters(&lua, &upcasters, &err);
	if (ok) {
		bad = show(cli, &upcasters, &(LoadedScripts){ 0 }) + show(cli, &loaded, &upcasters);
		if (!cli_flag(cli, "json"))
			printf("%zu scripts, %zu with errors\n", loaded.n + upcasters.n, bad);
	}
	loader_free(&loaded);
	loader_free(&upcasters);
	if (!ok)
		return cli_fail(&err);
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
