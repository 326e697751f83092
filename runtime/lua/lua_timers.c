#include "lua/lua_timers.h"

#include <stdlib.h>

enum { NOBODY = -1 };

/* A key. It stays known while its timer, or that it has none, was not told yet. */
typedef struct {
	Str key, name, told_name;
	uint64_t hash;
	int64_t due, told_due;
	int32_t at;    /* its place in the heap; NOBODY: none */
	bool used;     /* otherwise in the list of free ones */
	bool held;     /* not in the heap, though it is due some day */
	bool changing; /* in the list of changes */
} Entry;

typedef struct {
	int32_t *at;
	size_t count, cap;
} Numbers;

struct Timers {
	Entry *entries;
	size_t nentries, cap, used;
	int32_t *table; /* open addressing */
	size_t mask;
	Numbers heap, free, changes, gone, queue;
	Timer *listed;
	size_t listed_cap;
	size_t nheld;
};

static void push(Numbers *n, int32_t number)
{
	if (n->count == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 64;
		n->at = mem_realloc(n->at, n->cap * sizeof(*n->at));
	}
	n->at[n->count++] = number;
}

/* ---- the heap ---- */

static bool is_before(const Entry *a, const Entry *b)
{
	size_t len = a->key.len < b->key.len ? a->key.len : b->key.len;
	int order;

	if (a->due != b->due)
		return a->due < b->due;
	order = memcmp(a->key.s, b->key.s, len);
	return order != 0 ? order < 0 : a->key.len < b->key.len;
}

static bool goes_before(const Timers *t, size_t a, size_t b)
{
	return is_before(&t->entries[t->heap.at[a]], &t->entries[t->heap.at[b]]);
}

static void put(Timers *t, size_t place, int32_t number)
{
	t->heap.at[place] = number;
	t->entries[number].at = (int32_t)place;
}

static void swap(Timers *t, size_t a, size_t b)
{
	int32_t number = t->heap.at[a];

	put(t, a, t->heap.at[b]);
	put(t, b, number);
}

static size_t rise(Timers *t, size_t place)
{
	while (place > 0 && goes_before(t, place, (place - 1) / 2)) {
		swap(t, place, (place - 1) / 2);
		place = (place - 1) / 2;
	}
	return place;
}

static void sink(Timers *t, size_t place)
{
	for (;;) {
		size_t first = place, child = 2 * place + 1;

		for (size_t i = child; i < child + 2 && i < t->heap.count; i++) {
			if (goes_before(t, i, first))
				first = i;
		}
		if (first == place)
			return;
		swap(t, place, first);
		place = first;
	}
}

static void settle(Timers *t, size_t place)
{
	sink(t, rise(t, place));
}

static void leave(Timers *t, Entry *e)
{
	size_t place = (size_t)e->at;

	if (e->at == NOBODY)
		return;
	e->at = NOBODY;
	t->heap.count--;
	if (place == t->heap.count)
		return;
	put(t, place, t->heap.at[t->heap.count]);
	settle(t, place);
}

/* In the heap exactly where it is due and not held. */
static void take_place(Timers *t, Entry *e)
{
	if (e->due == INT64_MAX || e->held) {
		leave(t, e);
	} else if (e->at == NOBODY) {
		push(&t->heap, NOBODY);
		put(t, t->heap.count - 1, (int32_t)(e - t->entries));
		rise(t, t->heap.count - 1);
	} else {
		settle(t, (size_t)e->at);
	}
}

/* ---- keys ---- */

static void insert(Timers *t, int32_t number)
{
	size_t at = t->entries[number].hash & t->mask;

	while (t->table[at] != NOBODY)
		at = (at + 1) & t->mask;
	t->table[at] = number;
}

static void rehash(Timers *t, size_t size)
{
	free(t->table);
	t->table = mem_alloc(size * sizeof(*t->table));
	t->mask = size - 1;
	for (size_t i = 0; i < size; i++)
		t->table[i] = NOBODY;
	for (size_t i = 0; i < t->nentries; i++) {
		if (t->entries[i].used)
			insert(t, (int32_t)i);
	}
}

static int32_t find(const Timers *t, Str key, uint64_t hash)
{
	for (size_t at = hash & t->mask; t->table[at] != NOBODY; at = (at + 1) & t->mask) {
		const Entry *e = &t->entries[t->table[at]];

		if (e->hash == hash && str_eq(e->key, key))
			return t->table[at];
	}
	return NOBODY;
}

static int32_t new_number(Timers *t)
{
	if (t->free.count > 0)
		return t->free.at[--t->free.count];
	if (t->nentries == t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->entries = mem_realloc(t->entries, t->cap * sizeof(*t->entries));
	}
	return (int32_t)t->nentries++;
}

static Entry *add(Timers *t, Str key, uint64_t hash)
{
	int32_t number = new_number(t);

	t->entries[number] = (Entry){ .key = { mem_strndup(key.s, key.len), key.len },
		.hash = hash,
		.due = INT64_MAX,
		.told_due = INT64_MAX,
		.at = NOBODY,
		.used = true };
	insert(t, number);
	if (++t->used * 2 > t->mask)
		rehash(t, (t->mask + 1) * 2);
	return &t->entries[number];
}

/* Those behind it that it had pushed on move up. */
static void remove_from_table(Timers *t, int32_t number)
{
	size_t hole = t->entries[number].hash & t->mask, at;

	while (t->table[hole] != number)
		hole = (hole + 1) & t->mask;
	for (at = (hole + 1) & t->mask; t->table[at] != NOBODY; at = (at + 1) & t->mask) {
		size_t home = t->entries[t->table[at]].hash & t->mask;

		if (((at - home) & t->mask) >= ((at - hole) & t->mask)) {
			t->table[hole] = t->table[at];
			hole = at;
		}
	}
	t->table[hole] = NOBODY;
}

static void free_texts(Entry *e)
{
	free((char *)e->key.s);
	free((char *)e->name.s);
	free((char *)e->told_name.s);
}

static void forget(Timers *t, int32_t number)
{
	remove_from_table(t, number);
	t->nheld -= t->entries[number].held;
	free_texts(&t->entries[number]);
	t->entries[number] = (Entry){ .at = NOBODY };
	push(&t->free, number);
	t->used--;
}

/* A key without a timer is forgotten after the change that says so; its texts live until then. */
static void forget_gone(Timers *t)
{
	for (size_t i = 0; i < t->gone.count; i++)
		forget(t, t->gone.at[i]);
	t->gone.count = 0;
}

/* ---- opening ---- */

Timers *timers_open(void)
{
	Timers *t = mem_calloc(1, sizeof(*t));

	rehash(t, 64);
	return t;
}

void timers_clear(Timers *t)
{
	for (size_t i = 0; i < t->nentries; i++)
		free_texts(&t->entries[i]);
	for (size_t i = 0; i <= t->mask; i++)
		t->table[i] = NOBODY;
	t->nentries = t->used = t->nheld = 0;
	t->heap.count = t->free.count = t->changes.count = t->gone.count = 0;
}

void timers_close(Timers *t)
{
	if (t == NULL)
		return;
	timers_clear(t);
	free(t->entries);
	free(t->table);
	free(t->heap.at);
	free(t->free.at);
	free(t->changes.at);
	free(t->gone.at);
	free(t->queue.at);
	free(t->listed);
	free(t);
}

/* ---- setting ---- */

static void copy_text(Str *to, Str from)
{
	if (to->s != NULL && str_eq(*to, from))
		return;
	free((char *)to->s);
	*to = (Str){ mem_strndup(from.len ? from.s : "", from.len), from.len };
}

void timers_set(Timers *t, Str key, int64_t due, Str name)
{
	uint64_t hash = str_hash(key);
	int32_t number;
	Entry *e;

	forget_gone(t);
	number = find(t, key, hash);
	if (number == NOBODY && due == INT64_MAX)
		return;
	e = number == NOBODY ? add(t, key, hash) : &t->entries[number];
	if (due != INT64_MAX)
		copy_text(&e->name, name);
	if (!e->changing) {
		e->changing = true;
		push(&t->changes, (int32_t)(e - t->entries));
	}
	if (e->due == due)
		return;
	e->due = due;
	take_place(t, e);
}

static void show(const Entry *e, Timer *out)
{
	*out = (Timer){ e->key, e->name, e->due };
}

bool timers_get(const Timers *t, Str key, Timer *out)
{
	int32_t number = find(t, key, str_hash(key));

	if (number == NOBODY || t->entries[number].due == INT64_MAX)
		return false;
	show(&t->entries[number], out);
	return true;
}

bool timers_first(const Timers *t, Timer *out)
{
	if (t->heap.count == 0)
		return false;
	show(&t->entries[t->heap.at[0]], out);
	return true;
}

/* ---- held ones ---- */

static void set_held(Timers *t, Entry *e, bool held)
{
	if (e->held == held)
		return;
	e->held = held;
	t->nheld += held ? 1 : (size_t)-1;
	take_place(t, e);
}

void timers_hold(Timers *t, Str key)
{
	int32_t number = find(t, key, str_hash(key));

	if (number != NOBODY)
		set_held(t, &t->entries[number], true);
}

void timers_release(Timers *t, Str key)
{
	int32_t number = t->nheld == 0 || key.s == NULL ? NOBODY : find(t, key, str_hash(key));

	if (number != NOBODY)
		set_held(t, &t->entries[number], false);
	for (size_t i = 0; key.s == NULL && t->nheld > 0 && i < t->nentries; i++)
		set_held(t, &t->entries[i], false);
}

/* ---- lists ---- */

static Timer *room_for(Timers *t, size_t n)
{
	if (n > t->listed_cap) {
		t->listed_cap = n * 2;
		t->listed = mem_realloc(t->listed, t->listed_cap * sizeof(*t->listed));
	}
	return t->listed;
}

/* `queue` is a heap of places in the heap: of each that is taken its two children come next. */
static void enqueue(Timers *t, size_t place, int64_t before)
{
	int32_t *at;
	size_t i;

	if (place >= t->heap.count || t->entries[t->heap.at[place]].due >= before)
		return;
	push(&t->queue, (int32_t)place);
	at = t->queue.at;
	for (i = t->queue.count - 1; i > 0; i = (i - 1) / 2) {
		if (!goes_before(t, place, (size_t)at[(i - 1) / 2]))
			break;
		at[i] = at[(i - 1) / 2];
	}
	at[i] = (int32_t)place;
}

static size_t dequeue(Timers *t)
{
	int32_t *at = t->queue.at, last = at[--t->queue.count];
	size_t first = (size_t)at[0], i = 0, n = t->queue.count;

	for (size_t child = 1; child < n; child = 2 * i + 1) {
		if (child + 1 < n && goes_before(t, (size_t)at[child + 1], (size_t)at[child]))
			child++;
		if (!goes_before(t, (size_t)at[child], (size_t)last))
			break;
		at[i] = at[child];
		i = child;
	}
	at[i] = last;
	return first;
}

size_t timers_before(Timers *t, int64_t before, size_t most, const Timer **out)
{
	size_t n = 0;

	t->queue.count = 0;
	enqueue(t, 0, before);
	while (t->queue.count > 0 && n < most) {
		size_t place = dequeue(t);

		show(&t->entries[t->heap.at[place]], &room_for(t, n + 1)[n]);
		n++;
		enqueue(t, 2 * place + 1, before);
		enqueue(t, 2 * place + 2, before);
	}
	*out = t->listed;
	return n;
}

static bool is_told(const Entry *e)
{
	return e->due == e->told_due && (e->due == INT64_MAX || str_eq(e->name, e->told_name));
}

size_t timers_changed(Timers *t, const Timer **out)
{
	size_t n = 0;

	forget_gone(t);
	for (size_t i = 0; i < t->changes.count; i++) {
		const Entry *e = &t->entries[t->changes.at[i]];

		if (!is_told(e))
			show(e, &room_for(t, n + 1)[n]);
		n += !is_told(e);
	}
	*out = t->listed;
	timers_told(t);
	return n;
}

void timers_told(Timers *t)
{
	forget_gone(t);
	for (size_t i = 0; i < t->changes.count; i++) {
		Entry *e = &t->entries[t->changes.at[i]];

		e->changing = false;
		e->told_due = e->due;
		if (e->due == INT64_MAX)
			push(&t->gone, t->changes.at[i]);
		else
			copy_text(&e->told_name, e->name);
	}
	t->changes.count = 0;
}
