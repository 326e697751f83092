local ffi = require "ffi"
local script = require "spec.support.script"

describe("a projection with sql = true", function()
  local s
  local function define(body)
    s = script.define(("sql = true, on = { t = function(db, event)\n%s\nend }"):format(body))
    return s
  end
  after_each(function()
    if s then
      s:close()
      s = nil
    end
  end)
  teardown(script.clean)

  local function failure(body)
    return define(body):fails({}).message
  end

  --- The query that the script waits for, and what was queued before it.
  local function query()
    local q, before = ffi.new("ScriptSql"), ffi.new("Effects")
    s.ops.query(s.handler, q, before)
    local list = {}
    for i = 0, tonumber(before.nsql) - 1 do
      list[i + 1] = script.statement(before.sql[i]).sql
    end
    return script.statement(q), list
  end

  local function answer(rows)
    s.ops.resume(s.handler, ffi.new("Str", { rows, #rows }), nil)
  end

  it("queues statements with their parameters as texts", function()
    define [[ db:exec("INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8)", 1, 0.1, "x", true, nil,
      decimal "12345678901234567890", { a = array {} }, json.null) db:exec("DELETE FROM t") ]]
    local fx = s:run { {} }

    assert.same({ { sql = "INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
      params = { n = 8, "1", "0.1", "x", "true", nil, "12345678901234567890", '{"a":[]}' } }, { sql = "DELETE FROM t", params = { n = 0 } } }, fx.sql)
  end)

  it("waits for a query's rows, and gives what was queued before it away first", function()
    define [[ db:exec("UPDATE t SET a = 1")
      local rows = db:query("SELECT n FROM t WHERE id = $1", event.aggregate_id)
      db:exec("INSERT INTO u VALUES ($1)", rows[1].n + #rows) ]]
    local page = s:page { {}, { "other" } }
    s:prepare(page)
    local how = s:step(page)
    local q, before = query()
    answer('[{"n":40},{"n":2}]')
    local again, at = s:step(page)
    local fx = s:collect()

    assert.same({ "query", "done", 2 }, { how, again, at })
    assert.same({ { sql = "SELECT n FROM t WHERE id = $1", params = { n = 1, "a" } }, { "UPDATE t SET a = 1" } }, { q, before })
    assert.same({ { sql = "INSERT INTO u VALUES ($1)", params = { n = 1, "42" } } }, fx.sql)
  end)

  it("may ask below pcall, in a loop, and event after event", function()
    define [[ for i = 1, 3 do
        local ok, rows = pcall(function() return db:query("SELECT 1") end)
        db:exec("INSERT INTO u VALUES ($1)", event.id * 10 + rows[1].n)
      end ]]
    local page = s:page { {}, {} }
    s:prepare(page)
    local n, how, at = 0, s:step(page)
    while how == "query" do
      query()
      n = n + 1
      answer(('[{"n":%d}]'):format(n))
      how, at = s:step(page, at)
    end

    assert.same({ "done", 2, 6 }, { how, at, n })
  end)

  it("fails where the server refuses the query, with the event", function()
    define [[ pcall(db.query, db, "SELECT broken") ]]
    local page = s:page { {} }
    s:prepare(page)
    s:step(page)
    query()
    local err = ffi.new("Err")
    script.C.err_set(err, script.C.ERR_SQL, 'column "broken" does not exist')
    s.ops.resume(s.handler, ffi.new("Str"), err)
    local how, at, why = s:step(page)

    assert.same({ "failed", 0, "sql" }, { how, at, why.kind })
    assert.matches("projections/p.lua: projection 'p': db:query: column \"broken\" does not exist %(event 1 't'%)", why.message)
  end)

  it("queues nothing of an event that fails", function()
    define [[ db:exec("DELETE FROM t WHERE id = $1", event.id) if event.id == 2 then error("no") end ]]
    local page = s:page { {}, {}, {} }
    s:prepare(page)
    local _, at = s:step(page, 0, true)
    s:step(page, at + 1, true)
    local fx = s:collect()

    assert.equal(1, at)
    assert.same({ "1", "3" }, { fx.sql[1].params[1], fx.sql[2].params[1] })
  end)

  it("keeps the budget over its queries", function()
    s = script.define [[ sql = true, budget = 50000, on = { t = function(db) while true do for i = 1, 500 do end db:query("SELECT 1") end end } ]]
    local page = s:page { {} }
    s:prepare(page)
    local how, at, err = s:step(page)
    for _ = 1, 1000 do
      if how == "query" then
        query()
        answer("[]")
        how, at, err = s:step(page, at)
      end
    end

    assert.same({ "failed", "limit" }, { how, err and err.kind })
  end)

  it("is forgotten in the middle of a query", function()
    define [[ db:query("SELECT 1") ]]
    local page = s:page { {} }
    s:prepare(page)
    s:step(page)
    s:forget()
    answer("[]")
    s:prepare(page)

    assert.equal("query", (s:step(page)))
  end)

  it("parks by the aggregate's id", function()
    s = script.define [[ sql = true, on_error = "park_key", on = { t = function(db) db:exec("DELETE FROM t") end } ]]
    local page = s:page { { "t", "x" }, { "t", "x" }, { "t", "y" } }
    s:prepare(page)
    s.ops.park(s.handler, page.slice, 0)
    s:step(page, 1)
    local fx = s:collect()

    assert.same({ { { event_id = 2, key = '"x"', parked = true } }, 1 }, { fx.dead, #fx.sql })
  end)

  local refused = { "COMMIT", "commit;", "BEGIN", "ROLLBACK", "ROLLBACK TO a", "SAVEPOINT a", "RELEASE a", "START TRANSACTION", "END", "ABORT",
    "PREPARE TRANSACTION 'x'", "SET ROLE x", "SET search_path = x", "RESET ROLE", "RESET ALL", "COPY t FROM STDIN", "COPY t TO PROGRAM 'sh'",
    "LISTEN x", "UNLISTEN *", "NOTIFY x", "DO $$ BEGIN COMMIT; END $$", "CALL p()", "CREATE TABLE x ()", "DROP TABLE x", "ALTER TABLE x ADD y int",
    "TRUNCATE t", "VACUUM", "LOCK TABLE t", "GRANT ALL ON t TO x", "DISCARD ALL", "DECLARE c CURSOR FOR SELECT 1", "EXECUTE x", "DEALLOCATE x",
    "/* SELECT */ COMMIT", "-- SELECT\nCOMMIT", "( /* a */ (COMMIT", "EXPLAIN ANALYZE SELECT 1", "", "   -- nothing", "1", "'SELECT'" }
  for _, sql in ipairs(refused) do
    it(("does not accept %q"):format(sql), function()
      local err = failure(("db:exec([==[%s]==])"):format(sql))

      assert.matches("^projections/p.lua:3: projection 'p': db:exec: ", err)
      assert.is_truthy(err:find("is not accepted", 1, true) or err:find("is empty", 1, true), err)
    end)
  end

  local beyond = { "SELECT set_config('role', 'x', false)", "SELECT SET_CONFIG ( 'a', 'b', true)", "select pg_catalog.set_config('a','b',false)",
    "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock_all()", "WITH x AS (SELECT pg_notify('a', 'b')) SELECT 1",
    "INSERT INTO t SELECT pg_terminate_backend(1)", "SELECT \"set_config\"('a', 'b', true)", "SELECT dblink_exec('COMMIT')", "SELECT pg_sleep(100)" }
  for _, sql in ipairs(beyond) do
    it(("does not accept %q"):format(sql), function()
      assert.matches("is not accepted %(it reaches beyond the statement%)", failure(("db:query([==[%s]==])"):format(sql)))
    end)
  end

  local several = { "SELECT 1; COMMIT", "SELECT ';'; SELECT 2", "SELECT $$ ; $$; DELETE FROM t", "SELECT 1 /* ; */ ; -- x\n ROLLBACK",
    "SELECT E'\\';' ; COMMIT" }
  for _, sql in ipairs(several) do
    it(("takes one statement at a time: not %q"):format(sql), function()
      assert.matches("one statement at a time", failure(("db:exec([==[%s]==])"):format(sql)))
    end)
  end

  local accepted = { "SELECT 1", "  select 1;", "INSERT INTO t VALUES (1)", "update t set a = 1", "DELETE FROM t", "WITH a AS (SELECT 1) SELECT * FROM a",
    "MERGE INTO t USING u ON true WHEN MATCHED THEN DO NOTHING", "VALUES (1)", "(SELECT 1) UNION (SELECT 2)", "/* why */ SELECT 1 -- because",
    "SELECT 'COMMIT; RESET ROLE'", "SELECT $q$ ; COMMIT $q$", "SELECT \"set_config\" FROM t", "SELECT ';' AS \"a;b\"", "SELECT 'set_config(1)'",
    "SELECT $1", "SELECT E'a\\';b'", "SELECT /* set_config( */ 1" }
  for _, sql in ipairs(accepted) do
    it(("accepts %q"):format(sql), function()
      define(("db:exec([==[%s]==])"):format(sql))

      assert.equal(1, #assert(s:run { {} }).sql)
    end)
  end

  it("says what is wrong with a call", function()
    assert.matches("an SQL text is expected %(write db:exec", failure("db:exec(nil)"))
    assert.matches("an SQL text is expected", failure("db.exec('SELECT 1')"))
    assert.matches("parameter 1: a function cannot be sent", failure("db:exec('SELECT $1', print)"))
    assert.matches("parameter 1: a text that is not UTF%-8", failure("db:exec('SELECT $1', '\\255')"))
    assert.matches("belongs into the handler itself", failure("coroutine.wrap(function() db:query('SELECT 1') end)()"))
    assert.matches("db cannot be changed", failure("db.exec = nil"))
    assert.matches("the handler yielded", failure("coroutine.yield()"))
    assert.matches("the handler returned a table", failure("return {}"))
    assert.matches("reached twice", failure("local t = {} db:exec('SELECT $1', { t, t })"))
  end)

  it("fails with the user's line and traceback", function()
    local err = define("local function f() error('broken') end\nf()"):fails {}

    assert.matches("^projections/p.lua:3: projection 'p': broken %(event 1 't'%)", err.message)
    assert.matches("projections/p.lua:3: in function 'f'\nprojections/p.lua:4: in ", err.trace)
  end)
end)
