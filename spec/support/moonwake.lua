--- Runs the built program, and says what it printed and how it ended.
--
--   local moonwake = require "spec.support.moonwake"
--   local r = moonwake.run({ "publish", "a", "b", "c" }, { db = dsn })   -- r.code, r.out, r.err
--   local p = moonwake.spawn({ "tail" }, { db = dsn })                   -- p:out(), p:signal("TERM"), p:wait()
--
-- options: db (DATABASE_URL), stdin (text), env (table), cwd, timeout (seconds; run() only)
local ffi = require "ffi"
local files = require "spec.support.files"
local pg = require "spec.support.pg"

ffi.cdef [[
int kill(int pid, int sig);
]]

local SIGNALS = { INT = 2, KILL = 9, USR1 = 10, TERM = 15, CONT = 18, STOP = 19 }

local moonwake = {}
local Process = {}
Process.__index = Process

local function absolute(path)
  return path:sub(1, 1) == "/" and path or files.command("pwd") .. "/" .. path
end

moonwake.bin = absolute(os.getenv("MOONWAKE_BIN") or "build/moonwake")

--- A shell command that limits the memory of what follows it. The address sanitizer reserves terabytes: under it the
-- limit cannot be set, and what a spec says about memory is left to the other builds.
function moonwake.limit_memory(kilobytes)
  local sanitized = files.command("grep -c __asan_init " .. files.quote(moonwake.bin) .. " || true") ~= "0"
  return sanitized and "true" or "ulimit -v " .. kilobytes
end

--- The environment is the spec's own but for what names a database or colours.
local function shell_command(args, opts, base)
  local words = { "env -u DATABASE_URL -u PGHOST -u PGPORT -u PGDATABASE -u PGUSER NO_COLOR=1" }
  local env = opts.env or {}

  if opts.db then
    words[#words + 1] = "DATABASE_URL=" .. files.quote(opts.db)
  end
  for name, value in pairs(env) do
    words[#words + 1] = name .. "=" .. files.quote(value)
  end
  words[#words + 1] = files.quote(opts.program or moonwake.bin)
  for _, arg in ipairs(args) do
    words[#words + 1] = files.quote(arg)
  end
  local stdin = "/dev/null"
  if opts.stdin then
    stdin = files.write(base .. ".in", opts.stdin)
  end
  return ("cd %s && exec %s >%s.out 2>%s.err <%s"):format(
    files.quote(opts.cwd or "."), table.concat(words, " "), base, base, opts.fifo or stdin)
end

--- Starts the program and returns at once.
function moonwake.spawn(args, opts)
  opts = opts or {}
  local base = files.dir() .. "/run"
  local command = shell_command(args, opts, base)
  -- A shell stays to note the exit code; a child that is not waited for has none.
  os.execute(("{ ( %s ) & echo $! >%s.pid.new; mv %s.pid.new %s.pid; wait $!; echo $? >%s.code.new; "
    .. "mv %s.code.new %s.code; } >/dev/null 2>&1 &"):format(command, base, base, base, base, base, base))
  local pid = pg.eventually(function() return files.read(base .. ".pid") end, 10, "a pid")
  return setmetatable({ base = base, pid = tonumber(pid) }, Process)
end

function Process:out()
  return files.read(self.base .. ".out") or ""
end

function Process:err()
  return files.read(self.base .. ".err") or ""
end

--- The exit code, or nil while it runs.
function Process:code()
  return tonumber(files.read(self.base .. ".code") or "")
end

function Process:signal(name)
  ffi.C.kill(self.pid, assert(SIGNALS[name]))
end

--- Waits for the end; kills it and fails where that does not come.
function Process:wait(timeout)
  local ok, problem = pcall(pg.eventually, function() return self:code() end, timeout or 60, "the program's end")
  if not ok then
    self:signal("KILL")
    error(problem .. "\n" .. self:out():sub(-2000) .. self:err():sub(-2000), 2)
  end
  return self:code()
end

--- Waits until its output (or, with "err", its messages) matches a pattern; returns the captures.
function Process:expect(pattern, stream, timeout)
  local text
  local ok, found = pcall(pg.eventually, function()
    text = self[stream or "out"](self)
    return text:match(pattern)
  end, timeout or 20, "output")
  if not ok then
    error(("no '%s' in:\n%s\n%s"):format(pattern, text, self:err()), 2)
  end
  return found
end

--- Runs the program to its end.
function moonwake.run(args, opts)
  local process = moonwake.spawn(args, opts)
  local code = process:wait(opts and opts.timeout or 120)
  return { code = code, out = process:out(), err = process:err() }
end

--- run(), which must succeed; returns the output.
function moonwake.must(args, opts)
  local r = moonwake.run(args, opts)
  if r.code ~= 0 then
    error(("moonwake %s: exit code %d\n%s%s"):format(table.concat(args, " "), r.code, r.out, r.err), 2)
  end
  return r.out
end

local template = "moonwake_migrated"
local serial = 0

--- A new database on the shared server with the schema installed by `migrate`: its conninfo and name.
function moonwake.database(server)
  server = server or pg.shared()
  if server.migrated_by_us == nil then
    server:dropdb(template)
    server:createdb(template)
    moonwake.must({ "migrate" }, { db = server.dsn(template) })
    server.migrated_by_us = true
  end
  serial = serial + 1
  local name = ("cli_%d_%d"):format(os.time() % 100000, serial)
  server:dropdb(name)
  server:createdb(name, { template = template })
  return server.dsn(name), name
end

return moonwake
