#include "base/json_patch.h"

#include "base/json.h"
#include "base/json_tree.h"

#include <stdlib.h>

/* A document that copies of itself have blown up ends the patch, not the memory. */
enum { NODES_MOST = 1000000, ARENA_BLOCK = 16384 };

typedef enum { ADD, REMOVE, REPLACE, MOVE, COPY, TEST, NOPS } Op;

static const char *const op_names[NOPS] = { "add", "remove", "replace", "move", "copy", "test" };

/* A JSON Pointer (RFC 6901) as its tokens. */
typedef struct {
	Str text;
	Str *tokens;
	size_t count;
} Pointer;

typedef struct {
	Op op;
	Pointer path, from;
	const JsonNode *value;
} Operation;

typedef struct {
	Arena *arena;
	JsonNode *root;
	size_t nodes;
	Err *err;
} Patch;

static bool fail(Err *err, const char *what)
{
	return err_set(err, ERR_DATA, "%s", what);
}

/* ---- pointers ---- */

static Str unescape_token(Arena *arena, const char *p, const char *end)
{
	char *out = arena_alloc(arena, (size_t)(end - p) + 1);
	size_t n = 0;

	for (; p < end; p++) {
		bool escape = *p == '~' && p + 1 < end && (p[1] == '0' || p[1] == '1');

		out[n++] = !escape ? *p : p[1] == '0' ? '~' : '/';
		p += escape;
	}
	out[n] = '\0';
	return (Str){ out, n };
}

static bool read_pointer(Arena *arena, Str text, Pointer *out, Err *err)
{
	const char *p = text.s, *end = text.s + text.len;
	size_t n = 0;

	*out = (Pointer){ .text = text };
	if (text.len > 0 && *p != '/')
		return err_set(err, ERR_DATA, "'%.*s' is no JSON Pointer (it begins with '/')",
			(int)(text.len < 80 ? text.len : 80), text.s);
	for (const char *at = p; at < end; at++)
		n += *at == '/';
	out->tokens = arena_alloc(arena, (n + 1) * sizeof(*out->tokens));
	while (p < end) {
		const char *slash = memchr(p + 1, '/', (size_t)(end - p - 1));
		const char *stop = slash != NULL ? slash : end;

		out->tokens[out->count++] = unescape_token(arena, p + 1, stop);
		p = stop;
	}
	return true;
}

/* An index as RFC 6901 writes it: no leading zeros. */
static bool read_index(Str token, size_t *index)
{
	*index = 0;
	if (token.len == 0 || token.len > 9 || (token.len > 1 && token.s[0] == '0'))
		return false;
	for (size_t i = 0; i < token.len; i++) {
		if (token.s[i] < '0' || token.s[i] > '9')
			return false;
		*index = *index * 10 + (size_t)(token.s[i] - '0');
	}
	return true;
}

static JsonNode *child_of(const JsonNode *parent, Str token)
{
	size_t index;

	if (parent->kind == '{')
		return json_tree_member(parent, token);
	if (parent->kind == '[' && read_index(token, &index))
		return json_tree_element(parent, index);
	return NULL;
}

static bool not_there(Patch *p, const Pointer *at, size_t token)
{
	size_t n = at->tokens[token].len < 80 ? at->tokens[token].len : 80;

	return err_set(p->err, ERR_DATA, "there is no '%.*s'", (int)n, at->tokens[token].s);
}

/* The node at the first `count` tokens. */
static JsonNode *find(Patch *p, const Pointer *at, size_t count)
{
	JsonNode *node = p->root;

	for (size_t i = 0; i < count; i++) {
		node = child_of(node, at->tokens[i]);
		if (node == NULL) {
			not_there(p, at, i);
			return NULL;
		}
	}
	return node;
}

/* ---- operations ---- */

static bool put(Patch *p, const Pointer *at, JsonNode *value, bool replace)
{
	JsonNode *parent;
	Str last;
	size_t index;

	if (at->count + json_tree_depth(value) > JSON_MAX_DEPTH)
		return fail(p->err, "the document would be nested too deep");
	if (at->count == 0) {
		p->root = value;
		return true;
	}
	parent = find(p, at, at->count - 1);
	if (parent == NULL)
		return false;
	last = at->tokens[at->count - 1];
	if (replace && child_of(parent, last) == NULL)
		return not_there(p, at, at->count - 1);
	if (parent->kind == '{') {
		json_tree_set(parent, last, value);
		return true;
	}
	if (parent->kind != '[')
		return fail(p->err, "it leads into a value that has no members");
	if (str_eq(last, STR("-")))
		index = json_tree_count(parent);
	else if (!read_index(last, &index) || index > json_tree_count(parent))
		return err_set(p->err, ERR_DATA, "'%.*s' is no index of the array, which has %zu",
			(int)(last.len < 80 ? last.len : 80), last.s, json_tree_count(parent));
	if (replace)
		json_tree_remove(parent, json_tree_element(parent, index));
	json_tree_insert(parent, index, value);
	return true;
}

static bool take_away(Patch *p, const Pointer *at)
{
	JsonNode *parent, *child;

	if (at->count == 0)
		return fail(p->err, "the whole document cannot be removed");
	child = find(p, at, at->count);
	if (child == NULL)
		return false;
	parent = find(p, at, at->count - 1);
	json_tree_remove(parent, child);
	return true;
}

static bool is_inside(const Pointer *path, const Pointer *from)
{
	if (path->count <= from->count)
		return false;
	for (size_t i = 0; i < from->count; i++)
		if (!str_eq(path->tokens[i], from->tokens[i]))
			return false;
	return true;
}

static JsonNode *copy_of(Patch *p, const JsonNode *node)
{
	p->nodes += json_tree_size(node);
	if (p->nodes > NODES_MOST) {
		fail(p->err, "the document becomes too large");
		return NULL;
	}
	return json_tree_copy(p->arena, node);
}

static bool move_or_copy(Patch *p, const Operation *o)
{
	JsonNode *node = find(p, &o->from, o->from.count), *copy;

	if (node == NULL)
		return false;
	if (o->op == MOVE && is_inside(&o->path, &o->from))
		return fail(p->err, "a value cannot be moved into itself");
	copy = copy_of(p, node);
	if (copy == NULL)
		return false;
	if (o->op == MOVE && o->from.count > 0 && !take_away(p, &o->from))
		return false;
	return put(p, &o->path, copy, false);
}

static bool test(Patch *p, const Operation *o)
{
	const JsonNode *node = find(p, &o->path, o->path.count);
	Buf text = { 0 };

	if (node == NULL)
		return false;
	if (json_tree_equal(node, o->value))
		return true;
	json_tree_write(node, &text);
	err_set(p->err, ERR_DATA, "the value is another: %.200s", text.s);
	buf_free(&text);
	return false;
}

static bool apply(Patch *p, const Operation *o)
{
	JsonNode *value = NULL;

	if (o->op == ADD || o->op == REPLACE) {
		value = copy_of(p, o->value);
		return value != NULL && put(p, &o->path, value, o->op == REPLACE);
	}
	return o->op == REMOVE ? take_away(p, &o->path)
	       : o->op == TEST ? test(p, o)
			       : move_or_copy(p, o);
}

/* ---- reading operations ---- */

static bool member_text(Arena *arena, const JsonNode *operation, Str name, Str *out, Err *err)
{
	const JsonNode *m = json_tree_member(operation, name);
	Buf text = { 0 };

	if (m == NULL || m->kind != 0 || m->text.s[0] != '"')
		return err_set(err, ERR_DATA, "it needs a string \"%.*s\"", (int)name.len, name.s);
	buf_reserve(&text, 1);
	json_unescape(&text, m->text);
	*out = arena_str(arena, buf_str(&text));
	buf_free(&text);
	return true;
}

static bool read_op(Str name, Op *out, Err *err)
{
	for (Op op = 0; op < NOPS; op++) {
		if (str_eq(name, str_from(op_names[op]))) {
			*out = op;
			return true;
		}
	}
	return err_set(err, ERR_DATA,
		"'%.*s' is no operation (add, remove, replace, move, copy, test)",
		(int)(name.len < 40 ? name.len : 40), name.s);
}

static bool read_operation(Arena *arena, const JsonNode *node, Operation *o, Err *err)
{
	Str name = { 0 }, path = { 0 };

	*o = (Operation){ .value = NULL };
	if (node->kind != '{')
		return fail(err, "an operation is an object");
	if (!member_text(arena, node, STR("op"), &name, err) || !read_op(name, &o->op, err) ||
		!member_text(arena, node, STR("path"), &path, err) ||
		!read_pointer(arena, path, &o->path, err))
		return false;
	o->value = json_tree_member(node, STR("value"));
	if (o->value == NULL && (o->op == ADD || o->op == REPLACE || o->op == TEST))
		return fail(err, "it needs a \"value\"");
	if (o->op != MOVE && o->op != COPY)
		return true;
	return member_text(arena, node, STR("from"), &path, err) &&
	       read_pointer(arena, path, &o->from, err);
}

static bool name_operation(Err *err, size_t nth, const Operation *o)
{
	size_t n = o->path.text.len < 100 ? o->path.text.len : 100;

	if (o->path.text.s == NULL)
		return err_prefix(err, "operation %zu", nth);
	return err_prefix(
		err, "operation %zu, %s \"%.*s\"", nth, op_names[o->op], (int)n, o->path.text.s);
}

/* Each operation is read, and done where there is a document. */
static bool each_operation(Arena *arena, const JsonNode *list, Patch *p, Err *err)
{
	size_t nth = 1;

	if (list->kind != '[')
		return fail(err, "a JSON Patch is an array of operations");
	for (const JsonNode *node = list->first; node != NULL; node = node->next, nth++) {
		Operation o;

		if (!read_operation(arena, node, &o, err) || (p != NULL && !apply(p, &o)))
			return name_operation(err, nth, &o);
	}
	return true;
}

bool json_patch(Str document, Str patch, Buf *out, Err *err)
{
	Arena *arena = arena_new(ARENA_BLOCK);
	Patch p = { .arena = arena, .root = json_tree_parse(arena, document), .err = err };
	bool ok = each_operation(arena, json_tree_parse(arena, patch), &p, err);

	if (ok)
		json_tree_write(p.root, out);
	arena_free(arena);
	return ok;
}

bool json_patch_check(Str patch, Err *err)
{
	Arena *arena;
	const JsonNode *node;
	bool ok;

	if (!json_check(patch, 0, err))
		return false;
	arena = arena_new(ARENA_BLOCK);
	node = json_tree_parse(arena, patch);
	if (node->kind == 0)
		ok = fail(err, "neither a JSON Patch (an array) nor a merge patch (an object)");
	else
		ok = node->kind == '{' || each_operation(arena, node, NULL, err);
	arena_free(arena);
	return ok;
}

/* ---- merge patch ---- */

/* The value with everything that is null in its objects left out. */
static JsonNode *merged(Arena *arena, JsonNode *target, const JsonNode *patch)
{
	if (patch->kind != '{')
		return json_tree_copy(arena, patch);
	if (target == NULL || target->kind != '{') {
		target = arena_alloc(arena, sizeof(*target));
		*target = (JsonNode){ .kind = '{' };
	}
	for (const JsonNode *m = patch->first; m != NULL; m = m->next) {
		JsonNode *old = json_tree_member(target, m->name);

		if (m->kind != 0 || !str_eq(m->text, STR("null")))
			json_tree_set(target, m->name, merged(arena, old, m));
		else if (old != NULL)
			json_tree_remove(target, old);
	}
	return target;
}

void json_merge_patch(Str document, Str patch, Buf *out)
{
	Arena *arena = arena_new(ARENA_BLOCK);
	JsonNode *root = json_tree_parse(arena, document);

	json_tree_write(merged(arena, root, json_tree_parse(arena, patch)), out);
	arena_free(arena);
}
