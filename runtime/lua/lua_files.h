#pragma once

#include "base/err.h"
#include "base/mem.h"

/* The files that a script is made of: where they are read, and which of them were. A script can so
 * be opened again later from these files alone. */
typedef struct LuaFiles LuaFiles;

/* From the folders of `workspace`; or, where bundle.s != NULL, from this JSON {path: text} alone.
 */
LuaFiles *lua_files_open(const char *workspace);
bool lua_files_bundled(LuaFiles *f, Str bundle, Err *err);
void lua_files_close(LuaFiles *f);

/* `path` is the workspace's name of the file ("projections/x.lua"): what errors say. */
bool lua_files_has(const LuaFiles *f, const char *path);

/* Reads a file, unless it was read before, and counts it among those of the script. *text lives
 * until lua_files_back() or lua_files_close(). */
bool lua_files_read(LuaFiles *f, const char *path, Str *text, Err *err);

/* What another script is made of counts among the files of this one, with the texts that it has. */
bool lua_files_adopt(LuaFiles *f, const LuaFiles *other, Err *err);

/* The paths of the scripts in a folder, bytewise in order: none where there is no such folder. To
 * be freed with lua_files_free_list(). */
bool lua_files_list(const LuaFiles *f, const char *folder, char ***paths, size_t *n, Err *err);
void lua_files_free_list(char **paths, size_t n);

/* How many were read; what was read since then does not belong to the script after all. */
size_t lua_files_count(const LuaFiles *f);
void lua_files_at(const LuaFiles *f, size_t i, Str *path, Str *text); /* one that was read */
void lua_files_back(LuaFiles *f, size_t count);

/* The script is complete: nothing may be read from now on. */
void lua_files_seal(LuaFiles *f);

/* SHA-256 (hex) of the names and texts that were read, in their order. */
void lua_files_digest(const LuaFiles *f, char out[65]);
void lua_files_bundle(const LuaFiles *f, Buf *out); /* appends them as JSON {path: text} */
