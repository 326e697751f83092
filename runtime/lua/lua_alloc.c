#include "lua/lua_alloc.h"

#include <stdlib.h>

/* Under AddressSanitizer every block is malloc's, so that it sees what is used after it was freed.
 */
#ifdef __SANITIZE_ADDRESS__
#define SMALL_MAX ((size_t)0)
#else
#define SMALL_MAX ((size_t)512)
#endif

enum { GRAIN = 16, CLASSES = 512 / GRAIN + 1, PIECE = 64 * 1024 };

typedef struct Free {
	struct Free *next;
} Free;

struct LuaPool {
	Free *free[CLASSES]; /* by size / GRAIN, rounded up */
	char *at, *end;      /* what is left of the newest piece */
	Free *pieces;
};

LuaPool *lua_pool_open(void)
{
	return mem_calloc(1, sizeof(LuaPool));
}

void lua_pool_close(LuaPool *p)
{
	if (p == NULL)
		return;
	while (p->pieces != NULL) {
		Free *next = p->pieces->next;

		free(p->pieces);
		p->pieces = next;
	}
	free(p);
}

static bool add_piece(LuaPool *p)
{
	Free *piece = malloc(PIECE);

	if (piece == NULL)
		return false;
	piece->next = p->pieces;
	p->pieces = piece;
	p->at = (char *)piece + GRAIN;
	p->end = (char *)piece + PIECE;
	return true;
}

static void *take(LuaPool *p, size_t size)
{
	size_t class = (size + GRAIN - 1) / GRAIN;
	Free *block = p->free[class];

	if (block != NULL) {
		p->free[class] = block->next;
		return block;
	}
	if ((size_t)(p->end - p->at) < class * GRAIN && !add_piece(p))
		return NULL;
	block = (Free *)p->at;
	p->at += class * GRAIN;
	return block;
}

static void give(LuaPool *p, void *block, size_t size)
{
	size_t class = (size + GRAIN - 1) / GRAIN;
	Free *free_block = block;

	free_block->next = p->free[class];
	p->free[class] = free_block;
}

void *lua_pool_resize(LuaPool *p, void *block, size_t old, size_t size)
{
	bool was_small = block != NULL && old <= SMALL_MAX, is_small = size <= SMALL_MAX;
	void *fresh;

	if (size == 0) {
		if (was_small && SMALL_MAX > 0)
			give(p, block, old);
		else
			free(block);
		return NULL;
	}
	if (!was_small && !is_small)
		return realloc(block, size);
	fresh = is_small ? take(p, size) : malloc(size);
	if (fresh == NULL || block == NULL)
		return fresh;
	memcpy(fresh, block, old < size ? old : size);
	if (was_small)
		give(p, block, old);
	else
		free(block);
	return fresh;
}
