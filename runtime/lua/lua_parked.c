#include "lua/lua_parked.h"

#include "lua/lua_states.h"

#include <stdlib.h>

typedef struct {
	char *key;
	size_t len;
	bool collected;
} Added;

struct Parked {
	KeySet *keys;
	size_t count; /* an upper bound of the keys in the set */
	Added *added;
	size_t nadded, cap;
};

Parked *parked_open(void)
{
	Parked *p = mem_calloc(1, sizeof(*p));

	p->keys = key_set_open();
	return p;
}

void parked_close(Parked *p)
{
	parked_clear(p);
	key_set_close(p->keys);
	free(p->added);
	free(p);
}

bool parked_has(const Parked *p, Str key)
{
	return p->count > 0 && key_set_has(p->keys, key);
}

bool parked_any(const Parked *p)
{
	return p->count > 0;
}

void parked_add(Parked *p, Str key)
{
	if (parked_has(p, key))
		return;
	if (p->nadded == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 8;
		p->added = mem_realloc(p->added, p->cap * sizeof(*p->added));
	}
	p->added[p->nadded++] = (Added){ mem_strndup(key.s, key.len), key.len, false };
	parked_set(p, key, true);
}

void parked_set(Parked *p, Str key, bool parked)
{
	key_set_put(p->keys, key, parked);
	p->count += parked;
}

static void drop_added(Parked *p, bool only_collected, bool undo)
{
	size_t kept = 0;

	for (size_t i = 0; i < p->nadded; i++) {
		Added *a = &p->added[i];

		if (only_collected && !a->collected) {
			p->added[kept++] = *a;
			continue;
		}
		if (undo)
			key_set_put(p->keys, (Str){ a->key, a->len }, false);
		free(a->key);
	}
	p->nadded = kept;
}

void parked_clear(Parked *p)
{
	drop_added(p, false, false);
	key_set_clear(p->keys);
	p->count = 0;
}

void parked_collected(Parked *p)
{
	for (size_t i = 0; i < p->nadded; i++)
		p->added[i].collected = true;
}

void parked_settled(Parked *p)
{
	drop_added(p, true, false);
}

void parked_forget(Parked *p)
{
	drop_added(p, false, true);
}
