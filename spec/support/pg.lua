--- A private PostgreSQL for specs: a cluster in a fresh folder, reached by a unix socket, driven through psql.
--
--   local pg = require "spec.support.pg"
--   local server = pg.shared()            -- one for the whole run; or pg.start{ settings = {...} }
--   local db = server:fresh()             -- a new database with all migrations applied
--   server:psql("SELECT 1", { db = db, user = "moonwake_run" })
--
-- A helper process at the end of a pipe stops the server and removes its folder when this process is
-- gone, whatever became of it.
local ffi = require "ffi"

ffi.cdef [[
int poll(void *fds, unsigned long nfds, int timeout);
int fileno(void *stream);
int fcntl(int fd, int cmd, ...);
unsigned geteuid(void);
]]

local F_SETFD, FD_CLOEXEC = 2, 1
local FIELD, ROW = "\31", "\30"
local REGISTRY_KEY = "moonwake.spec.pg"

local pg = {}
local Server = {}
Server.__index = Server
local Session = {}
Session.__index = Session


local function quote(text)
  return "'" .. tostring(text):gsub("'", [['\'']]) .. "'"
end

local function slurp(path)
  local file = io.open(path, "rb")
  if not file then
    return ""
  end
  local text = file:read("*a")
  file:close()
  return text
end

local function spill(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function capture(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a")
  pipe:close()
  return (text:gsub("%s+$", ""))
end

local function succeeded(a, _, code)
  return a == true or (a == 0) or (a ~= nil and code == 0)
end

local function run(command, log)
  if not succeeded(os.execute(("{ %s ; } >>%s 2>&1"):format(command, quote(log)))) then
    error(("%s\n%s"):format(command, slurp(log)), 3)
  end
end

--- A pipe that later children do not inherit: its reader sees the end when we end.
local function private_pipe(command)
  local pipe = assert(io.popen(command, "w"))
  ffi.C.fcntl(ffi.C.fileno(pipe), F_SETFD, ffi.new("int", FD_CLOEXEC))
  pipe:setvbuf("no")
  return pipe
end

--- Survives busted's insulation of modules between spec files.
local function process_state()
  local registry = debug.getregistry()
  registry[REGISTRY_KEY] = registry[REGISTRY_KEY] or { serial = 0 }
  return registry[REGISTRY_KEY]
end

local function serial()
  local state = process_state()
  state.serial = state.serial + 1
  return state.serial
end

function pg.sleep(seconds)
  ffi.C.poll(nil, 0, math.floor(seconds * 1000))
end

--- Calls `check` until it returns something true, and returns that; an error after `timeout` seconds.
function pg.eventually(check, timeout, what)
  local deadline = (timeout or 10) * 1000
  local waited = 0
  while true do
    local value = check()
    if value then
      return value
    end
    if waited >= deadline then
      error(("waited %g s for %s"):format(timeout or 10, what or "a condition"), 2)
    end
    ffi.C.poll(nil, 0, 10)
    waited = waited + 10
  end
end

local function bin_dir()
  local from_env = os.getenv("PG_BIN")
  if from_env then
    return from_env
  end
  local newest = capture("ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -t/ -k5 -n | tail -1")
  if newest ~= "" then
    return newest
  end
  return capture("pg_config --bindir")
end

local function as_user()
  return ffi.C.geteuid() == 0 and "runuser -u postgres -- " or ""
end

--- Made once for each process: initdb takes a second, a copy a tenth.
local function template(bin)
  local state = process_state()
  if not state.template then
    local dir = capture("mktemp -d /tmp/mwpg-XXXXXX")
    local user = as_user()
    state.reaper = private_pipe(("trap '' INT TERM HUP; cat >/dev/null; rm -rf %s"):format(quote(dir)))
    if user ~= "" then
      run("chown postgres " .. quote(dir), "/dev/null")
    end
    run(("cd / && %s%s/initdb -D %s/data -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync")
      :format(user, bin, dir), dir .. "/log")
    state.template = dir .. "/data"
  end
  return state.template
end

local DEFAULTS = {
  listen_addresses = "",
  fsync = "off",
  max_connections = 120,
  max_prepared_transactions = 10,
  shared_buffers = "64MB",
  max_wal_size = "4GB",
  logging_collector = "off",
  log_line_prefix = "%m [%p] %a ",
}

local function write_settings(server, settings)
  local lines = {}
  local all = { unix_socket_directories = server.dir }
  for name, value in pairs(DEFAULTS) do
    all[name] = value
  end
  for name, value in pairs(settings or {}) do
    all[name] = value
  end
  for name, value in pairs(all) do
    lines[#lines + 1] = ("%s = '%s'"):format(name, tostring(value))
  end
  table.sort(lines)
  local file = assert(io.open(server.data .. "/postgresql.conf", "ab"))
  file:write("\n", table.concat(lines, "\n"), "\n")
  file:close()
end

--- Starts a server of its own. options:
--   settings   name -> value for postgresql.conf
--   faketime   true: its clock is set by server:clock("+2d") (libfaketime's words)
function pg.start(options)
  options = options or {}
  local bin = bin_dir()
  local source = template(bin)
  local dir = capture("mktemp -d /tmp/mwpg-XXXXXX")
  local server = setmetatable({
    dir = dir,
    data = dir .. "/data",
    log = dir .. "/server.log",
    bin = bin,
    port = 5432,
    env = "",
    sessions = {},
  }, Server)

  server.reaper = private_pipe(("trap '' INT TERM HUP; cat >/dev/null; cd / && "
    .. "%s%s/pg_ctl -D %s -m immediate stop >/dev/null 2>&1; rm -rf %s")
    :format(as_user(), bin, quote(server.data), quote(dir)))
  run(("cp -a %s %s"):format(quote(source), quote(server.data)), dir .. "/log")
  write_settings(server, options.settings)
  if options.faketime then
    server.clock_file = dir .. "/clock"
    server:clock("+0")
    server.env = ("env LD_PRELOAD=%s FAKETIME_TIMESTAMP_FILE=%s FAKETIME_NO_CACHE=1 "
      .. "FAKETIME_DONT_FAKE_MONOTONIC=1 "):format(
      capture("ls /usr/lib/*/faketime/libfaketimeMT.so.1 | head -1"), quote(server.clock_file))
  end
  if as_user() ~= "" then
    run(("chown postgres %s && chmod 755 %s"):format(quote(dir), quote(dir)), "/dev/null")
  end
  function server.dsn(db, user, ...)
    if db == server then -- called with a colon
      db, user = user, (...)
    end
    return ("host=%s port=%d dbname=%s user=%s"):format(
      dir, server.port, db or "postgres", user or "postgres")
  end
  server:start()
  return server
end

--- The server that all specs of this process share. Give each spec its own database: server:fresh().
function pg.shared()
  local state = process_state()
  if not state.shared then
    state.shared = pg.start()
  end
  return state.shared
end

function Server:start()
  run(("cd / && %s%s%s/pg_ctl -D %s -l %s -w -t 60 start"):format(
    as_user(), self.env, self.bin, quote(self.data), quote(self.log)), self.dir .. "/ctl.log")
end

function Server:halt(mode)
  run(("cd / && %s%s/pg_ctl -D %s -m %s -w -t 60 stop"):format(
    as_user(), self.bin, quote(self.data), mode or "fast"), self.dir .. "/ctl.log")
end

--- mode: "fast" or "immediate" (a crash).
function Server:restart(mode)
  self:halt(mode)
  self:start()
end

--- Ends the server and removes its folder.
function Server:stop()
  if self.reaper then
    self.reaper:close()
    self.reaper = nil
  end
end

--- Sets the clock of a server started with faketime = true: "+2d", "-1h", "@2031-01-01 23:59:58".
function Server:clock(offset)
  spill(self.clock_file .. ".new", offset .. "\n")
  os.execute(("chmod 644 %s.new; mv %s.new %s"):format(
    quote(self.clock_file), quote(self.clock_file), quote(self.clock_file)))
end

function Server:_psql(sql, opts, flags)
  local n = serial()
  local base = ("%s/psql-%d"):format(self.dir, n)
  spill(base .. ".sql", sql)
  -- what waits for ever should fail its spec, not hang the run
  local ok = succeeded(os.execute(("PGOPTIONS='-c statement_timeout=120s' %s/psql -X -q -A -t -v ON_ERROR_STOP=1 %s -d %s <%s.sql >%s.out 2>%s.err"):format(
    self.bin, flags or "", quote(self.dsn(opts.db, opts.user)), base, base, base)))
  local out, err = slurp(base .. ".out"), slurp(base .. ".err")
  os.remove(base .. ".sql")
  os.remove(base .. ".out")
  os.remove(base .. ".err")
  return ok, out, err
end

--- Runs SQL through psql and returns its output without the last newline. An error carries psql's
-- stderr; with opts.fail_ok the answer is then nil, stderr.
function Server:psql(sql, opts)
  opts = opts or {}
  local ok, out, err = self:_psql(sql, opts, opts.flags)
  if not ok then
    if opts.fail_ok then
      return nil, err
    end
    error(("psql: %s\n%s"):format(err, sql:sub(1, 400)), 2)
  end
  return (out:gsub("\n$", "")), err
end

--- One statement's rows, as lists of strings (NULL is "").
function Server:query(sql, opts)
  opts = opts or {}
  local ok, out, err = self:_psql(sql, opts, [[-F $(printf '\037') -R $(printf '\036')]])
  if not ok then
    error(("psql: %s\n%s"):format(err, sql:sub(1, 400)), 2)
  end
  local rows = {}
  out = out:gsub("\n$", "")
  if out == "" then
    return rows
  end
  for line in (out .. ROW):gmatch("(.-)" .. ROW) do
    local row = {}
    for cell in (line .. FIELD):gmatch("(.-)" .. FIELD) do
      row[#row + 1] = cell
    end
    rows[#rows + 1] = row
  end
  return rows
end

--- The SQLSTATE and the message of SQL that must fail; an error when it does not.
function Server:failure(sql, opts)
  opts = opts or {}
  local ok, out, err = self:_psql(sql, opts, "-v VERBOSITY=verbose")
  if ok then
    error(("expected a failure, got: %s\n%s"):format(out, sql:sub(1, 400)), 2)
  end
  local state, message = err:match("ERROR:  (%w+): ([^\n]*)")
  if not state then
    state, message = err:match("FATAL:  (%w+): ([^\n]*)")
  end
  return state, message, err
end

function Server:createdb(name, opts)
  opts = opts or {}
  local from = opts.template and (' TEMPLATE "%s" STRATEGY file_copy'):format(opts.template) or ""
  self:psql(('CREATE DATABASE "%s"%s'):format(name, from))
  return name
end

function Server:dropdb(name)
  self:psql(('DROP DATABASE IF EXISTS "%s" WITH (FORCE)'):format(name))
end

local function migrations()
  local files = {}
  for path in io.popen("ls sql/[0-9]*.sql"):lines() do
    files[#files + 1] = path
  end
  table.sort(files)
  return files
end

--- Applies sql/[0-9]*.sql in order, each in one transaction. opts.user, opts.upto ("0004"), opts.schema.
function Server:migrate(db, opts)
  opts = opts or {}
  for _, path in ipairs(migrations()) do
    if not opts.upto or path:match("(%d+)_") <= opts.upto then
      local text = slurp(path)
      if opts.schema then
        text = (" " .. text):gsub("(.)%f[%w_]moonwake%f[^%w_]", function(before)
          return before .. (before == "'" and "moonwake" or opts.schema)
        end):sub(2)
      end
      local ok, _, err = self:_psql(text, { db = db, user = opts.user }, "-1")
      if not ok then
        error(("%s: %s"):format(path, err), 2)
      end
    end
  end
end

--- A new database with all migrations applied; returns its name. Copied from a template: a few ms.
function Server:fresh(prefix)
  if not self.migrated then
    self:createdb("moonwake_template")
    self:migrate("moonwake_template")
    self.migrated = true
  end
  local name = ("%s_%d"):format(prefix or "spec", serial())
  return self:createdb(name, { template = "moonwake_template" })
end


--- A psql of its own that stays open, for transactions that are held open:
--   local s = server:session{ db = db, user = "moonwake_publish" }
--   s:run("BEGIN; SELECT ...")          -- sends and waits; returns the output, errors included
--   s:send("SELECT publish_event(...)") -- sends only; s:busy() tells, s:read(seconds) waits
--   s:close()
function Server:session(opts, db)
  if type(opts) == "string" then
    opts = { user = opts, db = db }
  end
  opts = opts or {}
  local session = setmetatable({
    out = ("%s/session-%d.out"):format(self.dir, serial()),
    sent = 0,
    answered = 0,
    from = 0,
    server = self,
  }, Session)
  spill(session.out, "")
  -- `cat` takes what is sent after psql died: a write to a closed pipe would kill this process
  session.pipe = private_pipe(("{ %s/psql -X -q -A -t -v VERBOSITY=%s -d %s; echo '<closed>'; } >>%s 2>&1; "
    .. "cat >/dev/null"):format(self.bin, opts.verbosity or "default",
    quote(self.dsn(opts.db, opts.user)), quote(session.out)))
  return session
end

function Session:send(sql)
  self.sent = self.sent + 1
  self.pipe:write(sql, "\n;\n\\warn <done ", self.sent, ">\n")
  self.pipe:flush()
end

--- True while what was sent is still running.
function Session:busy()
  if self.answered == self.sent then
    return false
  end
  local text = slurp(self.out):sub(self.from + 1)
  return not text:find(("<done %d>"):format(self.sent), 1, true) and not text:find("<closed>", 1, true)
end

--- Waits until all that was sent has run and returns its output (results and errors) without the last newline.
function Session:read(timeout)
  local mark = ("<done %d>\n"):format(self.sent)
  local text
  pg.eventually(function()
    text = slurp(self.out)
    return text:find(mark, self.from + 1, true) or text:find("<closed>", self.from + 1, true)
  end, timeout or 20, "a session's answer")
  local answer = text:sub(self.from + 1)
  self.from = #text
  self.answered = self.sent
  return (answer:gsub("<done %d+>\n", ""):gsub("\n$", ""))
end

function Session:run(sql, timeout)
  self:send(sql)
  return self:read(timeout)
end

function Session:close()
  if self.pipe then
    self.pipe:write("\n\\q\n")
    self.pipe:close()
    self.pipe = nil
    os.remove(self.out)
  end
end

return pg
