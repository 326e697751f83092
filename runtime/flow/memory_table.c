#include "flow/memory_table.h"

#include "base/iso_time.h"
#include "base/json.h"
#include "base/json_each.h"

#include <stdio.h>
#include <stdlib.h>

enum { FREE = -1, FIRST_SIZE = 256, ROW_COST = 96 };

typedef struct {
	MemoryRow row; /* first: rows are handed out as entries */
	uint64_t hash;
	size_t room; /* bytes of the block: the key, then the state */
} Entry;

struct MemoryTable {
	Entry *entries; /* without holes */
	size_t count, cap;
	int32_t *slots; /* open addressing; FREE, or the number of an entry */
	size_t mask;
	size_t bytes;
	Buf key, state;
};

/* ---- the table ---- */

static void resize(MemoryTable *t, size_t size)
{
	free(t->slots);
	t->slots = mem_alloc(size * sizeof(*t->slots));
	t->mask = size - 1;
	for (size_t i = 0; i < size; i++)
		t->slots[i] = FREE;
	for (size_t i = 0; i < t->count; i++) {
		size_t at = t->entries[i].hash & t->mask;

		while (t->slots[at] != FREE)
			at = (at + 1) & t->mask;
		t->slots[at] = (int32_t)i;
	}
}

MemoryTable *memory_table_new(void)
{
	MemoryTable *t = mem_calloc(1, sizeof(*t));

	resize(t, FIRST_SIZE);
	return t;
}

void memory_table_clear(MemoryTable *t)
{
	for (size_t i = 0; i < t->count; i++)
		free((char *)t->entries[i].row.key.s);
	t->count = t->bytes = 0;
	resize(t, FIRST_SIZE);
}

void memory_table_free(MemoryTable *t)
{
	if (t == NULL)
		return;
	memory_table_clear(t);
	free(t->entries);
	free(t->slots);
	buf_free(&t->key);
	buf_free(&t->state);
	free(t);
}

/* The slot that holds the key, or the free one where it would stand. */
static size_t find(const MemoryTable *t, Str key, uint64_t hash)
{
	size_t at = hash & t->mask;

	for (; t->slots[at] != FREE; at = (at + 1) & t->mask) {
		const Entry *e = &t->entries[t->slots[at]];

		if (e->hash == hash && str_eq(e->row.key, key))
			break;
	}
	return at;
}

/* Frees a slot; those behind it that it had pushed on move up. */
static void free_slot(MemoryTable *t, size_t hole)
{
	for (size_t at = (hole + 1) & t->mask; t->slots[at] != FREE; at = (at + 1) & t->mask) {
		size_t home = t->entries[t->slots[at]].hash & t->mask;

		if (((at - home) & t->mask) >= ((at - hole) & t->mask)) {
			t->slots[hole] = t->slots[at];
			hole = at;
		}
	}
	t->slots[hole] = FREE;
}

static void remove_at(MemoryTable *t, size_t at)
{
	Entry *gone = &t->entries[t->slots[at]], *last = &t->entries[t->count - 1];
	int32_t number = t->slots[at];

	free_slot(t, at);
	t->bytes -= gone->room + ROW_COST;
	free((char *)gone->row.key.s);
	if (gone != last) {
		t->slots[find(t, last->row.key, last->hash)] = number;
		*gone = *last;
	}
	t->count--;
}

static Entry *add_entry(MemoryTable *t, size_t at, uint64_t hash)
{
	if (t->count == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->entries = mem_realloc(t->entries, t->cap * sizeof(*t->entries));
	}
	t->slots[at] = (int32_t)t->count;
	t->bytes += ROW_COST;
	t->entries[t->count] = (Entry){ .hash = hash };
	return &t->entries[t->count++];
}

/* Puts key and state into one block; that of a row that grows leaves room for more. */
static void fill_entry(MemoryTable *t, Entry *e, const MemoryRow *row)
{
	size_t need = row->key.len + row->state.len + 2;
	char *block = (char *)e->row.key.s;

	if (block == NULL || need > e->room || need < e->room / 4) {
		size_t room = e->room ? need + need / 4 : need;

		block = mem_alloc(room);
		memcpy(block, row->key.s, row->key.len);
		block[row->key.len] = '\0';
		t->bytes += room - e->room;
		e->room = room;
	}
	memmove(block + row->key.len + 1, row->state.s, row->state.len);
	block[need - 1] = '\0';
	if (block != e->row.key.s)
		free((char *)e->row.key.s);
	e->row = (MemoryRow){ { block, row->key.len }, { block + row->key.len + 1, row->state.len },
		row->position, row->updated_us };
}

void memory_table_put(MemoryTable *t, const MemoryRow *row)
{
	uint64_t hash = str_hash(row->key);
	size_t at = find(t, row->key, hash);

	if (row->state.s == NULL) {
		if (t->slots[at] != FREE)
			remove_at(t, at);
		return;
	}
	if (t->slots[at] != FREE) {
		fill_entry(t, &t->entries[t->slots[at]], row);
		return;
	}
	fill_entry(t, add_entry(t, at, hash), row);
	if (t->count * 2 > t->mask)
		resize(t, (t->mask + 1) * 2);
}

const MemoryRow *memory_table_get(const MemoryTable *t, Str key)
{
	int32_t number = t->slots[find(t, key, str_hash(key))];

	return number == FREE ? NULL : &t->entries[number].row;
}

size_t memory_table_count(const MemoryTable *t)
{
	return t->count;
}

size_t memory_table_bytes(const MemoryTable *t)
{
	return t->bytes;
}

static int compare_rows(const void *a, const void *b)
{
	Str x = ((const MemoryRow *)a)->key, y = ((const MemoryRow *)b)->key;
	int order = memcmp(x.s, y.s, x.len < y.len ? x.len : y.len);

	return order ? order : (x.len > y.len) - (x.len < y.len);
}

MemoryRow *memory_table_rows(const MemoryTable *t, size_t *n)
{
	MemoryRow *rows = mem_alloc(t->count * sizeof(*rows));

	for (size_t i = 0; i < t->count; i++)
		rows[i] = t->entries[i].row;
	qsort(rows, t->count, sizeof(*rows), compare_rows);
	*n = t->count;
	return rows;
}

/* ---- serving a handler ---- */

/* How the rows of a script's effects look: so many key columns, then these. */
typedef struct {
	size_t nkeys;
	enum { COLUMNS, DOCUMENT, REDUCER, RULE } form; /* of a rule: a text holds the key's JSON */
} Layout;

static Layout layout_of(const Definition *def)
{
	Layout l = { 1, COLUMNS };
	Str key, form, name, value;

	if (def->kind == KIND_REDUCER)
		return (Layout){ 1, REDUCER };
	if (def->kind == KIND_RULE)
		return (Layout){ 1, RULE };
	if (json_path(def->spec, "form", &form) && str_eq(form, STR("\"document\"")))
		l.form = DOCUMENT;
	if (json_path(def->spec, "key", &key)) {
		JsonEach each = json_each(key);

		for (l.nkeys = 0; json_each_next(&each, &name, &value);)
			l.nkeys++;
	}
	return l;
}

static void add_part(Buf *key, const Layout *l, size_t nth, Str part)
{
	if (l->form == RULE) {
		json_unescape(key, part);
		return;
	}
	if (l->nkeys > 1)
		buf_addc(key, nth == 0 ? '[' : ',');
	buf_add(key, part.s, part.len);
	if (l->nkeys > 1 && nth + 1 == l->nkeys)
		buf_addc(key, ']');
}

static int64_t integer(Str digits)
{
	char text[24];

	snprintf(text, sizeof(text), "%.*s", (int)(digits.len < 23 ? digits.len : 23), digits.s);
	return strtoll(text, NULL, 10);
}

/* {"n":0, key columns…}: *n and t->key. */
static void read_key(MemoryTable *t, const Layout *l, Str row, size_t *n)
{
	JsonEach each = json_each(row);
	Str name, value;
	size_t nth = 0;

	buf_clear(&t->key);
	*n = json_each_next(&each, &name, &value) ? (size_t)integer(value) : 0;
	while (nth < l->nkeys && json_each_next(&each, &name, &value))
		add_part(&t->key, l, nth++, value);
}

bool memory_table_load(MemoryTable *t, Handler *h, Str missing, Err *err)
{
	Layout l = layout_of(h->ops->definition(h));
	JsonEach each = json_each(missing);
	Str name, row;
	size_t n;

	while (json_each_next(&each, &name, &row)) {
		const MemoryRow *found;

		read_key(t, &l, row, &n);
		found = memory_table_get(t, buf_str(&t->key));
		if (found != NULL && !h->ops->load(h, n, found->state, err))
			return false;
	}
	return true;
}

bool memory_table_prepare(
	MemoryTable *t, Handler *h, EventSlice page, size_t from, size_t to, Err *err)
{
	const Definition *def = h->ops->definition(h);
	Str missing = STR("");

	if (def->sql)
		return err_set(err, ERR_USAGE,
			"%s: it has `sql = true`, and needs the database for its state (only "
			"scripts without can be replayed in memory)",
			def->path);
	if (h->ops->wants(h) && !h->ops->restore(h, (Str){ NULL, 0 }, err))
		return false;
	h->ops->need(h, page, from, to, &missing);
	return missing.len == 0 || memory_table_load(t, h, missing, err);
}

/* What stands between the keys and the position, as the text that load() takes. */
typedef struct {
	const char *from, *to; /* of the members */
	Str state, version;
} Parts;

static Str state_text(MemoryTable *t, const Layout *l, const Parts *p)
{
	if (l->form == DOCUMENT || l->form == RULE)
		return p->state;
	buf_clear(&t->state);
	if (l->form == REDUCER) {
		buf_adds(&t->state, "{\"version\":");
		buf_add(&t->state, p->version.s, p->version.len);
		buf_adds(&t->state, ",\"state\":");
		buf_add(&t->state, p->state.s, p->state.len);
	} else {
		buf_addc(&t->state, '{');
		buf_add(&t->state, p->from, (size_t)(p->to - p->from));
	}
	buf_addc(&t->state, '}');
	return buf_str(&t->state);
}

static void take_upsert(MemoryTable *t, const Layout *l, JsonEach *each)
{
	Parts p = { "", "", STR("null"), STR("0") };
	MemoryRow row = { .position = 0 };
	Str name, value;

	buf_clear(&t->key);
	for (size_t nth = 0; json_each_next(each, &name, &value); nth++) {
		if (nth < l->nkeys) {
			add_part(&t->key, l, nth, value);
		} else if (str_eq(name, STR("\"position\""))) {
			row.position = integer(value);
		} else if (str_eq(name, STR("\"updated_at\""))) {
			if (value.len > 2)
				iso_time_parse(
					(Str){ value.s + 1, value.len - 2 }, &row.updated_us);
		} else {
			if (nth == l->nkeys)
				p.from = name.s;
			p.to = value.s + value.len;
			if (l->form != COLUMNS)
				*(str_eq(name, STR("\"version\"")) ? &p.version : &p.state) = value;
		}
	}
	row.key = buf_str(&t->key);
	row.state = state_text(t, l, &p);
	memory_table_put(t, &row);
}

void memory_table_take(MemoryTable *t, Handler *h, const Effects *fx)
{
	Layout l = layout_of(h->ops->definition(h));
	JsonEach each = json_each(fx->deletes), members;
	Str name, row;
	size_t n;

	while (json_each_next(&each, &name, &row)) {
		read_key(t, &l, row, &n);
		memory_table_put(t, &(MemoryRow){ .key = buf_str(&t->key) });
	}
	each = json_each(fx->upserts);
	while (json_each_enter(&each, &members)) {
		take_upsert(t, &l, &members);
		each.p = members.p;
	}
}

bool memory_table_commit(MemoryTable *t, Handler *h, Err *err)
{
	Effects fx;

	if (!h->ops->collect(h, &fx, err))
		return false;
	memory_table_take(t, h, &fx);
	h->ops->settled(h);
	return true;
}
