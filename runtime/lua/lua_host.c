#include "lua/lua_gate.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lua/lua_alloc.h"
#include "lua/lua_json.h"
#include "lua/lua_pattern.h"
#include "lua/lua_sandbox.h"
#include "lua/lua_source.h"
#include "lua/lua_trace.h"

#define MB ((size_t)1024 * 1024)

/* Processor time of one call: far beyond what its instructions take. */
#define CALL_NS        INT64_C(2000000000)
#define INSTRUCTION_NS 100

#define LARGE_HEAP (8 * MB) /* beyond what the processor caches */

enum {
	HOOK_EVERY = 1000,         /* instructions between two looks at the budget */
	STEPS_PER_INSTRUCTION = 4, /* the budget is kept in steps of about a nanosecond */
	BIG_BLOCK = 4096, /* allocations from here on cost steps: their bytes are touched */
	BYTES_PER_STEP = 8,
	C_STACK_LIMIT = 1024 * 1024, /* bytes of C stack that C and Lua may use in turns */
	SLOT_HANDLER = 1,            /* pinned on the stack: our message handler … */
	SLOT_ENTER,                  /* … and the function that calls a step */
};

struct LuaHost {
	lua_State *L;
	char *script;
	LuaFiles *files;
	char subject[128];
	LuaOptions options;
	LuaPool *pool;
	size_t used, limit, soft; /* bytes; beyond `soft` the hook collects garbage */
	bool collect, jit;
	bool guarded;    /* the budget counts although `jit` */
	unsigned hooked; /* the mask that is set */
	LuaLine line;    /* told of every line; NULL: nobody is */
	void *line_owner;
	LuaBudget budget;
	int64_t instructions;
	int64_t call_seen, call_cpu; /* when the hook first saw this call; 0: not yet */
	int every;                   /* what the hook is set to */
	const char *stack_base;
	Err failure; /* filled by the message handler or lua_host_raise() */
	bool raised;
	HandlerProgress own, *progress;
	const void *delete_word;
	void *owner;
	int environment, definition, nearest, upcaster; /* registry references */
};

static void on_hook(lua_State *L, lua_Debug *ar);

static void set_hook(LuaHost *h, int every)
{
	unsigned mask = h->jit && !h->guarded ? 0 : LUA_MASKCOUNT;

	if (h->line != NULL)
		mask |= LUA_MASKLINE;
	h->every = every;
	if (mask != 0 || h->hooked != 0)
		lua_sethook(h->L, mask ? on_hook : NULL, (int)mask, every);
	h->hooked = mask;
}

/* Compiled code calls no hooks: what was compiled before is thrown away. */
static void set_engine(LuaHost *h)
{
	bool on = !h->guarded && h->line == NULL;

	if (!h->jit)
		return;
	luaJIT_setmode(h->L, 0, LUAJIT_MODE_ENGINE | (on ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
	if (h->line != NULL)
		luaJIT_setmode(h->L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_FLUSH);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Instructions differ: joining long strings takes milliseconds and counts as one. So processor time
 * has a limit too, far beyond what the budget allows otherwise; the cheap clock says when to look.
 */
static bool is_slow(LuaHost *h)
{
	int64_t now = clock_ns(CLOCK_MONOTONIC_COARSE), limit = h->instructions * INSTRUCTION_NS;

	if (limit < CALL_NS)
		limit = CALL_NS;

	if (h->call_seen == 0) {
		h->call_seen = now;
		h->call_cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	}
	return now - h->call_seen > limit &&
	       clock_ns(CLOCK_THREAD_CPUTIME_ID) - h->call_cpu > limit;
}

static void fail_budget(lua_State *L, LuaHost *h)
{
	set_hook(h, 1);
	lua_pushfstring(L,
		"instruction budget exceeded (an endless loop, or very long texts? the budget is "
		"%f)",
		(double)h->instructions);
	lua_error(L);
}

/* Keeps raising once the budget is spent: pcall() cannot hide it. */
static void on_count(lua_State *L, LuaHost *h)
{
	h->budget.steps -= (int64_t)h->every * STEPS_PER_INSTRUCTION;
	if (h->collect)
		lua_host_relax(L, h);
	if (is_slow(h))
		h->budget.steps = -1;
	if (h->budget.steps >= 0) {
		if (h->every != HOOK_EVERY)
			set_hook(h, HOOK_EVERY);
		return;
	}
	fail_budget(L, h);
}

/* What watching costs is not the script's time. */
static void on_line(lua_State *L, LuaHost *h, lua_Debug *ar)
{
	int64_t before = h->call_seen == 0 ? 0 : clock_ns(CLOCK_THREAD_CPUTIME_ID);

	h->line(h->line_owner, L, ar);
	if (before != 0)
		h->call_cpu += clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
}

static void on_hook(lua_State *L, lua_Debug *ar)
{
	LuaHost *h = lua_host_of(L);

	if (ar->event == LUA_HOOKLINE)
		on_line(L, h, ar);
	else
		on_count(L, h);
}

void lua_host_watch(LuaHost *h, LuaLine fn, void *owner)
{
	h->line = fn;
	h->line_owner = owner;
	set_engine(h);
	set_hook(h, HOOK_EVERY);
}

void lua_host_guard(LuaHost *h, bool on)
{
	if (!h->jit)
		return;
	h->guarded = on;
	set_engine(h);
	set_hook(h, HOOK_EVERY);
}

void lua_host_spend(lua_State *L, int64_t steps)
{
	LuaHost *h = lua_host_of(L);

	h->budget.steps -= steps;
	if (h->budget.steps < 0)
		fail_budget(L, h);
}

/* Lua's memory. LuaJIT does not collect when it meets the limit, so the hook does it before; it may
 * not be done in here. */
static void *allocate(void *owner, void *block, size_t old, size_t size)
{
	LuaHost *h = owner;

	if (size == 0) {
		h->used -= old;
		return lua_pool_resize(h->pool, block, old, 0);
	}
	if (size > old && h->used + (size - old) > h->limit)
		return NULL;
	if (size > old && size >= BIG_BLOCK)
		h->budget.steps -= (int64_t)(size / BYTES_PER_STEP);
	block = lua_pool_resize(h->pool, block, old, size);
	if (block == NULL)
		return NULL;
	h->used += size - old;
	if (h->used > h->soft && !h->collect && h->L != NULL) {
		h->collect = true;
		set_hook(h, 1);
	}
	return block;
}

void lua_host_relax(lua_State *L, LuaHost *h)
{
	if (h->used <= h->soft)
		return;
	lua_gc(L, LUA_GCCOLLECT, 0);
	h->collect = false;
	h->soft =
		h->used + (h->limit - h->used) / 2; /* never beyond the limit, since used is not */
	if (h->soft < h->limit / 2)
		h->soft = h->limit / 2;
}

void lua_host_pace(lua_State *L, LuaHost *h)
{
	lua_gc(L, LUA_GCSETPAUSE, h->used > LARGE_HEAP ? 400 : 200);
}

LuaHost *lua_host_of(lua_State *L)
{
	void *owner;

	lua_getallocf(L, &owner);
	return owner;
}

lua_State *lua_host_state(LuaHost *h)
{
	return h->L;
}

/* ---- the gate ---- */

typedef struct {
	LuaStep step;
	void *arg;
} Entry;

static int enter(lua_State *L) /* [entry] -> [] */
{
	Entry *entry = lua_touserdata(L, 1);

	lua_settop(L, 0);
	entry->step(L, entry->arg);
	return 0;
}

static void note_failure(LuaHost *h, lua_State *L)
{
	lua_trace_describe(L, h->script, h->subject, &h->failure);
	if (h->budget.steps < 0)
		h->failure.kind = ERR_LIMIT;
	h->raised = true;
}

static int on_error(lua_State *L) /* [error] -> [error] */
{
	LuaHost *h = lua_host_of(L);

	if (!h->raised)
		note_failure(h, L);
	return 1;
}

const char *lua_host_label(const LuaHost *h)
{
	return h->subject[0] ? h->subject : h->script;
}

/* What lua_pcall's answer and the message handler's notes amount to. */
static void conclude(LuaHost *h, int rc, Err *err)
{
	char before[512], subject[sizeof(h->subject) + 2] = "";

	snprintf(before, sizeof(before), "%s: ", h->script);
	if (h->subject[0] != '\0')
		snprintf(subject, sizeof(subject), "%s: ", h->subject);
	if (rc == LUA_ERRMEM)
		err_set(&h->failure, ERR_NOMEM,
			"%s%smemory limit of %zu MB exceeded (keep less in the "
			"state, or raise `memory`)",
			before, subject, h->limit / MB);
	else if (!h->raised)
		err_set(&h->failure, ERR_SCRIPT, "%s%sstack overflow (endless recursion?)", before,
			subject);
	h->raised = false;
	if (err != NULL)
		*err = h->failure;
}

bool lua_gate(LuaHost *h, LuaStep step, void *arg, Err *err)
{
	lua_State *L = h->L;
	Entry entry = { step, arg };
	int rc;

	h->stack_base = __builtin_frame_address(0);
	h->raised = false;
	lua_host_refill(h, 0);
	lua_pushvalue(L, SLOT_ENTER);
	lua_pushlightuserdata(L, &entry);
	rc = lua_pcall(L, 1, 0, SLOT_HANDLER);
	if (rc != 0)
		conclude(h, rc, err);
	lua_settop(L, SLOT_ENTER);
	return rc == 0;
}

void lua_host_describe(LuaHost *h, lua_State *from, int rc, Err *err)
{
	if (rc != LUA_ERRMEM && !h->raised)
		note_failure(h, from);
	conclude(h, rc, err);
}

int lua_host_raise(lua_State *L, const Err *err)
{
	LuaHost *h = lua_host_of(L);

	h->failure = *err;
	h->raised = true;
	lua_pushnil(L);
	return lua_error(L);
}

void lua_host_refill(LuaHost *h, int64_t event_id)
{
	h->budget.steps = h->instructions * STEPS_PER_INSTRUCTION;
	h->call_seen = 0;
	set_hook(h, HOOK_EVERY);
	__atomic_store_n(&h->progress->event_id, event_id, __ATOMIC_RELAXED);
	__atomic_store_n(&h->progress->calls, h->progress->calls + 1, __ATOMIC_RELAXED);
}

int64_t lua_host_left(const LuaHost *h)
{
	return h->budget.steps;
}

void lua_host_go_on(LuaHost *h, int64_t left)
{
	h->budget.steps = left - HOOK_EVERY * STEPS_PER_INSTRUCTION;
	if (h->budget.steps < 0)
		set_hook(h, 1); /* it raises at once */
}

void lua_host_check_depth(lua_State *L)
{
	LuaHost *h = lua_host_of(L);
	const char *here = __builtin_frame_address(0);

	if (h->stack_base - here > C_STACK_LIMIT)
		luaL_error(L, "calls are nested too deeply (endless recursion?)");
}

void lua_host_subject(LuaHost *h, const char *subject)
{
	snprintf(h->subject, sizeof(h->subject), "%s", subject);
}

void lua_host_where(lua_State *L, int index, char *out, size_t size)
{
	lua_Debug ar;

	lua_pushvalue(L, index);
	lua_getinfo(L, ">S", &ar);
	snprintf(out, size, "%s:%d", ar.source + (ar.source[0] == '@'), ar.linedefined);
}

/* ---- opening ---- */

void lua_host_limits(LuaHost *h, size_t memory, int64_t budget, bool jit)
{
	if (memory > 0)
		h->limit = memory + 2 * h->options.states;
	h->soft = h->limit / 2;
	if (budget > 0)
		h->instructions = budget;
	h->jit = jit;
	set_engine(h);
	set_hook(h, HOOK_EVERY);
}

const LuaOptions *lua_host_options(const LuaHost *h)
{
	return &h->options;
}

size_t lua_host_states_limit(const LuaHost *h)
{
	return h->options.states;
}

void lua_host_push_environment(lua_State *L, LuaHost *h)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, h->environment);
}

void lua_host_push_definition(lua_State *L, LuaHost *h)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, h->definition);
	lua_call(L, 0, 1);
}

void lua_host_push_upcaster(lua_State *L, LuaHost *h)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, h->upcaster);
}

void lua_host_nearest(lua_State *L, LuaHost *h, const char *word)
{
	lua_rawgeti(L, LUA_REGISTRYINDEX, h->nearest); /* [list nearest] */
	lua_insert(L, -2);
	lua_pushstring(L, word);
	lua_insert(L, -2); /* [nearest word list] */
	lua_call(L, 2, 1);
}

bool lua_host_is_delete(const LuaHost *h, lua_State *L, int index)
{
	return lua_topointer(L, index) == h->delete_word;
}

void lua_host_own(LuaHost *h, void *owner)
{
	h->owner = owner;
}

void *lua_host_owner(const LuaHost *h)
{
	return h->owner;
}

const char *lua_host_script(const LuaHost *h)
{
	return h->script;
}

LuaFiles *lua_host_files(const LuaHost *h)
{
	return h->files;
}

void lua_host_log(const LuaHost *h, const char *line)
{
	if (h->options.log != NULL)
		h->options.log(h->options.log_owner, h->script, line);
}

/* [native] -> []; keeps what the prelude's init returns */
static void start_prelude(lua_State *L, LuaHost *h)
{
	lua_getfield(L, 1, "delete");
	h->delete_word = lua_topointer(L, -1);
	lua_pop(L, 1);
	lua_source_prelude(L, "init"); /* [native init] */
	lua_insert(L, 1);
	lua_call(L, 1, 4); /* [environment definition nearest upcaster] */
	h->upcaster = luaL_ref(L, LUA_REGISTRYINDEX);
	h->nearest = luaL_ref(L, LUA_REGISTRYINDEX);
	h->definition = luaL_ref(L, LUA_REGISTRYINDEX);
	h->environment = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void open_words(lua_State *L, void *arg)
{
	LuaHost *h = arg;

	lua_pattern_budget(L, &h->budget);
	lua_sandbox_open(L, h);
	lua_source_open(L);
	start_prelude(L, h);
}

static LuaHost *new_host(const LuaOptions *options, const char *script)
{
	LuaHost *h = mem_calloc(1, sizeof(*h));

	h->options = *options;
	h->files = lua_files_open(options->workspace);
	h->script = mem_strdup(script);
	h->progress = options->progress ? options->progress : &h->own;
	if (h->options.memory == 0)
		h->options.memory = 64 * MB;
	if (h->options.states == 0)
		h->options.states = 32 * MB;
	h->instructions = options->budget ? options->budget : 10000000;
	h->limit = h->options.memory + 2 * h->options.states;
	h->soft = h->limit / 2;
	h->pool = lua_pool_open();
	return h;
}

LuaHost *lua_host_open(const LuaOptions *options, const char *script, Err *err)
{
	LuaHost *h = new_host(options, script);

	if (options->files.s != NULL && !lua_files_bundled(h->files, options->files, err))
		goto fail;
	h->L = lua_newstate(allocate, h);
	if (h->L == NULL) {
		err_set(err, ERR_NOMEM, "%s: no memory for a Lua state", script);
		goto fail;
	}
	lua_pushcfunction(h->L, on_error); /* SLOT_HANDLER */
	lua_pushcfunction(h->L, enter);    /* SLOT_ENTER */
	if (!lua_gate(h, open_words, h, err))
		goto fail;
	return h;
fail:
	lua_host_close(h);
	return NULL;
}

void lua_host_close(LuaHost *h)
{
	lua_State *L;

	if (h == NULL)
		return;
	L = h->L;
	if (L != NULL) {
		lua_sethook(L, NULL, 0, 0);
		h->L = NULL;
		lua_close(L);
	}
	lua_pool_close(h->pool);
	lua_files_close(h->files);
	free(h->script);
	free(h);
}

size_t lua_host_memory(const LuaHost *h)
{
	return h->used;
}
