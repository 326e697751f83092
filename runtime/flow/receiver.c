#include "flow/receiver.h"

#include "base/digest.h"
#include "base/json.h"
#include "base/json_tree.h"
#include "flow/webhook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SECRET_MAX = 4096 };

/* --- Reading a definition
 * ------------------------------------------------------------------------ */

typedef struct {
	Arena *arena;
	const char *workspace;
	const JsonNode *object;
} Reader;

static const JsonNode *member(const Reader *r, const char *name)
{
	const JsonNode *node = json_tree_member(r->object, str_from(name));

	return node && (node->kind || !str_eq(node->text, STR("null"))) ? node : NULL;
}

static const char *text_of(const Reader *r, const JsonNode *node)
{
	Buf out = { 0 };
	Str kept;

	json_unescape(&out, node->text);
	kept = arena_str(r->arena, buf_str(&out));
	buf_free(&out);
	return kept.s;
}

static const char *get_text(const Reader *r, const char *name)
{
	const JsonNode *node = member(r, name);

	return node ? text_of(r, node) : NULL;
}

static double get_number(const Reader *r, const char *name)
{
	const JsonNode *node = member(r, name);

	return node ? strtod(arena_str(r->arena, node->text).s, NULL) : 0;
}

static Secret secret_of(const Reader *r, const JsonNode *node)
{
	Reader inner = { r->arena, r->workspace, node };
	Secret s = { .name = get_text(&inner, "name"),
		.text = get_text(&inner, "text"),
		.file = get_text(&inner, "file"),
		.env = get_text(&inner, "env") };

	if (s.file != NULL && s.file[0] != '/')
		s.file = arena_printf(r->arena, "%s/%s", r->workspace, s.file);
	return s;
}

static size_t get_count(const Reader *r, const char *name)
{
	const JsonNode *list = member(r, name);

	return list ? json_tree_count(list) : 0;
}

static const JsonNode *get_first(const Reader *r, const char *name)
{
	const JsonNode *list = member(r, name);

	return list ? list->first : NULL;
}

static const Secret *get_secrets(const Reader *r, const char *name, size_t *n)
{
	Secret *all = arena_alloc(r->arena, (get_count(r, name) + 1) * sizeof(*all));

	*n = 0;
	for (const JsonNode *node = get_first(r, name); node != NULL; node = node->next)
		all[(*n)++] = secret_of(r, node);
	return all;
}

static const char *const *get_words(const Reader *r, const char *name, size_t *n)
{
	const char **all = arena_alloc(r->arena, (get_count(r, name) + 1) * sizeof(*all));

	*n = 0;
	for (const JsonNode *node = get_first(r, name); node != NULL; node = node->next)
		all[(*n)++] = text_of(r, node);
	all[*n] = NULL;
	return all;
}

static const double *get_numbers(const Reader *r, const char *name, size_t *n)
{
	double *all = arena_alloc(r->arena, (get_count(r, name) + 1) * sizeof(*all));

	*n = 0;
	for (const JsonNode *node = get_first(r, name); node != NULL; node = node->next)
		all[(*n)++] = strtod(arena_str(r->arena, node->text).s, NULL);
	return all;
}

static bool get_kind(const char *word, ReceiverKind *kind)
{
	static const char *const names[] = { "webhook", "alertmanager", "program" };

	for (size_t i = 0; word != NULL && i < 3; i++)
		if (strcmp(word, names[i]) == 0) {
			*kind = (ReceiverKind)i;
			return true;
		}
	return false;
}

bool receivers_add(Receivers *list, Str definition, const char *workspace, Err *err)
{
	Reader r = { .arena = list->arena, .workspace = workspace };
	Receiver *to = &list->items[list->n];
	const JsonNode *url;

	if (!json_check(definition, 0, err))
		return false;
	r.object = json_tree_parse(list->arena, arena_str(list->arena, definition));
	*to = (Receiver){ .name = get_text(&r, "name"), .format = get_text(&r, "format") };
	if (!get_kind(get_text(&r, "receives"), &to->kind) || to->name == NULL)
		return err_set(err, ERR_DATA, "receiver: its definition has no name or no kind");
	url = member(&r, "url");
	to->url = url ? secret_of(&r, url) : (Secret){ 0 };
	to->secrets = get_secrets(&r, "secrets", &to->nsecrets);
	to->headers = get_secrets(&r, "headers", &to->nheaders);
	to->words = get_words(&r, "words", &to->nwords);
	to->retry = get_numbers(&r, "retry", &to->nretry);
	to->timeout = get_number(&r, "timeout");
	to->resend = get_number(&r, "resend");
	to->stale_after = get_number(&r, "stale_after");
	to->allow_private = member(&r, "allow_private") &&
			    str_eq(member(&r, "allow_private")->text, STR("true"));
	digest_sha256_hex(definition, to->digest);
	list->n++;
	return true;
}

/* --- The list
 * ------------------------------------------------------------------------------------ */

Receivers *receivers_new(size_t n)
{
	Receivers *r = mem_calloc(1, sizeof(*r));

	r->items = mem_calloc(n + 1, sizeof(*r->items));
	r->arena = arena_new(4096);
	r->holders = 1;
	return r;
}

Receivers *receivers_hold(Receivers *r)
{
	r->holders++;
	return r;
}

void receivers_release(Receivers *r)
{
	if (r == NULL || --r->holders > 0)
		return;
	arena_free(r->arena);
	free(r->items);
	free(r);
}

const Receiver *receivers_find(const Receivers *r, const char *name)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->items[i].name, name) == 0)
			return &r->items[i];
	return NULL;
}

/* --- Secrets
 * ------------------------------------------------------------------------------------- */

static bool read_file(const char *path, char text[SECRET_MAX + 1], size_t *len, Err *err)
{
	FILE *f = fopen(path, "rb");

	if (f == NULL)
		return err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	*len = fread(text, 1, SECRET_MAX + 1, f);
	if (ferror(f))
		err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
	else if (*len > SECRET_MAX)
		err_set(err, ERR_DATA, "%s: more than %d bytes are no secret", path, SECRET_MAX);
	else
		err_clear(err);
	fclose(f);
	return err->kind == ERR_NONE;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

bool secret_read(const Secret *s, Buf *out, Err *err)
{
	char text[SECRET_MAX + 1];
	const char *from = text;
	size_t len = 0;

	if (s->file != NULL && !read_file(s->file, text, &len, err))
		return false;
	if (s->file == NULL) {
		from = s->env ? getenv(s->env) : s->text;
		if (from == NULL)
			return err_set(err, ERR_DATA, "the environment has no %s", s->env);
		len = strlen(from);
	}
	while (len > 0 && is_space(from[len - 1]))
		len--;
	while (len > 0 && is_space(*from))
		from++, len--;
	if (len == 0)
		err_set(err, ERR_DATA, "%s is empty", s->file ? s->file : s->env ? s->env : "it");
	else if (memchr(from, '\n', len) || memchr(from, '\0', len))
		err_set(err, ERR_DATA, "%s has more than one line", s->file ? s->file : "it");
	else
		buf_add(out, from, len);
	explicit_bzero(text, sizeof(text));
	return len > 0 && out->len > 0;
}

bool receiver_check(const Receiver *r, Err *err)
{
	switch (r->kind) {
	case RECEIVER_WEBHOOK:
		return webhook_check(r, err);
	case RECEIVER_PROGRAM:
		if (access(r->words[0], X_OK) != 0)
			return err_set(err, ERR_IO, "receiver '%s': program: %s: %s", r->name,
				r->words[0], strerror(errno));
		return true;
	case RECEIVER_ALERTMANAGER:
		return true;
	}
	return true;
}
