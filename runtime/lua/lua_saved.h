#pragma once

#include "lua/lua_script.h"

/* States as they were before an event, to be put back where it fails. Zero-initialise. */
typedef struct {
	struct SavedState *at;
	size_t count, cap;
} Saved;

void saved_add(lua_State *L, Script *s, Saved *u, uint32_t slot); /* raises. [] -> [] */
void saved_put_back(lua_State *L, Script *s, Saved *u);           /* raises. [] -> [] */
size_t saved_count(const Saved *u);
uint32_t saved_slot(const Saved *u, size_t i);
void saved_drop(Saved *u); /* it went well */
void saved_free(Saved *u);
