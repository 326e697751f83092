#include "app/shrink_spec.h"

#include "base/iso_time.h"
#include "base/json_lua.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void add_text(Buf *out, const char *name, Str value)
{
	if (value.len == 0)
		return;
	buf_addf(out, ", %s = ", name);
	json_add_lua_string(out, value);
}

static void add_time(Buf *out, const char *name, int64_t us)
{
	char text[ISO_TIME_SIZE];

	if (!iso_time_in_range(us)) {
		buf_addf(out, ", %s = %.6f", name, (double)us / 1e6);
		return;
	}
	iso_time_format(us, text);
	buf_addf(out, ", %s = \"%s\"", name, text);
}

/* Places only where they rise, as those of a log do: what-if overlays may have
 * moved events. */
static bool in_order(EventSlice events)
{
	for (size_t i = 1; i < events.count; i++)
		if (events.events[i].id <= events.events[i - 1].id)
			return false;
	return true;
}

/* `{ type = …, … }` without the braces. */
static void add_fields(Buf *out, const Event *e, bool places)
{
	buf_adds(out, "type = ");
	json_add_lua_string(out, e->type);
	add_text(out, "aggregate_type", e->aggregate_type);
	add_text(out, "aggregate_id", e->aggregate_id);
	buf_adds(out, ",\n        data = ");
	json_add_lua(out, e->data.s ? e->data : STR("{}"));
	if (e->metadata.s != NULL && !str_eq(e->metadata, STR("{}"))) {
		buf_adds(out, ",\n        metadata = ");
		json_add_lua(out, e->metadata);
	}
	buf_adds(out, ",\n        ");
	if (places)
		buf_addf(out, "id = %" PRId64 ", version = %" PRId64 ", ", e->id, e->version);
	buf_addf(out, "schema_version = %d", (int)e->schema_version);
	if (e->occurrences != 1)
		buf_addf(out, ", occurrences = %d", (int)e->occurrences);
	add_text(out, "source", e->source);
	add_text(out, "correlation_id", e->correlation_id);
	add_text(out, "actor_type", e->actor_type);
	add_text(out, "actor_id", e->actor_id);
	add_text(out, "severity", e->severity);
	add_text(out, "impact", e->impact);
}

static void add_event(Buf *out, const Event *e, bool places)
{
	buf_adds(out, "      { ");
	add_fields(out, e, places);
	add_time(out, "occurred_at", e->occurred_us);
	add_time(out, "timestamp", e->timestamp_us);
	buf_adds(out, " },\n");
}

/* What the assertion's names are: the state that it failed for, and the last
 * event. */
static void add_assertion(Buf *out, const ShrinkSpec *spec, const Event *last, bool places)
{
	buf_adds(out, "    local key = ");
	json_add_lua(out, spec->key);
	buf_adds(out, "\n    local state = state(key)\n    local row = state\n");
	if (strstr(spec->assertion, "event") != NULL) {
		buf_adds(out, "    local event = { ");
		add_fields(out, last, places);
		buf_addf(out, ", occurred_at = %.6f, timestamp = %.6f }\n",
			(double)last->occurred_us / 1e6, (double)last->timestamp_us / 1e6);
	}
	/* As the expression was compiled: it may begin with `return`, and end in a comment. */
	if (strncmp(spec->assertion + strspn(spec->assertion, " \t\n"), "return", 6) == 0)
		buf_addf(out, "    assert((function() %s\n    end)(), ", spec->assertion);
	else
		buf_addf(out, "    assert(%s\n      , ", spec->assertion);
	json_add_lua_string(out, str_from(spec->assertion));
	buf_adds(out, ")\n");
}

static void compose(const ShrinkSpec *spec, Buf *out)
{
	const Event *last = &spec->events.events[spec->events.count - 1];
	bool places = in_order(spec->events);

	buf_addf(out,
		"-- Made by `moonwake shrink` from a history of %zu events: no "
		"single event of "
		"it can be left out.\n-- It fails until %s is put right.\n",
		spec->of, spec->script);
	if (spec->assertion == NULL) {
		buf_adds(out, "--   ");
		for (const char *c = spec->error; *c; c++)
			buf_adds(out, *c == '\n' ? "\n--   " : (char[]){ *c, '\0' });
		buf_addc(out, '\n');
	}
	buf_adds(out, "describe(");
	json_add_lua_string(out, str_from(spec->name));
	buf_adds(out, ", function()\n  script ");
	json_add_lua_string(out, str_from(spec->script));
	buf_addf(out, "\n\n  it(\"%s what event %" PRId64 " brought\", function()\n    given {\n",
		spec->assertion ? "keeps its promise after" : "handles", last->id);
	for (size_t i = 0; i < spec->events.count; i++)
		add_event(out, &spec->events.events[i], places);
	buf_adds(out, "    }\n");
	if (spec->assertion != NULL)
		add_assertion(out, spec, last, places);
	buf_adds(out, "  end)\nend)\n");
}

static void make_folders(const char *path)
{
	char *copy = mem_strdup(path);

	for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(copy, 0777); /* what cannot be made is told when the file is */
		*slash = '/';
	}
	free(copy);
}

bool shrink_spec_write(const ShrinkSpec *spec, const char *path, bool overwrite, Err *err)
{
	Buf text = { 0 };
	FILE *f;
	int fd;
	bool ok;

	make_folders(path);
	fd = open(path, O_WRONLY | O_CREAT | (overwrite ? O_TRUNC : O_EXCL), 0666);
	if (fd < 0) {
		err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
		return errno == EEXIST ? err_hint(err, "--force overwrites it, -o names another")
				       : false;
	}
	f = fdopen(fd, "w");
	compose(spec, &text);
	ok = fwrite(text.s, 1, text.len, f) == text.len;
	ok = fclose(f) == 0 && ok;
	buf_free(&text);
	return ok || err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}
