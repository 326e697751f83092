#include "app/cli.h"
#include "app/loader.h"
#include "app/receivers.h"
#include "app/term.h"
#include "base/json.h"
#include "base/json_each.h"

static const Option options[] = {
	{ "json", 0, NULL, NULL, "one JSON object per script" },
	{ 0 },
};

static const struct {
	const char *folder, *kind;
} places[] = { { "scripts/reducers/", "reducer" }, { "scripts/upcasters/", "upcaster" },
	{ "rules/", "rule" }, { "rules/receivers/", "receiver" },
	{ "rules/calendars/", "calendar" } };

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

/* ---- what rules name ---- */

static bool has_receiver(const LoadedScripts *receivers, Str name)
{
	for (size_t i = 0; i < receivers->n; i++) {
		const char *file = strrchr(receivers->scripts[i].path, '/') + 1;

		if (strlen(file) == name.len + 4 && memcmp(file, name.s, name.len) == 0)
			return true;
	}
	return false;
}

/* A rule that tells a receiver that there is no file for. */
static void check_notify(LoadedScript *rule, const LoadedScripts *receivers)
{
	const Definition *def = rule->handler->ops->definition(rule->handler);
	Str list, name;
	JsonEach each;

	if (def->kind != KIND_RULE || !json_path(def->spec, "notify", &list))
		return;
	each = json_each(list);
	while (rule->err.kind == ERR_NONE && json_each_next(&each, &(Str){ 0 }, &name)) {
		name = (Str){ name.s + 1, name.len - 2 };
		if (has_receiver(receivers, name))
			continue;
		err_set(&rule->err, ERR_SCRIPT, "%s: rule '%s' notifies '%.*s'", def->path,
			def->name, (int)name.len, name.s);
		err_hint(&rule->err, "there is no rules/receivers/%.*s.lua", (int)name.len, name.s);
	}
}

typedef struct {
	LoadedScripts scripts, upcasters, receivers, calendars;
} Workspace;

static bool load(const LuaOptions *lua, Workspace *w, Err *err)
{
	if (!loader_load(lua, &w->scripts, err) || !loader_upcasters(lua, &w->upcasters, err) ||
		!loader_data(lua, "rules/receivers", &w->receivers, err) ||
		!loader_data(lua, "rules/calendars", &w->calendars, err))
		return false;
	for (size_t i = 0; i < w->scripts.n; i++)
		if (w->scripts.scripts[i].handler != NULL)
			check_notify(&w->scripts.scripts[i], &w->receivers);
	return true;
}

static void warn(void *owner, const Err *err)
{
	const LoadedScripts *told = owner;

	for (size_t i = 0; i < told->n; i++)
		if (strcmp(told->scripts[i].err.message, err->message) == 0)
			return;
	fprintf(stderr, "warning: %s\n", err->message);
}

/* Secrets and programs may be on another machine than this one. */
static void check_here(const LuaOptions *lua, Workspace *w)
{
	LoadedReceivers receivers;
	Err err;

	if (receivers_load(lua, &receivers, &err))
		receivers_check(&receivers, warn, &w->receivers);
	receivers_free(&receivers);
}

static int run(Cli *cli, int argc, char **argv)
{
	LuaOptions lua = { .workspace = cli->workspace };
	LoadedScripts none = { 0 };
	Workspace w = { 0 };
	size_t bad = 0;
	Err err;
	bool ok;

	(void)argv;
	if (argc > 0)
		return cli_usage(cli, "takes no words");
	ok = load(&lua, &w, &err);
	if (ok) {
		bad = show(cli, &w.upcasters, &none) + show(cli, &w.scripts, &w.upcasters) +
		      show(cli, &w.receivers, &none) + show(cli, &w.calendars, &none);
		check_here(&lua, &w);
		if (!cli_flag(cli, "json"))
			printf("%zu scripts, %zu with errors\n",
				w.scripts.n + w.upcasters.n + w.receivers.n + w.calendars.n, bad);
	}
	loader_free(&w.scripts);
	loader_free(&w.upcasters);
	loader_free(&w.receivers);
	loader_free(&w.calendars);
	if (!ok)
		return cli_fail(&err);
	return bad > 0 ? EXIT_FAILED : EXIT_OK;
}

const Command cmd_check = {
	.name = "check",
	.summary = "load every script of the workspace and say what is wrong",
	.usage = "",
	.details = "Needs no database. Each error names the file, the line and the nearest right "
		   "word. Rules are\n"
		   "checked with the receivers and calendars that they name; a secret or a program "
		   "that is not on\n"
		   "this machine is a warning.",
	.options = options,
	.examples = "  moonwake check\n  moonwake check --json",
	.run = run,
};
