#include "base/json_diff.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/json_each.h"
#include "base/number.h"

enum { ARENA_BLOCK = 16384 };

typedef struct Node Node;
struct Node {
	const char *s, *end; /* the value's text */
	Str name;            /* of a member, unescaped */
	Node *parent, *next;
	Node *first; /* of an object: by name, each once */
};

typedef struct {
	Arena *arena;
	const char *p, *end;
	Node *nodes; /* room for all */
	size_t count;
} Parser;

typedef struct {
	JsonDiff *out;
	Buf path;
} Walk;

static int compare_names(Str a, Str b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int order = n > 0 ? memcmp(a.s, b.s, n) : 0;

	return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* Of equal names the later one comes first. */
static int compare_members(const void *a, const void *b)
{
	const Node *x = *(Node *const *)a, *y = *(Node *const *)b;
	int order = compare_names(x->name, y->name);

	return order != 0 ? order : (x < y) - (x > y);
}

/* Puts the members of an object into order, the last of each name alone. */
static void sort_members(Arena *arena, Node *object)
{
	size_t n = 0, count = 0;
	bool ordered = true;
	Node **list, **link = &object->first;

	for (Node *m = object->first; m != NULL; m = m->next, count++)
		ordered = ordered && (m->next == NULL || compare_names(m->name, m->next->name) < 0);
	if (ordered)
		return;
	list = arena_alloc(arena, count * sizeof(*list));
	for (Node *m = object->first; m != NULL; m = m->next)
		list[n++] = m;
	qsort(list, n, sizeof(*list), compare_members);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && compare_names(list[i]->name, list[i - 1]->name) == 0)
			continue;
		*link = list[i];
		link = &list[i]->next;
	}
	*link = NULL;
}

/* The text that a string literal stands for. */
static Str unescape(Arena *arena, Str literal)
{
	Str bare = { literal.s + 1, literal.len > 1 ? literal.len - 2 : 0 };
	Buf text = { 0 };

	if (memchr(bare.s, '\\', bare.len) == NULL)
		return bare;
	json_unescape(&text, literal);
	bare = arena_str(arena, buf_str(&text));
	buf_free(&text);
	return bare;
}

static void skip_to_token(Parser *p)
{
	while (p->p < p->end && memchr(" \n\r\t,:", *p->p, 6) != NULL)
		p->p++;
}

static Node *read_node(Parser *p, Node *parent)
{
	Node *n = &p->nodes[p->count++];
	const char *begin = p->p;

	*n = (Node){ .parent = parent };
	if (parent != NULL && *parent->s == '{') {
		p->p = json_value_end(begin, p->end);
		n->name = unescape(p->arena, (Str){ begin, (size_t)(p->p - begin) });
		skip_to_token(p);
	}
	n->s = p->p;
	if (p->p < p->end && (*p->p == '{' || *p->p == '['))
		p->p++;
	else if (p->p < p->end)
		p->p = json_value_end(p->p, p->end);
	n->end = p->p;
	return n;
}

static size_t count_nodes(Str text)
{
	size_t n = 2;

	for (size_t i = 0; i < text.len; i++)
		n += text.s[i] == ',' || text.s[i] == '{' || text.s[i] == '[';
	return n;
}

/* The value as a tree, without recursion. NULL for no value. */
static Node *parse(Arena *arena, Str text)
{
	Parser p = { .arena = arena, .p = text.s, .end = text.s + text.len };
	Node *root = NULL, *parent = NULL, *n, **link = &root;

	if (text.s == NULL)
		return NULL;
	p.nodes = arena_alloc(arena, count_nodes(text) * sizeof(*p.nodes));
	for (skip_to_token(&p); p.p < p.end; skip_to_token(&p)) {
		if (*p.p == '}' || *p.p == ']') {
			if (parent == NULL)
				break;
			n = parent;
			n->end = ++p.p;
			if (*n->s == '{')
				sort_members(arena, n);
		} else {
			n = *link = read_node(&p, parent);
			if (*n->s == '{' || *n->s == '[') {
				parent = n;
				link = &n->first;
				continue;
			}
		}
		parent = n->parent;
		link = &n->next;
		if (parent == NULL)
			break;
	}
	return root;
}

static Str text_of(const Node *n)
{
	return n != NULL ? (Str){ n->s, (size_t)(n->end - n->s) } : (Str){ NULL, 0 };
}

static bool is_leaf(const Node *n)
{
	return n->first == NULL;
}

static bool strings_equal(Str a, Str b)
{
	Buf x = { 0 }, y = { 0 };
	bool equal = false;

	if (memchr(a.s, '\\', a.len) != NULL || memchr(b.s, '\\', b.len) != NULL)
		equal = json_unescape(&x, a) && json_unescape(&y, b) &&
			str_eq(buf_str(&x), buf_str(&y));
	buf_free(&x);
	buf_free(&y);
	return equal;
}

/* Of two leaves that are not written alike. */
static bool leaves_equal(const Node *a, const Node *b)
{
	Number x, y;

	switch (*a->s) {
	case '"':
		return *b->s == '"' && strings_equal(text_of(a), text_of(b));
	case '{':
	case '[':
		return *a->s == *b->s;
	case 't':
	case 'f':
	case 'n':
		return false;
	default:
		number_scan(a->s, a->end, &x);
		number_scan(b->s, b->end, &y);
		return x.end != NULL && y.end != NULL && number_compare(&x, &y) == 0;
	}
}

static bool is_plain_word(Str name)
{
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.s[i], letter = c | 0x20;

		if (c != '_' && (letter < 'a' || letter > 'z') && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return name.len > 0;
}

static void add_name(Buf *path, Str name)
{
	if (is_plain_word(name)) {
		if (path->len > 0)
			buf_addc(path, '.');
		buf_add(path, name.s, name.len);
		return;
	}
	buf_addc(path, '[');
	json_add_string(path, name);
	buf_addc(path, ']');
}

static void tell(Walk *w, const Node *before, const Node *after)
{
	JsonDiff *d = w->out;

	if (d->count == d->cap) {
		d->cap = d->cap > 0 ? 2 * d->cap : 16;
		d->at = mem_realloc(d->at, d->cap * sizeof(*d->at));
	}
	d->at[d->count++] = (JsonChange){ arena_str(d->arena, buf_str(&w->path)), text_of(before),
		text_of(after) };
}

static void walk(Walk *w, const Node *before, const Node *after);

/* Of two containers of one kind, or of one that has no counterpart. */
static void walk_children(Walk *w, const Node *before, const Node *after)
{
	const Node *x = before != NULL ? before->first : NULL;
	const Node *y = after != NULL ? after->first : NULL;
	bool object = *(before != NULL ? before : after)->s == '{';
	size_t position = 0, length = w->path.len;

	while (x != NULL || y != NULL) {
		int order = x == NULL   ? 1
			    : y == NULL ? -1
			    : object    ? compare_names(x->name, y->name)
					: 0;

		if (object)
			add_name(&w->path, order <= 0 ? x->name : y->name);
		else
			buf_addf(&w->path, "[%zu]", ++position);
		walk(w, order <= 0 ? x : NULL, order >= 0 ? y : NULL);
		w->path.len = length;
		x = order <= 0 ? x->next : x;
		y = order >= 0 ? y->next : y;
	}
}

/* The leaves of one value, as gone or as come. */
static void walk_one(Walk *w, const Node *before, const Node *after)
{
	const Node *n = before != NULL ? before : after;

	if (n == NULL)
		return;
	if (is_leaf(n))
		tell(w, before, after);
	else
		walk_children(w, before, after);
}

static void walk(Walk *w, const Node *before, const Node *after)
{
	if (before == NULL || after == NULL) {
		walk_one(w, before, after);
	} else if (str_eq(text_of(before), text_of(after))) {
		return;
	} else if (is_leaf(before) && is_leaf(after)) {
		if (!leaves_equal(before, after))
			tell(w, before, after);
	} else if (!is_leaf(before) && !is_leaf(after) && *before->s == *after->s) {
		walk_children(w, before, after);
	} else {
		walk_one(w, before, NULL);
		walk_one(w, NULL, after);
	}
}

void json_diff(Str before, Str after, JsonDiff *out)
{
	Walk w = { .out = out };

	out->count = 0;
	if (before.s != NULL && after.s != NULL && str_eq(before, after))
		return;
	if (out->arena == NULL)
		out->arena = arena_new(ARENA_BLOCK);
	arena_reset(out->arena);
	walk(&w, parse(out->arena, before), parse(out->arena, after));
	buf_free(&w.path);
}

void json_diff_free(JsonDiff *diff)
{
	arena_free(diff->arena);
	free(diff->at);
	*diff = (JsonDiff){ 0 };
}

static const Node *child_at(const Node *array, Str digits)
{
	const Node *child = array->first;
	size_t n = 0;

	if (*array->s != '[' || digits.len == 0 || digits.len > 9)
		return NULL;
	for (size_t i = 0; i < digits.len; i++) {
		if (digits.s[i] < '0' || digits.s[i] > '9')
			return NULL;
		n = 10 * n + (size_t)(digits.s[i] - '0');
	}
	while (n > 1 && child != NULL) {
		child = child->next;
		n--;
	}
	return n == 1 ? child : NULL;
}

static const Node *child_named(const Node *object, Str name)
{
	const Node *m = *object->s == '{' ? object->first : NULL;

	while (m != NULL && !str_eq(m->name, name))
		m = m->next;
	return m;
}

/* One step of a path, from `p` on: the child, and *behind the step. */
static const Node *step(
	Arena *arena, const Node *n, const char *p, const char *end, const char **behind)
{
	const char *begin = p;

	if (*p != '[') {
		while (p < end && *p != '.' && *p != '[')
			p++;
		*behind = p;
		return child_named(n, (Str){ begin, (size_t)(p - begin) });
	}
	begin = ++p;
	p = p < end && *p == '"' ? json_value_end(p, end) : memchr(p, ']', (size_t)(end - p));
	if (p == NULL || p >= end || *p != ']')
		return NULL;
	*behind = p + 1;
	if (*begin == '"')
		return child_named(n, unescape(arena, (Str){ begin, (size_t)(p - begin) }));
	return child_at(n, (Str){ begin, (size_t)(p - begin) });
}

Str json_at(Str value, Str path)
{
	Arena *arena = arena_new(ARENA_BLOCK);
	const char *p = path.s, *end = path.s + path.len;
	const Node *n = parse(arena, value);
	Str found;

	while (n != NULL && p < end) {
		if (*p == '.' && p > path.s && ++p == end)
			n = NULL;
		else
			n = step(arena, n, p, end, &p);
	}
	found = text_of(n);
	arena_free(arena);
	return found;
}

static void add_node(Buf *out, const Node *n)
{
	bool object = *n->s == '{';

	if (!object && *n->s != '[') {
		buf_add(out, n->s, (size_t)(n->end - n->s));
		return;
	}
	buf_addc(out, *n->s);
	for (const Node *m = n->first; m != NULL; m = m->next) {
		if (m != n->first)
			buf_addc(out, ',');
		if (object) {
			json_add_string(out, m->name);
			buf_addc(out, ':');
		}
		add_node(out, m);
	}
	buf_addc(out, object ? '}' : ']');
}

void json_add_sorted(Buf *out, Str value)
{
	Arena *arena = arena_new(ARENA_BLOCK);
	const Node *root = parse(arena, value);

	if (root != NULL)
		add_node(out, root);
	arena_free(arena);
}
