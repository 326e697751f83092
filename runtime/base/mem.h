#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that somebody else owns. s == NULL means "no value" (SQL NULL); len 0 is an empty text. */
typedef struct {
	const char *s;
	size_t len;
} Str;

#define STR(literal) ((Str){ literal, sizeof(literal) - 1 })
static inline Str str_from(const char *s)
{
	return (Str){ s, s ? strlen(s) : 0 };
}
static inline bool str_eq(Str a, Str b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.s, b.s, a.len) == 0);
}

/* For tables in memory: eight bytes at a time. The texts come from a publisher, who could at most
 * slow his own projection. */
static inline uint64_t str_hash(Str s)
{
	uint64_t h = s.len * UINT64_C(0x9e3779b97f4a7c15), word;
	size_t i = 0;

	for (; i + 8 <= s.len; i += 8) {
		memcpy(&word, s.s + i, 8);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	word = 0;
	if (s.len > i)
		memcpy(&word, s.s + i, s.len - i);
	h = (h ^ word) * UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 29;
}

/* Allocation that cannot fail: a daemon without memory for a small block ends, and its
 * transactions with it, which is the one outcome that loses nothing. */
void *mem_alloc(size_t size);
void *mem_calloc(size_t n, size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);

/* A growing run of bytes. Zero-initialise to start; s is always NUL-terminated once written to. */
typedef struct {
	char *s;
	size_t len, cap;
} Buf;

void buf_reserve(Buf *b, size_t more);
void buf_add(Buf *b, const void *bytes, size_t n);
void buf_adds(Buf *b, const char *s);
void buf_addc(Buf *b, char c);
void buf_addf(Buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(Buf *b); /* keeps the memory */
void buf_free(Buf *b);
static inline Str buf_str(const Buf *b)
{
	return (Str){ b->s ? b->s : "", b->len };
}

/* Memory that is given back all at once. */
typedef struct Arena Arena;

Arena *arena_new(size_t block); /* `block`: bytes asked from the system at a time */
void *arena_alloc(Arena *a, size_t size);
Str arena_str(Arena *a, Str s); /* a copy, NUL-terminated */
char *arena_printf(Arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void arena_reset(Arena *a); /* everything handed out is gone; the first block is kept */
void arena_free(Arena *a);
