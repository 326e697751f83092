local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local function fails(args, opts, code, ...)
  local r = moonwake.run(args, opts)
  assert.equal(code, r.code, r.out .. r.err)
  for _, pattern in ipairs { ... } do
    assert.matches(pattern, r.err, 1, true)
  end
end

local function workspace(name, source)
  local dir = files.dir()
  files.write(("%s/projections/%s.lua"):format(dir, name), source)
  return dir
end

describe("run and status say what is wrong with the database:", function()
  for _, command in ipairs { "run", "status", "dead-letters" } do
    it(command .. " where the server is down", function()
      fails({ command }, { db = "host=/nowhere dbname=x" }, 1, "moonwake: database:", "is the server running?")
    end)

    it(command .. " where the DSN makes no sense", function()
      fails({ command }, { db = "hsot=localhost" }, 1, "moonwake: database:", "hsot")
    end)

    it(command .. " where the database does not exist", function()
      fails({ command }, { db = pg.shared().dsn("no_such_db") }, 1, "does not exist", "DATABASE_URL")
    end)

    it(command .. " where the schema was never installed", function()
      local db = pg.shared():createdb("bare_" .. command:gsub("%W", ""))
      fails({ command }, { db = pg.shared().dsn(db) }, 1, "moonwake migrate")
      pg.shared():dropdb(db)
    end)
  end

  it("where the schema is newer than the program", function()
    local bench = bench_of {}
    bench:psql("INSERT INTO moonwake.migrations (number, name, checksum) VALUES (9999, '9999_future', 'x')")
    fails({ "run", "-C", bench.workspace, "--until-caught-up" }, { db = bench.run_dsn }, 1, "newer")
  end)

  it("where the role lacks rights", function()
    local bench = bench_of { counter = true }
    bench:psql([[DO $$ BEGIN CREATE ROLE visitor LOGIN IN ROLE moonwake_publish;
      EXCEPTION WHEN duplicate_object THEN NULL; END $$]])
    fails({ "run", "-C", bench.workspace, "--until-caught-up" },
      { db = bench.server.dsn(bench.db, "visitor") }, 1, "permission denied")
  end)

  it("where there is no workspace", function()
    local bench = bench_of {}
    fails({ "run", "-C", files.dir() }, { db = bench.run_dsn }, 2, "projections/", "moonwake init")
  end)
end)

describe("check names file, line and the right word", function()
  local cases = {
    { "syntax", "projection 'syntax' {\n  on = {\n}", "projections/syntax.lua:" },
    { "misspelt", "projection 'misspelt' {\n  vresion = 1,\n  on = { ['*'] = function() end } }", "did you mean 'version'" },
    { "another", "projection 'other' { on = { ['*'] = function() end } }", "another" },
    { "global", "projection 'global' { on = { ['*'] = function() end } }\nprnt('x')", "prnt" },
    { "typo", "projection 'typo' { columns = { n = 'bigitn' }, on = { ['*'] = function() end } }", "bigint" },
    { "empty", "", "projections/empty.lua" },
    { "nohandler", "projection 'nohandler' { on = { ['*'] = 5 } }", "function" },
    { "events", "projection 'bad-name' { on = { ['*'] = function() end } }", "events" },
  }
  for _, case in ipairs(cases) do
    it("of " .. case[1], function()
      local r = moonwake.run({ "check", "-C", workspace(case[1], case[2]) })
      assert.equal(1, r.code)
      assert.matches(case[3], r.err, 1, true)
    end)
  end
end)

describe("a handler's failure is told with event, file and line:", function()
  local cases = {
    throws = { "row.n = 1; local x = event.data.a.b", "projections/throws.lua:4" },
    loops = { "while true do end", "budget" },
    eats = { "local t = {} for i = 1, 1e9 do t[i] = ('x'):rep(100000) .. i end", "memory" },
    stringy = { "row.n = 'seven'", "bigint" },
    returns = { "return 42", "projections/returns.lua" },
    unknown = { "row.nn = 1", "did you mean 'n'" },
    cyclic = { "local t = {} t.t = t row.doc = t", "doc" },
    sparse = { "row.doc = { [1] = 1, [9] = 2 }", "doc" },
    nan = { "row.doc = { x = 0/0 }", "'doc'.x" },
    pcalls = { "while true do pcall(function() while true do end end) end", "budget" },
    coroutines = { "while true do coroutine.wrap(function() while true do end end)() end", "budget" },
    patterns = { "string.find(('a'):rep(5000), ('a-'):rep(40) .. 'b')", "budget" },
    xpcalls = { "xpcall(error, function() while true do end end)", "budget" },
    recursion = { "local function f() return 1 + f() end f()", "stack overflow" },
  }
  for name, case in pairs(cases) do
    it(name, function()
      local bench = bench_of { [name] = ([[projection "%s" {
  version = 1, columns = { n = "bigint", doc = "jsonb" }, on = {
    ["a.x"] = function(row, event)
%s
    end } }]]):format(name, case[1]), counter = true }
      local id = bench:publish("a.x", "k", '{"n":1}')

      assert.equal(1, bench:caught_up().code)
      assert.same({ { "parked", tostring(id) } },
        bench:query(("SELECT state, error_event FROM moonwake.consumers WHERE consumer = '%s'"):format(name)))
      assert.matches(case[2], bench:psql(("SELECT error || ' ' || coalesce(error_trace, '') FROM moonwake.consumers WHERE consumer = '%s'"):format(name)), 1, true)
      assert.equal("1", bench:psql("SELECT events FROM moonwake.counter"))
    end)
  end

  it("and newproxy is not there to hide a finalizer in", function()
    local dir = workspace("proxy", "newproxy(true)\nprojection 'proxy' { on = { ['*'] = function() end } }")
    fails({ "check", "-C", dir }, {}, 1, "newproxy")
  end)
end)
