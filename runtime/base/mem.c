#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void *or_die(void *p)
{
	if (p == NULL) {
		fputs("moonwake: out of memory\n", stderr);
		abort();
	}
	return p;
}

void *mem_alloc(size_t size)
{
	return or_die(malloc(size ? size : 1));
}

void *mem_calloc(size_t n, size_t size)
{
	return or_die(calloc(n ? n : 1, size ? size : 1));
}

void *mem_realloc(void *p, size_t size)
{
	return or_die(realloc(p, size ? size : 1));
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

char *mem_strndup(const char *s, size_t n)
{
	char *copy = mem_alloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

void buf_reserve(Buf *b, size_t more)
{
	size_t need = b->len + more + 1;

	if (need <= b->cap)
		return;
	b->cap = b->cap * 2 > need ? b->cap * 2 : need + 63;
	b->s = mem_realloc(b->s, b->cap);
}

void buf_add(Buf *b, const void *bytes, size_t n)
{
	buf_reserve(b, n);
	if (n > 0)
		memcpy(b->s + b->len, bytes, n);
	b->len += n;
	b->s[b->len] = '\0';
}

void buf_adds(Buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addc(Buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_addf(Buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	buf_reserve(b, (size_t)n);
	vsnprintf(b->s + b->len, (size_t)n + 1, fmt, again);
	va_end(again);
	b->len += (size_t)n;
}

void buf_clear(Buf *b)
{
	b->len = 0;
	if (b->s)
		b->s[0] = '\0';
}

void buf_free(Buf *b)
{
	free(b->s);
	*b = (Buf){ 0 };
}

typedef struct Block {
	struct Block *next;
	size_t used, size;
	_Alignas(16) char bytes[];
} Block;

struct Arena {
	Block *first, *last;
	size_t block;
};

static Block *block_new(size_t size)
{
	Block *b = mem_alloc(sizeof(*b) + size);

	*b = (Block){ .size = size };
	return b;
}

Arena *arena_new(size_t block)
{
	Arena *a = mem_alloc(sizeof(*a));

	a->block = block;
	a->first = a->last = block_new(block);
	return a;
}

void *arena_alloc(Arena *a, size_t size)
{
	void *p;

	size = (size + 15) & ~(size_t)15;
	if (a->last->used + size > a->last->size) {
		a->last->next = block_new(size > a->block ? size : a->block);
		a->last = a->last->next;
	}
	p = a->last->bytes + a->last->used;
	a->last->used += size;
	return p;
}

Str arena_str(Arena *a, Str s)
{
	char *copy;

	if (s.s == NULL)
		return s;
	copy = arena_alloc(a, s.len + 1);
	memcpy(copy, s.s, s.len);
	copy[s.len] = '\0';
	return (Str){ copy, s.len };
}

char *arena_printf(Arena *a, const char *fmt, ...)
{
	va_list ap, again;
	char *out;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	out = arena_alloc(a, (size_t)n + 1);
	vsnprintf(out, (size_t)n + 1, fmt, again);
	va_end(again);
	return out;
}

static void free_blocks(Block *b)
{
	while (b != NULL) {
		Block *next = b->next;

		free(b);
		b = next;
	}
}

void arena_reset(Arena *a)
{
	free_blocks(a->first->next);
	a->first->next = NULL;
	a->first->used = 0;
	a->last = a->first;
}

void arena_free(Arena *a)
{
	if (a == NULL)
		return;
	free_blocks(a->first);
	free(a);
}
