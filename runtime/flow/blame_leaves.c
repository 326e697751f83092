#include "flow/blame_leaves.h"

#include <stdlib.h>

/* ---- events ---- */

static Str copy_text(char **at, Str text)
{
	Str copy = { *at, text.len };

	if (text.s == NULL)
		return text;
	memcpy(*at, text.s, text.len);
	(*at)[text.len] = '\0';
	*at += text.len + 1;
	return copy;
}

BlameSetter *blame_setter_new(const Event *e, const Str *kept, size_t nkept)
{
	BlameSetter *s = mem_calloc(1, sizeof(*s));
	Str *texts[] = { &s->event.type, &s->event.aggregate_type, &s->event.aggregate_id,
		&s->event.data, &s->event.metadata, &s->event.source, &s->event.correlation_id,
		&s->event.actor_type, &s->event.actor_id, &s->event.severity, &s->event.impact };
	size_t size = 1;
	char *at;

	s->event = *e;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		size += texts[i]->len + 1;
	for (size_t i = 0; i < nkept; i++)
		size += kept[i].len + 1;
	s->block = at = mem_alloc(size);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		*texts[i] = copy_text(&at, *texts[i]);
	s->nkept = nkept;
	s->kept = mem_alloc(nkept * sizeof(*s->kept));
	for (size_t i = 0; i < nkept; i++)
		s->kept[i] = copy_text(&at, kept[i]);
	return s;
}

void blame_setter_free(BlameSetter *s)
{
	free(s->block);
	free(s->kept);
	free(s);
}

/* ---- leaves ---- */

/* The slot of the path, or the free one where it would stand: slots hold numbers from 1 on. */
static size_t find(const BlameLeaves *l, Str path)
{
	size_t at = str_hash(path) & l->mask;

	while (l->slots[at] != 0 && !str_eq(l->at[l->slots[at] - 1].path, path))
		at = (at + 1) & l->mask;
	return at;
}

static void grow(BlameLeaves *l)
{
	size_t size = l->slots ? (l->mask + 1) * 2 : 64;

	free(l->slots);
	l->slots = mem_calloc(size, sizeof(*l->slots));
	l->mask = size - 1;
	for (size_t i = 0; l->at != NULL && i < l->count; i++)
		l->slots[find(l, l->at[i].path)] = (uint32_t)i + 1;
}

BlameLeaf *blame_leaf(const BlameLeaves *l, Str path)
{
	uint32_t number = l->slots ? l->slots[find(l, path)] : 0;

	return number ? &l->at[number - 1] : NULL;
}

static BlameLeaf *add(BlameLeaves *l, Str path)
{
	if ((l->count + 1) * 2 > l->mask || l->slots == NULL)
		grow(l);
	if (l->at == NULL || l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 32;
		l->at = mem_realloc(l->at, l->cap * sizeof(*l->at));
	}
	l->at[l->count] = (BlameLeaf){ .path = { mem_strndup(path.s, path.len), path.len } };
	l->slots[find(l, path)] = (uint32_t)l->count + 1;
	return &l->at[l->count++];
}

static void release(BlameLeaf *leaf)
{
	BlameSetter *s = leaf->setter;

	leaf->setter = NULL;
	if (s != NULL && --s->leaves == 0)
		blame_setter_free(s);
}

void blame_leaf_set(BlameLeaves *l, Str path, BlameSetter *setter)
{
	BlameLeaf *leaf = blame_leaf(l, path);

	if (leaf == NULL)
		leaf = add(l, path);
	setter->leaves++;
	release(leaf);
	leaf->setter = setter;
}

void blame_leaf_remove(BlameLeaves *l, Str path, int64_t removed_by)
{
	BlameLeaf *leaf = blame_leaf(l, path);

	if (leaf == NULL || leaf->setter == NULL)
		return;
	release(leaf);
	leaf->removed_by = removed_by;
}

void blame_leaves_free(BlameLeaves *l)
{
	for (size_t i = 0; i < l->count; i++) {
		release(&l->at[i]);
		free((char *)l->at[i].path.s);
	}
	free(l->at);
	free(l->slots);
	*l = (BlameLeaves){ 0 };
}
