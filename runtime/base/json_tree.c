#include "base/json_tree.h"

#include "base/json.h"
#include "base/json_each.h"
#include "base/number.h"

static Str unescaped(Arena *arena, Str literal)
{
	Buf text = { 0 };
	Str out;

	buf_reserve(&text, 1);
	json_unescape(&text, literal);
	out = arena_str(arena, buf_str(&text));
	buf_free(&text);
	return out;
}

static Str trimmed(Str text)
{
	while (text.len > 0 && strchr(" \n\r\t", text.s[0]) != NULL) {
		text.s++;
		text.len--;
	}
	while (text.len > 0 && strchr(" \n\r\t", text.s[text.len - 1]) != NULL)
		text.len--;
	return text;
}

JsonNode *json_tree_parse(Arena *arena, Str text)
{
	JsonNode *node = arena_alloc(arena, sizeof(*node)), **link = &node->first;
	JsonEach each;
	Str name, value;

	text = trimmed(text);
	*node = (JsonNode){ .text = text };
	if (text.s[0] != '{' && text.s[0] != '[')
		return node;
	node->kind = text.s[0];
	each = json_each(text);
	while (json_each_next(&each, &name, &value)) {
		*link = json_tree_parse(arena, value);
		if (name.s != NULL)
			(*link)->name = unescaped(arena, name);
		link = &(*link)->next;
	}
	return node;
}

void json_tree_write(const JsonNode *node, Buf *out)
{
	if (node->kind == 0) {
		buf_add(out, node->text.s, node->text.len);
		return;
	}
	buf_addc(out, node->kind);
	for (const JsonNode *child = node->first; child != NULL; child = child->next) {
		if (child != node->first)
			buf_addc(out, ',');
		if (node->kind == '{') {
			json_add_string(out, child->name);
			buf_addc(out, ':');
		}
		json_tree_write(child, out);
	}
	buf_addc(out, node->kind == '{' ? '}' : ']');
}

JsonNode *json_tree_member(const JsonNode *object, Str name)
{
	JsonNode *found = NULL;

	for (JsonNode *m = object->first; m != NULL; m = m->next)
		if (str_eq(m->name, name))
			found = m;
	return found;
}

JsonNode *json_tree_element(const JsonNode *array, size_t index)
{
	JsonNode *e = array->first;

	while (e != NULL && index-- > 0)
		e = e->next;
	return e;
}

size_t json_tree_count(const JsonNode *container)
{
	size_t n = 0;

	for (const JsonNode *c = container->first; c != NULL; c = c->next)
		n++;
	return n;
}

size_t json_tree_depth(const JsonNode *node)
{
	size_t deepest = 0;

	for (const JsonNode *c = node->first; c != NULL; c = c->next) {
		size_t depth = json_tree_depth(c);

		deepest = depth > deepest ? depth : deepest;
	}
	return deepest + 1;
}

size_t json_tree_size(const JsonNode *node)
{
	size_t n = 1;

	for (const JsonNode *c = node->first; c != NULL; c = c->next)
		n += json_tree_size(c);
	return n;
}

JsonNode *json_tree_copy(Arena *arena, const JsonNode *node)
{
	JsonNode *copy = arena_alloc(arena, sizeof(*copy)), **link = &copy->first;

	*copy = *node;
	copy->first = copy->next = NULL;
	for (const JsonNode *c = node->first; c != NULL; c = c->next) {
		*link = json_tree_copy(arena, c);
		link = &(*link)->next;
	}
	return copy;
}

static bool scalars_equal(Str a, Str b)
{
	Buf x = { 0 }, y = { 0 };
	Number m, n;
	bool equal;

	if (str_eq(a, b))
		return true;
	if (a.s[0] == '"' || b.s[0] == '"') {
		equal = json_unescape(&x, a) && json_unescape(&y, b) &&
			str_eq(buf_str(&x), buf_str(&y));
		buf_free(&x);
		buf_free(&y);
		return equal;
	}
	number_scan(a.s, a.s + a.len, &m);
	number_scan(b.s, b.s + b.len, &n);
	return m.end != NULL && n.end != NULL && number_compare(&m, &n) == 0;
}

/* Every member of a is one of b. */
static bool is_within(const JsonNode *a, const JsonNode *b)
{
	for (const JsonNode *m = a->first; m != NULL; m = m->next) {
		const JsonNode *other = json_tree_member(b, m->name);

		if (other == NULL || !json_tree_equal(json_tree_member(a, m->name), other))
			return false;
	}
	return true;
}

bool json_tree_equal(const JsonNode *a, const JsonNode *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == 0)
		return scalars_equal(a->text, b->text);
	if (a->kind == '{') {
		for (const JsonNode *m = b->first; m != NULL; m = m->next)
			if (json_tree_member(a, m->name) == NULL)
				return false;
		return is_within(a, b);
	}
	a = a->first;
	b = b->first;
	for (; a != NULL && b != NULL; a = a->next, b = b->next)
		if (!json_tree_equal(a, b))
			return false;
	return a == NULL && b == NULL;
}

void json_tree_set(JsonNode *object, Str name, JsonNode *value)
{
	JsonNode *old = json_tree_member(object, name), **link = &object->first;

	while (*link != NULL && *link != old)
		link = &(*link)->next;
	value->name = name;
	value->next = old != NULL ? old->next : NULL;
	*link = value;
}

void json_tree_insert(JsonNode *array, size_t index, JsonNode *value)
{
	JsonNode **link = &array->first;

	while (*link != NULL && index-- > 0)
		link = &(*link)->next;
	value->next = *link;
	*link = value;
}

void json_tree_remove(JsonNode *container, const JsonNode *child)
{
	JsonNode **link = &container->first;

	while (*link != NULL) {
		bool namesake = container->kind == '{' && str_eq((*link)->name, child->name);

		if (*link == child || namesake)
			*link = (*link)->next;
		else
			link = &(*link)->next;
	}
}
