#include "lua/lua_script.h"

#include "base/iso_time.h"

/* What changed, as JSON for the projection's statements. */

/* Tables and strings are larger than JSON. */
size_t script_state_bytes(size_t text)
{
	return 400 + 4 * text;
}

static bool add_upsert(lua_State *L, Script *s, uint32_t slot, Err *err)
{
	const State *st = states_at(s->states, slot);
	char updated[ISO_TIME_SIZE];
	size_t before = s->upserts.len, members;

	buf_adds(&s->upserts, before ? ",{" : "[{");
	script_add_key(s, st->key, &s->upserts);
	buf_addc(&s->upserts, ',');
	members = s->upserts.len;
	lua_rawgeti(L, 1, (int)slot + 1);
	if (!shape_encode_members(L, s->shape, lua_gettop(L), &s->upserts, err))
		return err_prefix(err, "%s: %s", s->def.path, lua_host_label(s->host));
	lua_pop(L, 1);
	if (s->upserts.len > members)
		buf_addc(&s->upserts, ',');
	if (s->reducer != NULL) {
		buf_adds(&s->upserts, "\"version\":");
		column_add_integer(&s->upserts, st->version);
		buf_addc(&s->upserts, ',');
	}
	iso_time_format(st->updated_us, updated);
	buf_adds(&s->upserts, "\"position\":");
	column_add_integer(&s->upserts, st->position);
	buf_adds(&s->upserts, ",\"updated_at\":\"");
	buf_add(&s->upserts, updated, ISO_TIME_SIZE - 1);
	buf_adds(&s->upserts, "\"}");
	states_size(s->states, slot, script_state_bytes(s->upserts.len - before));
	return true;
}

static void add_delete(Script *s, uint32_t slot, size_t n)
{
	buf_addf(&s->deletes, "%s{\"n\":%zu,", n ? "," : "[", n);
	script_add_key(s, states_at(s->states, slot)->key, &s->deletes);
	buf_addc(&s->deletes, '}');
}

typedef struct {
	Script *s;
	Effects *out;
} Collection;

static void collect_states(lua_State *L, void *arg)
{
	Collection *c = arg;
	Script *s = c->s;
	size_t count;
	const uint32_t *changed = states_changed(s->states, &count);
	Err err = { 0 };

	lua_rawgeti(L, LUA_REGISTRYINDEX, s->rows_ref);
	for (size_t i = 0; i < count; i++) {
		if (!states_at(s->states, changed[i])->exists) {
			add_delete(s, changed[i], c->out->ndeletes++);
		} else {
			if (!add_upsert(L, s, changed[i], &err))
				lua_host_raise(L, &err);
			c->out->nupserts++;
		}
	}
}

static void close_list(Buf *list, Str *out)
{
	if (list->len == 0)
		return;
	buf_addc(list, ']');
	*out = buf_str(list);
}

/* ---- dead letters ---- */

static DeadLetter *add_letter(Script *s, int64_t event_id, Str key)
{
	Letters *l = &s->letters;

	if (l->arena == NULL)
		l->arena = arena_new(4096);
	if (l->count == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->at = mem_realloc(l->at, l->cap * sizeof(*l->at));
	}
	l->at[l->count] = (DeadLetter){ .event_id = event_id,
		.key = arena_str(l->arena, key),
		.error = STR(""),
		.trace = STR("") };
	return &l->at[l->count++];
}

void script_wait(Script *s, int64_t event_id, Str key)
{
	parked_add(s->parked, key);
	add_letter(s, event_id, key)->parked = true;
}

void script_letter(Script *s, int64_t event_id, Str key, const Err *why)
{
	DeadLetter *letter = add_letter(s, event_id, key);

	letter->error = arena_str(s->letters.arena, str_from(why->message));
	letter->trace = arena_str(s->letters.arena, str_from(why->trace));
}

void script_drop_letters(Script *s)
{
	s->letters.count = 0;
	if (s->letters.arena != NULL)
		arena_reset(s->letters.arena);
}

static void hand_out_letters(Script *s, Effects *out)
{
	Letters handed = s->handed;

	s->handed = s->letters;
	s->letters = handed;
	script_drop_letters(s);
	out->dead = s->handed.at;
	out->ndead = s->handed.count;
}

bool script_collect(Handler *h, Effects *out, Err *err)
{
	Script *s = script_of(h);
	Collection c = { s, out };
	size_t count;

	*out = (Effects){ .upserts = STR(""),
		.deletes = STR(""),
		.snapshots = STR(""),
		.timers = STR(""),
		.raised = STR("") };
	buf_clear(&s->upserts);
	buf_clear(&s->deletes);
	states_changed(s->states, &count);
	if (count > 0 && !lua_gate(s->host, collect_states, &c, err))
		return false;
	states_collected(s->states);
	close_list(&s->upserts, &out->upserts);
	close_list(&s->deletes, &out->deletes);
	out->snapshots = script_snapshots_collect(s);
	hand_out_letters(s, out);
	parked_collected(s->parked);
	if (s->sql != NULL)
		script_sql_collect(s->sql, out);
	return s->rule == NULL || script_rule_collect(s, out, err);
}
