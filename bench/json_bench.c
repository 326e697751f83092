/* What the JSON codec costs per document: decode, adopt and encode, in nanoseconds (the median of
 * several rounds). */
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lua/lua_json.h"

enum { ROUNDS = 9, LOOPS = 50000 };

/* As PostgreSQL writes a jsonb column. */
static const char EVENT[] =
	"{\"ip\": \"10.31.4.118\", \"cpu\": 41.5, \"name\": \"sensor-gateway-0042\", \"site\": "
	"\"berlin-02\", \"uuid\": \"7d3f2a10-9c1e-4b7a-8f55-0242ac120002\", \"image\": "
	"\"registry.example.com/fleet/agent:1.14.2\", \"tags\": [\"edge\", \"arm64\", \"canary\"], "
	"\"online\": true, \"region\": \"eu-central-1\", \"uptime\": 864213, \"battery\": null, "
	"\"firmware\": \"2024.11.3\", \"memory_mb\": 2048, \"reason\": \"scheduled restart after "
	"update\", "
	"\"reported_at\": 1731942123.481516, \"container\": \"c0ffee12\"}";
static const char FLAT[] =
	"{\"a01\":1,\"a02\":2,\"a03\":\"three\",\"a04\":true,\"a05\":5.5,\"a06\":\"eu-central-1\","
	"\"a07\":7,\"a08\":\"2024-11-18T09:00:00Z\",\"a09\":9,\"a10\":false,\"a11\":11,\"a12\":"
	"\"twelve\","
	"\"a13\":13,\"a14\":\"7d3f2a10-9c1e-4b7a-8f55-0242ac120002\",\"a15\":15,\"a16\":null,"
	"\"a17\":17,"
	"\"a18\":\"online\",\"a19\":1731942123.481516,\"a20\":20}";
static const char NESTED[] =
	"{\"target\":{\"apps\":{\"1\":{\"name\":\"web\",\"image\":\"web:1\",\"ports\":[80,443]},"
	"\"2\":{\"name\":\"db\",\"image\":\"pg:15\",\"ports\":[5432]}}},\"current\":{\"apps\":{"
	"\"1\":"
	"{\"name\":\"web\",\"image\":\"web:1\",\"ports\":[80,443]}}},\"tags\":[\"a\",\"b\"],\"n\":"
	"3}";

typedef bool (*Work)(lua_State *L, Str text, LuaJsonOwner *owner, Buf *out, Err *err);

static bool decode(lua_State *L, Str text, LuaJsonOwner *owner, Buf *out, Err *err)
{
	bool ok = lua_json_decode(L, text, err);

	(void)owner, (void)out;
	lua_settop(L, 1);
	return ok;
}

static bool adopt(lua_State *L, Str text, LuaJsonOwner *owner, Buf *out, Err *err)
{
	(void)text, (void)out;
	return lua_json_adopt(L, 1, owner, "state", STR("device-1"), err);
}

static bool encode(lua_State *L, Str text, LuaJsonOwner *owner, Buf *out, Err *err)
{
	(void)text, (void)owner;
	buf_clear(out);
	return lua_json_encode(L, 1, out, "state", err);
}

static bool check(lua_State *L, Str text, LuaJsonOwner *owner, Buf *out, Err *err)
{
	(void)L, (void)owner, (void)out;
	return json_check_jsonb(text, 0, err);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median_ns(lua_State *L, Work work, Str text, LuaJsonOwner *owner, Buf *out, Err *err)
{
	double rounds[ROUNDS];

	for (int r = 0; r < ROUNDS; r++) {
		double start = now_ns();

		for (int i = 0; i < LOOPS; i++)
			if (!work(L, text, owner, out, err))
				return -1;
		rounds[r] = (now_ns() - start) / LOOPS;
	}
	qsort(rounds, ROUNDS, sizeof(*rounds), compare);
	return rounds[ROUNDS / 2];
}

static bool measure(lua_State *L, const char *name, Str text, const char *only, Err *err)
{
	static const struct {
		const char *name;
		Work fn;
	} works[] = { { "check", check }, { "decode", decode }, { "adopt", adopt },
		{ "encode", encode } };
	LuaJsonOwner owner = { 0 };
	Buf out = { 0 };
	double ns = 0;

	lua_settop(L, 0);
	if (!lua_json_decode(L, text, err))
		return false;
	printf("%-8s %4zu bytes", name, text.len);
	for (size_t i = 0; i < sizeof(works) / sizeof(*works) && ns >= 0; i++) {
		if (only != NULL && strcmp(only, works[i].name) != 0)
			continue;
		ns = median_ns(L, works[i].fn, text, &owner, &out, err);
		printf("  %s %5.0f ns", works[i].name, ns);
	}
	printf("\n");
	buf_free(&out);
	lua_json_disown(L, &owner);
	return ns >= 0;
}

int main(int argc, char **argv)
{
	const char *only = argc > 1 ? argv[1] : NULL;
	lua_State *L = luaL_newstate();
	bool ok;
	Err err;

	lua_json_setup(L);
	ok = measure(L, "event", STR(EVENT), only, &err) &&
	     measure(L, "flat", STR(FLAT), only, &err) &&
	     measure(L, "nested", STR(NESTED), only, &err);
	if (!ok)
		fprintf(stderr, "%s\n", err.message);
	lua_close(L);
	return ok ? 0 : 1;
}
