#include "flow/deliveries.h"

#include "base/json.h"
#include "base/rolling.h"

#include <inttypes.h>
#include <stdlib.h>

#define RANGE_BITS 16   /* as in the server's functions */
#define KINDS_MOST 1024 /* event types that are remembered from page to page */

/* An event type, and who takes it. */
typedef struct {
	Str type; /* owned */
	uint64_t hash;
	bool *takes;   /* by member */
	uint64_t page; /* the last page that had it */
} Kind;

typedef struct {
	size_t member;
	int64_t range, first, last;
	Rolling seen;
} Part;

struct Deliveries {
	Consumer *const *members;
	size_t n;

	Kind *kinds;
	size_t nkinds, kinds_cap;
	uint32_t *slots; /* a hash table of kinds: index + 1; a power of two, at most half full */
	size_t nslots;

	EventSlice page;
	uint64_t pages;    /* there were */
	uint32_t *kind_of; /* by event of the page */
	size_t kind_of_cap;
	bool *concern; /* by member: it takes some of them */

	Part *parts;
	size_t nparts, parts_cap;
	size_t *latest; /* by member: its last part + 1; 0: none */
};

/* --- Types
 * ------------------------------------------------------------------------------------------ */

static bool takes(const Definition *def, Str type)
{
	for (size_t i = 0; i < def->ntypes; i++)
		if (event_type_matches(def->types[i], type))
			return true;
	return false;
}

static void forget_kinds(Deliveries *d)
{
	for (size_t i = 0; i < d->nkinds; i++) {
		free((char *)d->kinds[i].type.s);
		free(d->kinds[i].takes);
	}
	d->nkinds = 0;
	memset(d->slots, 0, d->nslots * sizeof(*d->slots));
}

static void place(Deliveries *d, size_t kind)
{
	size_t at = d->kinds[kind].hash & (d->nslots - 1);

	while (d->slots[at] != 0)
		at = (at + 1) & (d->nslots - 1);
	d->slots[at] = (uint32_t)kind + 1;
}

static uint32_t add_kind(Deliveries *d, Str type, uint64_t hash)
{
	Kind *k;

	if (d->nkinds == d->kinds_cap) {
		d->kinds_cap *= 2;
		d->nslots *= 2;
		d->kinds = mem_realloc(d->kinds, d->kinds_cap * sizeof(*d->kinds));
		free(d->slots);
		d->slots = mem_calloc(d->nslots, sizeof(*d->slots));
		for (size_t i = 0; i < d->nkinds; i++)
			place(d, i);
	}
	k = &d->kinds[d->nkinds++];
	*k = (Kind){ { mem_strndup(type.s, type.len), type.len }, hash,
		mem_calloc(d->n, sizeof(bool)), 0 };
	for (size_t m = 0; m < d->n; m++)
		k->takes[m] = takes(d->members[m]->def, type);
	place(d, d->nkinds - 1);
	return (uint32_t)d->nkinds - 1;
}

static uint32_t kind_of(Deliveries *d, Str type)
{
	uint64_t hash = str_hash(type);

	for (size_t at = hash & (d->nslots - 1); d->slots[at] != 0;
		at = (at + 1) & (d->nslots - 1)) {
		const Kind *k = &d->kinds[d->slots[at] - 1];

		if (k->hash == hash && str_eq(k->type, type))
			return d->slots[at] - 1;
	}
	return add_kind(d, type, hash);
}

/* --- Counting
 * --------------------------------------------------------------------------------------- */

static void note_concern(Deliveries *d, Kind *kind)
{
	if (kind->page == d->pages)
		return;
	kind->page = d->pages;
	for (size_t m = 0; m < d->n; m++)
		d->concern[m] = d->concern[m] || kind->takes[m];
}

void deliveries_page(Deliveries *d, EventSlice page)
{
	if (d->nkinds >= KINDS_MOST)
		forget_kinds(d);
	if (page.count > d->kind_of_cap) {
		d->kind_of_cap = page.count;
		d->kind_of = mem_realloc(d->kind_of, d->kind_of_cap * sizeof(*d->kind_of));
	}
	d->page = page;
	d->pages++;
	memset(d->concern, 0, d->n * sizeof(*d->concern));
	for (size_t i = 0; i < page.count; i++) {
		d->kind_of[i] = kind_of(d, page.events[i].type);
		note_concern(d, &d->kinds[d->kind_of[i]]);
	}
}

bool deliveries_concern(const Deliveries *d, size_t member)
{
	return d->concern[member];
}

static Part *part_for(Deliveries *d, size_t member, int64_t id)
{
	Part *last = d->latest[member] ? &d->parts[d->latest[member] - 1] : NULL;

	if (last != NULL && last->range == id >> RANGE_BITS)
		return last;
	if (d->nparts == d->parts_cap) {
		d->parts_cap = d->parts_cap ? 2 * d->parts_cap : 16;
		d->parts = mem_realloc(d->parts, d->parts_cap * sizeof(*d->parts));
	}
	d->parts[d->nparts++] = (Part){ .member = member, .range = id >> RANGE_BITS, .first = id };
	d->latest[member] = d->nparts;
	return &d->parts[d->nparts - 1];
}

void deliveries_add(Deliveries *d, size_t member, size_t from, size_t to)
{
	const char *aggregate = d->members[member]->def->aggregate;
	Str only = str_from(aggregate);

	for (size_t i = from; i < to; i++) {
		const Event *e = &d->page.events[i];
		Part *part;

		if (!d->kinds[d->kind_of[i]].takes[member] ||
			(aggregate != NULL && !str_eq(e->aggregate_type, only)))
			continue;
		part = part_for(d, member, e->id);
		rolling_add(&part->seen, e->id);
		part->last = e->id;
	}
}

void deliveries_clear(Deliveries *d)
{
	d->page = (EventSlice){ 0 };
	d->nparts = 0;
	memset(d->latest, 0, d->n * sizeof(*d->latest));
}

/* --- Storing
 * ---------------------------------------------------------------------------------------- */

enum { NAMES, RANGES, COUNTS, HASHES, POWERS, FIRSTS, LASTS, COLUMNS };

static void add_part(const Deliveries *d, const Part *p, Buf *columns)
{
	const int64_t values[COLUMNS] = { 0, p->range, p->seen.count, p->seen.hash,
		rolling_power(p->seen.count), p->first, p->last };

	buf_addf(&columns[NAMES], "%c\"%s\"", columns[NAMES].len ? ',' : '{',
		d->members[p->member]->name);
	for (int c = RANGES; c < COLUMNS; c++)
		buf_addf(&columns[c], "%c%" PRId64, columns[c].len ? ',' : '{', values[c]);
}

void deliveries_send(Deliveries *d, PgConn *conn, PgAnswer fn, void *owner)
{
	Buf columns[COLUMNS] = { 0 };
	const char *params[COLUMNS];

	if (d->nparts == 0)
		return;
	for (size_t i = 0; i < d->nparts; i++)
		add_part(d, &d->parts[i], columns);
	for (int c = 0; c < COLUMNS; c++) {
		buf_addc(&columns[c], '}');
		params[c] = columns[c].s;
	}
	pg_conn_run(conn, SQL_DELIVERIES_ADD, COLUMNS, params, fn, owner);
	for (int c = 0; c < COLUMNS; c++)
		buf_free(&columns[c]);
	d->nparts = 0;
	memset(d->latest, 0, d->n * sizeof(*d->latest));
}

void deliveries_note(Buf *notes, const char *consumer, const Definition *def)
{
	buf_addf(notes, "%s{\"consumer\":\"%s\",\"digest\":\"%s\",\"aggregate\":",
		notes->len > 1 ? "," : "", consumer, def->digest);
	if (def->aggregate == NULL)
		buf_adds(notes, "null");
	else
		json_add_string(notes, str_from(def->aggregate));
	buf_adds(notes, ",\"types\":[");
	for (size_t i = 0; i < def->ntypes; i++) {
		buf_adds(notes, i ? "," : "");
		json_add_string(notes, def->types[i]);
	}
	buf_adds(notes, "]}");
}

/* --- Life
 * ------------------------------------------------------------------------------------------- */

Deliveries *deliveries_new(Consumer *const *members, size_t n)
{
	Deliveries *d = mem_calloc(1, sizeof(*d));

	d->members = members;
	d->n = n;
	d->kinds_cap = 32;
	d->nslots = 2 * d->kinds_cap;
	d->kinds = mem_calloc(d->kinds_cap, sizeof(*d->kinds));
	d->slots = mem_calloc(d->nslots, sizeof(*d->slots));
	d->latest = mem_calloc(n, sizeof(*d->latest));
	d->concern = mem_calloc(n, sizeof(*d->concern));
	return d;
}

void deliveries_free(Deliveries *d)
{
	if (d == NULL)
		return;
	forget_kinds(d);
	free(d->kinds);
	free(d->slots);
	free(d->kind_of);
	free(d->parts);
	free(d->latest);
	free(d->concern);
	free(d);
}
