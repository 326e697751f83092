#pragma once

#include "base/mem.h"

/* A JSON value that can be taken apart and put together. Everything lives in the arena; scalars and
 * names keep the text that they had. */
typedef struct JsonNode JsonNode;
struct JsonNode {
	char kind;       /* '{', '[' or 0 for a scalar */
	Str text;        /* of a scalar */
	Str name;        /* of a member: what its literal stands for */
	JsonNode *first; /* of a container */
	JsonNode *next;  /* beside this one */
};

/* `text` must be valid JSON, not nested deeper than JSON_MAX_DEPTH. */
JsonNode *json_tree_parse(Arena *arena, Str text);
void json_tree_write(const JsonNode *node, Buf *out);

/* The last member of that name, or NULL. */
JsonNode *json_tree_member(const JsonNode *object, Str name);
JsonNode *json_tree_element(const JsonNode *array, size_t index);
size_t json_tree_count(const JsonNode *container);
size_t json_tree_depth(const JsonNode *node); /* 1 for a scalar */
size_t json_tree_size(const JsonNode *node);  /* nodes, itself included */
JsonNode *json_tree_copy(Arena *arena, const JsonNode *node);

/* As JSON Patch compares: numbers by value, strings by what they stand for, members wherever they
 * stand. */
bool json_tree_equal(const JsonNode *a, const JsonNode *b);

/* Puts `value` under a name, in place of what was there, or behind the others. */
void json_tree_set(JsonNode *object, Str name, JsonNode *value);
/* Puts it before the element with this index; at the end where the index is the count. */
void json_tree_insert(JsonNode *array, size_t index, JsonNode *value);
void json_tree_remove(JsonNode *container, const JsonNode *child); /* and its namesakes */
