-- C as the specs see it: the real headers, run through the preprocessor with empty system headers,
-- so that a signature cannot drift from its declaration.
local ffi = require "ffi"

local c = { build = os.getenv("MOONWAKE_BUILD") or "build" }

ffi.cdef [[
typedef struct lua_State lua_State;
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_timer_s uv_timer_t;
]]

local seen, lib = {}, nil

--- Declares headers (paths below runtime/) and returns the library's namespace.
function c.load(headers)
  lib = lib or ffi.load(c.build .. "/libmoonwake.so")
  for _, header in ipairs(headers) do
    local cmd = ("cc -E -P -nostdinc -Ispec/support/empty -Iruntime -I%s runtime/%s"):format(c.build, header)
    local pipe = assert(io.popen(cmd))
    local text = pipe:read("*a")
    pipe:close()
    -- One declaration may come with several headers: each is declared once.
    for decl in c.declarations(text) do
      if not seen[decl] then
        seen[decl] = true
        ffi.cdef(decl)
      end
    end
  end
  return lib
end

--- Splits preprocessed C into top-level declarations; bodies of inline functions are dropped.
function c.declarations(text)
  return coroutine.wrap(function()
    local depth, start, at = 0, 1, 1
    while at <= #text do
      local ch = text:sub(at, at)
      if ch == "{" then
        depth = depth + 1
      elseif ch == "}" then
        depth = depth - 1
        local decl = text:sub(start, at)
        if depth == 0 and decl:match("^%s*static") then
          start = at + 1
        end
      elseif ch == ";" and depth == 0 then
        local decl = text:sub(start, at):gsub("^%s+", "")
        if not decl:match("^_Static_assert") then
          coroutine.yield(decl)
        end
        start = at + 1
      end
      at = at + 1
    end
  end)
end

return c
