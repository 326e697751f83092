#include "flow/blame.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/json_each.h"
#include "flow/blame_leaves.h"
#include "flow/fold.h"
#include "flow/memory_table.h"
#include "model/options.h"

enum { STEPS_MOST = 1000000 }; /* lines of one event that are looked at */

/* What outlives the folding: the fields point into it. */
typedef struct {
	BlameLeaves leaves;
	Arena *arena;
	JsonDiff fields;
	Buf state;
} Memory;

typedef struct {
	Handler *h;
	const Definition *def;
	Str key;
	Blame *out;
	Memory *memory;
	MemoryTable *table;
	JsonDiff diff;
	Buf before; /* the state as it was after the last event of the key */
	bool exists;
	Str *kept; /* of the event at work, for blame_setter_new() */
	size_t nkept, kept_cap;
	Buf kept_text;
	size_t nearest;
	bool ended; /* the script failed, and does not go on */
} Blaming;

/* ---- folding ---- */

static bool is_script_failure(const Err *err)
{
	return err->kind == ERR_SCRIPT || err->kind == ERR_LIMIT || err->kind == ERR_NOMEM ||
	       (err->kind == ERR_DATA && err->event_id != 0);
}

static void note_nearest(Blaming *b, Str key)
{
	char *text, *wanted;

	if (b->out->events > 0 || key.len > 200)
		return;
	text = mem_strndup(key.s, key.len);
	wanted = mem_strndup(b->key.s, b->key.len);
	if (options_closer(wanted, text, &b->nearest)) {
		free(b->out->nearest);
		b->out->nearest = text;
		text = NULL;
	}
	free(text);
	free(wanted);
}

/* Is it an event of the key? */
static bool is_ours(Blaming *b, EventSlice page, size_t at)
{
	Str key;

	for (size_t nth = 0; (key = b->h->ops->key_of(b->h, page, at, nth)).s != NULL; nth++) {
		if (str_eq(key, b->key))
			return true;
		note_nearest(b, key);
	}
	return false;
}

static void keep(Blaming *b, Str text)
{
	if (b->nkept == b->kept_cap) {
		b->kept_cap = b->kept_cap ? b->kept_cap * 2 : 8;
		b->kept = mem_realloc(b->kept, b->kept_cap * sizeof(*b->kept));
	}
	b->kept[b->nkept++] = text;
	buf_add(&b->kept_text, text.s, text.len);
}

/* What the table has for the event's keys before it, so that it can be traced afterwards. */
static void keep_rows(Blaming *b, EventSlice page, size_t at)
{
	size_t from = 0;
	Str key;

	b->nkept = 0;
	buf_clear(&b->kept_text);
	for (size_t nth = 0; (key = b->h->ops->key_of(b->h, page, at, nth)).s != NULL; nth++) {
		const MemoryRow *row = memory_table_get(b->table, key);

		keep(b, key);
		keep(b, row != NULL ? row->state : (Str){ NULL, 0 });
	}
	for (size_t i = 0; i < b->nkept; i++) {
		if (b->kept[i].s != NULL)
			b->kept[i].s = b->kept_text.s + from;
		from += b->kept[i].len;
	}
}

/* What the event made of the state. */
static bool note_changes(Blaming *b, const Event *e, Err *err)
{
	BlameSetter *setter;
	Str after;

	if (!b->h->ops->state(b->h, b->key, &after, err))
		return false;
	json_diff(b->exists ? buf_str(&b->before) : (Str){ NULL, 0 }, after, &b->diff);
	setter = b->diff.count > 0 ? blame_setter_new(e, b->kept, b->nkept) : NULL;
	for (size_t i = 0; i < b->diff.count; i++) {
		const JsonChange *c = &b->diff.at[i];

		if (c->after.s != NULL)
			blame_leaf_set(&b->memory->leaves, c->path, setter);
		else
			blame_leaf_remove(&b->memory->leaves, c->path, e->id);
	}
	if (setter != NULL && setter->leaves == 0)
		blame_setter_free(setter);
	b->out->deleted_by = after.s == NULL && b->exists ? e->id : b->out->deleted_by;
	b->exists = after.s != NULL;
	buf_clear(&b->before);
	buf_add(&b->before, after.s, after.len);
	return true;
}

/* True as well where the script fails: then it ends, as the daemon would. */
static bool fold_ours(Blaming *b, EventSlice page, size_t at, Err *err)
{
	const Event *e = &page.events[at];
	size_t zero = 0;

	keep_rows(b, page, at);
	b->out->first = b->out->first ? b->out->first : e->id;
	b->out->last = e->id;
	b->out->events++;
	if (fold_page(b->table, b->h, (EventSlice){ e, 1 }, &zero, 1, &b->out->skipped, err))
		return note_changes(b, e, err);
	b->ended = is_script_failure(err);
	b->out->failure = *err;
	return b->ended;
}

/* Events of other keys, which matter where a function makes keys: one event may have several. */
static bool fold_others(Blaming *b, EventSlice page, size_t from, size_t to, Err *err)
{
	int64_t skipped = 0;

	for (size_t at = from; b->def->nkey_paths == 0 && at < to; at++) {
		if (fold_page(b->table, b->h, page, &at, to, &skipped, err))
			return true;
		if (!is_script_failure(err))
			return false;
	}
	return true;
}

static bool fold_events(Blaming *b, EventSlice page, Err *err)
{
	size_t from = 0;

	for (size_t at = 0; at < page.count && !b->ended; at++) {
		Str type = page.events[at].type;

		if (event_type_choose(b->def->types, b->def->ntypes, type) < 0 ||
			!is_ours(b, page, at))
			continue;
		if (!fold_others(b, page, from, at, err) || !fold_ours(b, page, at, err))
			return false;
		from = at + 1;
	}
	return b->ended || fold_others(b, page, from, page.count, err);
}

static bool fold_history(Blaming *b, PgDb *db, const HistoryFilter *filter, Err *err)
{
	History *history = history_open(db, filter, err);
	EventSlice page;
	bool ok = history != NULL;

	while (ok && !b->ended) {
		ok = history_next(history, &page, err);
		if (!ok || page.count == 0)
			break;
		ok = fold_events(b, page, err);
	}
	if (history != NULL)
		b->out->read = history_read(history);
	history_close(history);
	return ok;
}

/* ---- tracing ---- */

static void note_step(Blaming *b, const BlameSetter *setter, const TraceStep *step)
{
	json_diff(step->before, step->after, &b->diff);
	for (size_t i = 0; i < b->diff.count; i++) {
		BlameLeaf *leaf = blame_leaf(&b->memory->leaves, b->diff.at[i].path);

		if (leaf == NULL || leaf->setter != setter)
			continue;
		leaf->initial = step->before.s == NULL;
		leaf->line = step->line;
		leaf->file =
			step->line > 0 ? arena_str(b->memory->arena, str_from(step->file)).s : NULL;
	}
}

static bool trace(Blaming *b, BlameSetter *setter, Err *err)
{
	EventSlice one = { &setter->event, 1 };
	MemoryTable *table = memory_table_new();
	const TraceStep *steps;
	size_t at = 0, n = 0;
	Err why;
	bool ok;

	b->h->ops->forget(b->h);
	for (size_t i = 0; i < setter->nkept; i += 2)
		memory_table_put(table,
			&(MemoryRow){ .key = setter->kept[i], .state = setter->kept[i + 1] });
	ok = memory_table_prepare(table, b->h, one, 0, 1, err);
	if (ok)
		b->h->ops->trace(b->h, one, &at, STEPS_MOST, &steps, &n, &why);
	for (size_t i = 0; i < n; i++) {
		if (str_eq(steps[i].key, b->key) &&
			(steps[i].before.s != NULL || steps[i].after.s != NULL))
			note_step(b, setter, &steps[i]);
	}
	memory_table_free(table);
	return ok;
}

static bool trace_setters(Blaming *b, Err *err)
{
	BlameLeaves *leaves = &b->memory->leaves;

	for (size_t i = 0; i < leaves->count; i++) {
		BlameSetter *setter = leaves->at[i].setter;

		if (setter == NULL || setter->traced)
			continue;
		setter->traced = true;
		if (!trace(b, setter, err))
			return false;
	}
	return true;
}

/* ---- the answer ---- */

static bool is_key_column(const Definition *def, Str path)
{
	Buf plain = { 0 };
	Str form, key, none, column, name;
	JsonEach each;
	bool found = false;

	if (!json_path(def->spec, "form", &form) || !str_eq(form, STR("\"columns\"")) ||
		!json_path(def->spec, "key", &key))
		return false;
	each = json_each(key);
	while (!found && json_each_next(&each, &none, &column)) {
		buf_clear(&plain);
		found = json_path(column, "name", &name) && json_unescape(&plain, name) &&
			str_eq(buf_str(&plain), path);
	}
	buf_free(&plain);
	return found;
}

static void list_fields(Blaming *b)
{
	Memory *m = b->memory;
	Blame *out = b->out;

	if (!b->exists)
		return;
	buf_add(&m->state, b->before.s, b->before.len);
	out->state = buf_str(&m->state);
	json_leaves(out->state, &m->fields);
	out->fields = arena_alloc(m->arena, m->fields.count * sizeof(*out->fields));
	for (size_t i = 0; i < m->fields.count; i++) {
		const JsonChange *field = &m->fields.at[i];
		const BlameLeaf *leaf = blame_leaf(&m->leaves, field->path);

		if (leaf == NULL || leaf->setter == NULL || is_key_column(b->def, field->path))
			continue;
		out->fields[out->nfields++] = (BlameField){ field->path, field->after,
			&leaf->setter->event, leaf->initial, leaf->file, leaf->line };
	}
}

bool blame_key(PgDb *db, Handler *h, const HistoryFilter *filter, Str key, Blame *out, Err *err)
{
	Blaming b = { .h = h,
		.def = h->ops->definition(h),
		.key = key,
		.out = out,
		.table = memory_table_new(),
		.nearest = SIZE_MAX };
	bool ok;

	*out = (Blame){ 0 };
	out->memory = b.memory = mem_calloc(1, sizeof(*b.memory));
	b.memory->arena = arena_new(4096);
	h->ops->forget(h);
	ok = fold_history(&b, db, filter, err) && trace_setters(&b, err);
	if (ok)
		list_fields(&b);
	h->ops->forget(h);
	memory_table_free(b.table);
	json_diff_free(&b.diff);
	buf_free(&b.before);
	buf_free(&b.kept_text);
	free(b.kept);
	return ok;
}

void blame_free(Blame *b)
{
	Memory *m = b->memory;

	if (m == NULL)
		return;
	blame_leaves_free(&m->leaves);
	arena_free(m->arena);
	json_diff_free(&m->fields);
	buf_free(&m->state);
	free(m);
	free(b->nearest);
	*b = (Blame){ 0 };
}

int64_t blame_removed_by(const Blame *b, Str path)
{
	const Memory *m = b->memory;
	const BlameLeaf *leaf = m ? blame_leaf(&m->leaves, path) : NULL;

	return leaf ? leaf->removed_by : 0;
}
