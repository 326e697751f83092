#include "flow/tape_overlays.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/json_patch.h"
#include "base/json_tree.h"
#include "flow/event_json.h"

typedef enum { DROP, EDIT, INSERT, SWAP } Kind;

typedef struct {
	Kind kind;
	int64_t id, other; /* other: of a swap */
	Str json;          /* the patch, or the event */
	bool found, found_other;
	size_t at, other_at; /* of a swap: the numbers */
} Overlay;

struct TapeOverlays {
	Overlay *list;
	size_t count, cap;
	int64_t last;
	Arena *arena, *scratch; /* of the overlays; of an event that was changed */
	Buf json, patched;
};

TapeOverlays *tape_overlays_new(void)
{
	TapeOverlays *o = mem_calloc(1, sizeof(*o));

	o->arena = arena_new(4096);
	o->scratch = arena_new(4096);
	return o;
}

void tape_overlays_free(TapeOverlays *o)
{
	if (o == NULL)
		return;
	arena_free(o->arena);
	arena_free(o->scratch);
	buf_free(&o->json);
	buf_free(&o->patched);
	free(o->list);
	free(o);
}

bool tape_overlays_any(const TapeOverlays *o)
{
	return o->count > 0;
}

int64_t tape_overlays_last(const TapeOverlays *o)
{
	return o->last;
}

/* ---- which there are ---- */

static void name_event(TapeOverlays *o, int64_t id)
{
	if (id != OVERLAY_AT_END && id > o->last)
		o->last = id;
}

static Overlay *add(TapeOverlays *o, Kind kind, int64_t id)
{
	if (o->count == o->cap) {
		o->cap = o->cap ? o->cap * 2 : 8;
		o->list = mem_realloc(o->list, o->cap * sizeof(*o->list));
	}
	name_event(o, id);
	o->list[o->count] = (Overlay){ .kind = kind, .id = id };
	return &o->list[o->count++];
}

/* Whatever is wrong with an overlay, somebody typed it. */
static bool mistyped(Err *err)
{
	err->kind = ERR_USAGE;
	return false;
}

void tape_overlays_drop(TapeOverlays *o, int64_t id)
{
	add(o, DROP, id);
}

void tape_overlays_swap(TapeOverlays *o, int64_t a, int64_t b)
{
	add(o, SWAP, a)->other = b;
	name_event(o, b);
}

bool tape_overlays_edit(TapeOverlays *o, int64_t id, Str patch, Err *err)
{
	if (!json_patch_check(patch, err)) {
		err_prefix(err, "--edit %" PRId64, id);
		return mistyped(err);
	}
	while (*patch.s != '[' && *patch.s != '{') { /* white space */
		patch.s++;
		patch.len--;
	}
	add(o, EDIT, id)->json = arena_str(o->arena, patch);
	return true;
}

/* Takes "after" out of the event. */
static bool take_after(JsonNode *event, int64_t *id, Err *err)
{
	JsonNode *after = event->kind == '{' ? json_tree_member(event, STR("after")) : NULL;
	char text[24], *end = text;

	*id = OVERLAY_AT_END;
	if (after == NULL)
		return true;
	if (after->text.len > 0 && after->text.len < 19) {
		memcpy(text, after->text.s, after->text.len);
		text[after->text.len] = '\0';
		*id = strtoll(text, &end, 10);
	}
	if (end == text || *end != '\0' || *id < 0)
		return err_set(err, ERR_USAGE, "after: not the id of an event");
	json_tree_remove(event, after);
	return true;
}

bool tape_overlays_insert(TapeOverlays *o, Str json, Err *err)
{
	Event e = event_blank();
	JsonNode *node;
	int64_t id;

	arena_reset(o->scratch);
	buf_clear(&o->json);
	if (!json_check_jsonb(json, 0, err))
		goto wrong;
	node = json_tree_parse(o->scratch, json);
	if (!take_after(node, &id, err))
		goto wrong;
	json_tree_write(node, &o->json);
	if (!event_from_json(buf_str(&o->json), o->scratch, &e, err))
		goto wrong;
	add(o, INSERT, id)->json = arena_str(o->arena, buf_str(&o->json));
	return true;
wrong:
	err_prefix(err, "--insert");
	return mistyped(err);
}

/* ---- what they do ---- */

static bool edit(TapeOverlays *o, const Overlay *overlay, Event *e, Err *err)
{
	bool ok = true;

	buf_clear(&o->json);
	buf_clear(&o->patched);
	event_to_json(&o->json, e);
	if (overlay->json.s[0] == '[')
		ok = json_patch(buf_str(&o->json), overlay->json, &o->patched, err);
	else
		json_merge_patch(buf_str(&o->json), overlay->json, &o->patched);
	*e = event_blank();
	if (ok && event_from_json(buf_str(&o->patched), o->scratch, e, err))
		return true;
	err_prefix(err, "--edit %" PRId64, overlay->id);
	return mistyped(err);
}

bool tape_overlays_change(TapeOverlays *o, int64_t id, Event *e, bool *dropped, Err *err)
{
	arena_reset(o->scratch);
	for (size_t i = 0; i < o->count; i++) {
		Overlay *overlay = &o->list[i];

		if (overlay->id != id || overlay->kind == INSERT || overlay->kind == SWAP)
			continue;
		overlay->found = true;
		*dropped = *dropped || overlay->kind == DROP;
		if (overlay->kind == EDIT && !edit(o, overlay, e, err))
			return false;
	}
	return true;
}

static Overlay *nth_insertion(TapeOverlays *o, int64_t id, size_t nth)
{
	for (size_t i = 0; i < o->count; i++)
		if (o->list[i].kind == INSERT && o->list[i].id == id && nth-- == 0)
			return &o->list[i];
	return NULL;
}

bool tape_overlays_inserted(
	TapeOverlays *o, int64_t id, size_t nth, const Event *neighbour, Event *out, Err *err)
{
	Overlay *overlay = nth_insertion(o, id, nth);

	err_clear(err);
	if (overlay == NULL)
		return false;
	overlay->found = true;
	*out = event_blank();
	out->id = neighbour->id;
	out->version = neighbour->version;
	out->timestamp_us = neighbour->timestamp_us;
	out->occurred_us = INT64_MIN;
	if (!event_from_json(overlay->json, o->scratch, out, err))
		return err_prefix(err, "--insert");
	if (out->occurred_us == INT64_MIN)
		out->occurred_us = out->timestamp_us;
	return true;
}

void tape_overlays_place(TapeOverlays *o, int64_t id, size_t number)
{
	for (size_t i = 0; i < o->count; i++) {
		Overlay *overlay = &o->list[i];

		if (overlay->kind != SWAP)
			continue;
		if (overlay->id == id) {
			overlay->found = true;
			overlay->at = number;
		}
		if (overlay->other == id) {
			overlay->found_other = true;
			overlay->other_at = number;
		}
	}
}

/* An event that is in several swaps is found at its new place by the later ones. */
static void move_places(TapeOverlays *o, size_t from, size_t a, size_t b)
{
	for (size_t i = from; i < o->count; i++) {
		Overlay *later = &o->list[i];

		later->at = later->at == a ? b : later->at == b ? a : later->at;
		later->other_at = later->other_at == a   ? b
				  : later->other_at == b ? a
							 : later->other_at;
	}
}

void tape_overlays_swap_all(
	TapeOverlays *o, void (*swap)(void *owner, size_t a, size_t b), void *owner)
{
	for (size_t i = 0; i < o->count; i++) {
		size_t a = o->list[i].at, b = o->list[i].other_at;

		if (o->list[i].kind != SWAP)
			continue;
		swap(owner, a, b);
		move_places(o, i + 1, a, b);
	}
}

/* ---- what they name ---- */

static bool no_such_event(const Overlay *overlay, int64_t id, int64_t first, int64_t last, Err *err)
{
	static const char *const words[] = {
		[DROP] = "--drop", [EDIT] = "--edit", [INSERT] = "--insert: after"
	};

	err_set(err, ERR_USAGE, "the history has no event %" PRId64, id);
	if (overlay->kind == SWAP)
		err_prefix(err, "--swap %" PRId64 ",%" PRId64, overlay->id, overlay->other);
	else
		err_prefix(err, "%s %" PRId64, words[overlay->kind], id);
	if (last == 0)
		return err_hint(err, "it has no events at all");
	return err_hint(err,
		"it goes from %" PRId64 " to %" PRId64 "; is the event filtered out, or dropped?",
		first, last);
}

bool tape_overlays_check(const TapeOverlays *o, int64_t first, int64_t last, Err *err)
{
	for (size_t i = 0; i < o->count; i++) {
		const Overlay *overlay = &o->list[i];

		if (!overlay->found && overlay->id != OVERLAY_AT_END)
			return no_such_event(overlay, overlay->id, first, last, err);
		if (overlay->kind == SWAP && !overlay->found_other)
			return no_such_event(overlay, overlay->other, first, last, err);
	}
	return true;
}
