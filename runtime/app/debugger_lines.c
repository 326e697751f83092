#include "app/debugger.h"

#include "app/loader.h"
#include "base/json.h"
#include "base/json_diff.h"

#include <stdlib.h>

/* The handler of an event is chosen by its type, so where it begins is looked up once for each. */
typedef struct DebugOrigin {
	char *type, *file;
	int line;
} DebugOrigin;

Handler *debugger_helper(Debugger *d, Err *err)
{
	LuaOptions lua = { .workspace = d->cli->workspace };

	if (d->helper == NULL)
		d->helper = loader_open(&lua, d->script, err);
	if (d->helper != NULL)
		d->helper->ops->forget(d->helper);
	return d->helper;
}

/* Traces the event at `number` with the states as they stand, in the helper: the walk's own
 * handler never notices. */
static bool trace_here(
	Debugger *d, size_t number, size_t most, const TraceStep **steps, size_t *n, Err *err)
{
	Handler *h = debugger_helper(d, err);
	EventSlice page;
	size_t at = 0;

	if (h == NULL || !tape_slice(d->tape, number, 1, &page, err) ||
		!memory_table_prepare(walk_table(d->walk), h, page, 0, 1, err))
		return false;
	/* A handler that fails has run lines, too. */
	return h->ops->trace(h, page, &at, most, steps, n, err) != RUN_FAILED ||
	       err->kind == ERR_SCRIPT || err->kind == ERR_LIMIT || err->kind == ERR_DATA;
}

static bool trace_step(Debugger *d, size_t most, const TraceStep **steps, size_t *n, Err *err)
{
	size_t at = walk_position(d->walk);
	DebugStop why;
	bool ok;
	Err later;

	ok = walk_to(d->walk, at - 1, err) && trace_here(d, at - 1, most, steps, n, err);
	return debugger_goto(d, at - 1, &why, ok ? err : &later) && ok;
}

bool debugger_lines(Debugger *d, size_t most, const TraceStep **steps, size_t *n, Err *err)
{
	*n = 0;
	if (!d->standing)
		return err_set(err, ERR_USAGE, "lines: no event was handled yet (step)");
	return trace_step(d, most, steps, n, err);
}

/* The step that made a new row: the end of `initial`, or no line at all. What follows is the
 * handler's. */
static size_t behind_new_row(const TraceStep *steps, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (steps[i].after.s != NULL)
			return steps[i].before.s == NULL ? i + 1 : 0;
	return 0;
}

static void add_origin(Debugger *d, const TraceStep *steps, size_t n)
{
	const TraceStep *first = NULL, *own = NULL;
	DebugOrigin *o;

	/* An upcaster may have run first; the handler is in the script itself, if anywhere. */
	for (size_t i = n, from = behind_new_row(steps, n); i > from; i--) {
		if (steps[i - 1].line > 0)
			first = &steps[i - 1];
		if (steps[i - 1].line > 0 && strcmp(steps[i - 1].file, d->def->path) == 0)
			own = first;
	}
	first = own != NULL ? own : first;
	d->origins = mem_realloc(d->origins, (d->norigins + 1) * sizeof(*d->origins));
	o = &d->origins[d->norigins++];
	o->type = mem_strndup(d->step.event.type.s, d->step.event.type.len);
	o->file = first != NULL ? mem_strdup(first->file) : NULL;
	o->line = first != NULL ? first->line : 0;
}

static const DebugOrigin *find_origin(const Debugger *d)
{
	for (size_t i = 0; i < d->norigins; i++)
		if (str_eq(str_from(d->origins[i].type), d->step.event.type))
			return &d->origins[i];
	return NULL;
}

bool debugger_origin(Debugger *d, const char **file, int *line)
{
	enum { ENOUGH = 64 };
	const DebugOrigin *o;
	const TraceStep *steps;
	size_t n;
	Err ignored;

	if (!d->standing || !d->step.taken)
		return false;
	o = find_origin(d);
	if (o == NULL) {
		if (!trace_step(d, ENOUGH, &steps, &n, &ignored) || !d->standing)
			return false;
		add_origin(d, steps, n);
		o = find_origin(d);
	}
	*file = o->file;
	*line = o->line;
	return o->file != NULL;
}

void debugger_free_origins(Debugger *d)
{
	for (size_t i = 0; i < d->norigins; i++) {
		free(d->origins[i].type);
		free(d->origins[i].file);
	}
	free(d->origins);
}

bool debugger_source_line(const Debugger *d, const char *file, int line, Buf *out)
{
	Buf path = { 0 }, text = { 0 };
	Str literal;
	const char *at;
	bool found;

	buf_adds(&path, "[");
	json_add_string(&path, str_from(file));
	buf_adds(&path, "]");
	literal = json_at(d->def->files, buf_str(&path));
	found = literal.s != NULL && line > 0 && json_unescape(&text, literal);
	at = buf_str(&text).s;
	while (found && --line > 0) {
		at = strchr(at, '\n');
		found = at != NULL;
		at += found;
	}
	found = found && *at != '\0';
	if (found)
		buf_add(out, at, strcspn(at, "\r\n"));
	buf_free(&path);
	buf_free(&text);
	return found;
}

bool debugger_error_place(const char *message, char file[256], int *line)
{
	const char *end = strstr(message, ".lua:"), *start = end;
	char *digits;

	if (end == NULL)
		return false;
	while (start > message && strchr(" \t\n'\"(<:", start[-1]) == NULL)
		start--;
	*line = (int)strtol(end + 5, &digits, 10);
	if (digits == end + 5 || end - start + 4 > 255)
		return false;
	memcpy(file, start, (size_t)(end - start) + 4);
	file[end - start + 4] = '\0';
	return true;
}
