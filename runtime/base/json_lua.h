#pragma once

#include "base/mem.h"

/* Appends a JSON value as a Lua expression that a spec can hold: `{ site = "lisbon", tags = { "a" }
 * }`. What Lua's own values cannot say is a word of scripts: json.null, array {}, decimal "1.50".
 * The text must be valid JSON. */
void json_add_lua(Buf *out, Str json);

/* Appends a Lua string literal. */
void json_add_lua_string(Buf *out, Str text);
