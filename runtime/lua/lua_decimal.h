#pragma once

#include <lua.h>

#include "base/mem.h"
#include "base/number.h"

/* A number that a double would change keeps its digits as a `decimal`: one object per value, so
 * that ==, table keys, tostring and JSON are exact. Arithmetic and `..` convert: `d + 0` is the
 * nearest double. Decimals compare with decimals by value; LuaJIT refuses `<` between a decimal
 * and a number (as it does for any two types), so write `d + 0 < 5`. */

void lua_decimal_setup(lua_State *L); /* called by lua_json_setup() */

/* [] -> [number or decimal], by the rule of number.h. The number must be in range. */
void lua_decimal_push(lua_State *L, const Number *n);

/* The canonical text of the decimal at `index`, which lives as long as the value; s == NULL where
 * it is none. */
Str lua_decimal_text(lua_State *L, int index);

/* The word `decimal`: decimal "12.50" -> number or decimal, as decoding would give. */
int lua_decimal_new(lua_State *L);

/* A tonumber() that also knows decimals: its one upvalue is the original. [tonumber] -> [ours] */
void lua_decimal_wrap_tonumber(lua_State *L);
