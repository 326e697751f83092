#include "app/replay_overlay.h"

#include "app/import.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { EVENT_BYTES_MAX = 64 << 20 };

static Overlay *add(Overlays *o, int kind)
{
	o->at = mem_realloc(o->at, (o->count + 1) * sizeof(*o->at));
	o->at[o->count] = (Overlay){ .kind = kind };
	return &o->at[o->count++];
}

/* An id at the start of `text`, with or without '#'; where it ends. NULL: there is none. */
static const char *read_id(const char *text, int64_t *id)
{
	char *end;

	text += text[0] == '#';
	errno = 0;
	*id = strtoll(text, &end, 10);
	return end != text && errno == 0 && *id > 0 ? end : NULL;
}

static bool read_drop(Overlays *o, const char *text, Err *err)
{
	int64_t id;
	const char *end = read_id(text, &id);

	if (end == NULL || *end != '\0')
		return err_set(
			err, ERR_USAGE, "--drop takes the id of an event, not '%.40s'", text);
	add(o, OVERLAY_DROP)->a = id;
	return true;
}

static bool read_swap(Overlays *o, const char *text, Err *err)
{
	int64_t a, b;
	const char *end = read_id(text, &a);

	if (end != NULL && *end == ',')
		end = read_id(end + 1, &b);
	else
		end = NULL;
	if (end == NULL || *end != '\0' || a == b)
		return err_set(err, ERR_USAGE,
			"--swap takes the ids of two events, A,B, not '%.40s'", text);
	add(o, OVERLAY_SWAP)->a = a;
	o->at[o->count - 1].b = b;
	return true;
}

static bool read_edit(Overlays *o, const char *text, Err *err)
{
	int64_t id;
	const char *end = read_id(text, &id);
	Overlay *edit;

	if (end == NULL || *end != '=')
		return err_set(err, ERR_USAGE,
			"--edit takes ID=PATCH, an event's id and a JSON patch, not "
			"'%.40s'",
			text);
	edit = add(o, OVERLAY_EDIT);
	edit->a = id;
	edit->json = str_from(end + 1);
	return true;
}

static bool read_record(
	Overlays *o, Cli *cli, const char *path, ImportDocument *doc, bool *more, Err *err)
{
	ImportRecord record;
	ImportResult result = import_document_next(doc, &record, err);
	Overlay *insert;

	*more = result == IMPORT_RECORD;
	if (result == IMPORT_BAD) {
		err->kind = ERR_USAGE;
		return err_prefix(err, "%s:%lld", path, (long long)record.line);
	}
	if (result == IMPORT_FAILED)
		return err_prefix(err, "%s", path);
	if (*more) {
		insert = add(o, OVERLAY_INSERT);
		insert->json = arena_str(cli->arena, record.json);
		snprintf(insert->from, sizeof(insert->from), "%s:%lld", path,
			(long long)record.line);
	}
	return true;
}

static bool read_insert(Overlays *o, Cli *cli, const char *path, Err *err)
{
	Lines *lines = lines_open(path, EVENT_BYTES_MAX, err);
	size_t before = o->count;
	ImportDocument *doc;
	bool more = true, ok = true;

	if (lines == NULL) {
		err->kind = ERR_USAGE;
		return err_prefix(err, "--insert");
	}
	doc = import_document_new(lines, EVENT_BYTES_MAX);
	while (ok && more)
		ok = read_record(o, cli, path, doc, &more, err);
	if (ok && o->count == before)
		ok = err_set(err, ERR_USAGE, "--insert %s: there is no event in it", path);
	import_document_free(doc);
	lines_close(lines);
	return ok;
}

bool overlays_read(Overlays *o, Cli *cli, Err *err)
{
	bool ok = true;

	*o = (Overlays){ 0 };
	for (size_t i = 0; ok && i < cli->options.ngiven; i++) {
		const char *name = cli->options.given[i].option->name;
		const char *value = cli->options.given[i].value;

		if (strcmp(name, "drop") == 0)
			ok = read_drop(o, value, err);
		else if (strcmp(name, "edit") == 0)
			ok = read_edit(o, value, err);
		else if (strcmp(name, "insert") == 0)
			ok = read_insert(o, cli, value, err);
		else if (strcmp(name, "swap") == 0)
			ok = read_swap(o, value, err);
	}
	return ok;
}

void overlays_free(Overlays *o)
{
	free(o->at);
	*o = (Overlays){ 0 };
}

bool overlays_apply(const Overlays *o, Tape *tape, Err *err)
{
	for (size_t i = 0; i < o->count; i++) {
		const Overlay *x = &o->at[i];

		if (x->kind == OVERLAY_DROP)
			tape_drop(tape, x->a);
		else if (x->kind == OVERLAY_SWAP)
			tape_swap(tape, x->a, x->b);
		else if (x->kind == OVERLAY_EDIT && !tape_edit(tape, x->a, x->json, err))
			return false;
		else if (x->kind == OVERLAY_INSERT && !tape_insert(tape, x->json, err))
			return err_prefix(err, "%s", x->from);
	}
	return true;
}

void overlays_describe(const Overlays *o, Buf *out)
{
	for (size_t i = 0; i < o->count; i++) {
		const Overlay *x = &o->at[i];
		const char *comma = i > 0 ? ", " : "";

		if (x->kind == OVERLAY_DROP)
			buf_addf(out, "%sdrop #%lld", comma, (long long)x->a);
		else if (x->kind == OVERLAY_EDIT)
			buf_addf(out, "%sedit #%lld", comma, (long long)x->a);
		else if (x->kind == OVERLAY_SWAP)
			buf_addf(out, "%sswap #%lld and #%lld", comma, (long long)x->a,
				(long long)x->b);
		else
			buf_addf(out, "%sinsert %s", comma, x->from);
	}
}

int64_t overlays_place(const Overlays *o, int64_t id)
{
	for (size_t i = 0; i < o->count; i++) {
		const Overlay *x = &o->at[i];

		if (x->kind == OVERLAY_SWAP && x->a == id)
			return x->b;
		if (x->kind == OVERLAY_SWAP && x->b == id)
			return x->a;
	}
	return id;
}
