-- `replay`: what it shows, stops at and changes is computed a second time here, in plain Lua over the log as SQL has it.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local LEDGER = [[projection "ledger" {
  columns = { n = "bigint default 0", sum = "bigint default 0", last = "text" },
  on = {
    ["add.*"] = function(row, event)
      row.n = row.n + 1
      row.sum = row.sum + event.data.v
      row.last = event.type
    end,
    ["clear"] = function()
      return delete
    end,
    ["bad"] = function(row, event)
      row.sum = -1
      error("cannot take " .. event.data.v)
    end,
  },
}
]]

local function random_log(bench, count, seed)
  math.randomseed(seed)
  local events = {}
  for i = 1, count do
    local kind = math.random(20)
    events[i] = { event_type = kind == 1 and "clear" or kind == 2 and "bad" or kind == 3 and "other"
      or "add." .. (kind % 3), aggregate_type = "thing", aggregate_id = "a" .. math.random(6),
      data = { v = math.random(100) } }
  end
  bench:psql(("SELECT count(*) FROM moonwake.publish_events('%s')"):format(json.encode(events)))
end

--- The log as { id, type, key, v }, by SQL.
local function log_of(bench)
  local list = {}
  for i, row in ipairs(bench:query("SELECT id, event_type, aggregate_id, data ->> 'v' FROM moonwake.events ORDER BY id")) do
    list[i] = { id = tonumber(row[1]), type = row[2], key = row[3], v = tonumber(row[4]) }
  end
  return list
end

local TAKES = { clear = true, bad = true }

local function taken_of(log)
  local list = {}
  for _, e in ipairs(log) do
    if TAKES[e.type] or e.type:match("^add%.") then
      list[#list + 1] = e
    end
  end
  return list
end

--- What LEDGER means, said once more.
local function apply(rows, e)
  if e.type == "clear" then
    rows[e.key] = nil
  elseif e.type:match("^add%.") then
    local row = rows[e.key] or { n = 0, sum = 0 }
    rows[e.key] = { n = row.n + 1, sum = row.sum + e.v, last = e.type }
  end
end

local function fold(list)
  local rows = {}
  for _, e in ipairs(list) do
    apply(rows, e)
  end
  return rows
end

local function columns_of(state)
  if not state or state == json.null then
    return nil
  end
  return { n = state.n, sum = state.sum, last = state.last }
end

--- Every line of the output as JSON.
local function objects(text)
  local list = {}
  for line in text:gmatch("[^\n]+") do
    list[#list + 1] = assert(json.decode(line, 1, json.null), line)
  end
  return list
end

local function replay(bench, args, opts)
  local all = { "replay", "ledger", "-C", bench.workspace }
  for _, arg in ipairs(args or {}) do
    all[#all + 1] = arg
  end
  opts = opts or {}
  opts.db = opts.db or bench.run_dsn
  return moonwake.run(all, opts)
end

local function replay_json(bench, args, opts)
  local all = { "--json" }
  for _, arg in ipairs(args or {}) do
    all[#all + 1] = arg
  end
  local r = replay(bench, all, opts)
  assert(r.code == 0, r.err .. r.out)
  return objects(r.out)
end

local function session(bench, commands, args)
  local all = { "--commands", "-" }
  for _, arg in ipairs(args or {}) do
    all[#all + 1] = arg
  end
  return replay_json(bench, all, { stdin = table.concat(commands, "\n") .. "\n" })
end

local bench, log, taken
local SEED = os.time()

describe("replay", function()
  setup(function()
    bench = bench_of { ledger = LEDGER }
    print("seed " .. SEED)
    random_log(bench, 400, SEED)
    log = log_of(bench)
    taken = taken_of(log)
  end)

  it("shows each event with its handler's line, the change and the error", function()
    local b = bench_of { ledger = LEDGER }
    b:publish("add.1", "x", '{"v":5}')
    b:publish("bad", "x", '{"v":7}')
    b:publish("clear", "x")

    local r = replay(b)

    assert.equal(0, r.code)
    local function has(text)
      assert.truthy(r.out:find(text, 1, true), text .. "\n" .. r.out)
    end
    has "add.1  thing/x v1\n  projections/ledger.lua:5  row.n = row.n + 1\n  \"x\"  new row\n"
    has "+ sum   5\n"
    has "  projections/ledger.lua:13  row.sum = -1\n  error: projections/ledger.lua:14: projection 'ledger': cannot take 7"
    has "    projections/ledger.lua:14  error(\"cannot take \" .. event.data.v)\n"
    has "  \"x\"  unchanged\n"
    has "  projections/ledger.lua:10  return delete\n  \"x\"  row removed\n"
    has ": 3 taken, 1 errors, 0 rows\n"
    assert.equal(1, replay(b, { "--fail-on-error" }).code)
    assert.equal(1, replay(b, { "--fail-on-error", "--quiet" }).code)
    assert.equal(0, replay(b, { "--quiet" }).code)
  end)

  it("gives the state after every event as a plain fold does", function()
    local steps = replay_json(bench)
    local rows, errors = {}, 0

    assert.equal(#taken + 1, #steps)
    for i, e in ipairs(taken) do
      local step = steps[i]
      apply(rows, e)
      assert.same({ i, e.id, e.key }, { step.number, step.event.id, step.rows[1].key })
      assert.same(rows[e.key], columns_of(step.rows[1].state))
      assert.equal(e.type == "bad", step.error ~= nil)
      errors = errors + (step.error and 1 or 0)
    end
    local count = 0
    for _ in pairs(rows) do
      count = count + 1
    end
    local summary = steps[#steps].summary
    assert.same({ #taken, #taken, errors, count }, { summary.events, summary.taken, summary.errors, summary.rows })
    local quiet = replay_json(bench, { "--quiet" })
    local last = quiet[#quiet].summary
    assert.same({ #taken, #taken, errors, count }, { last.events, last.taken, last.errors, last.rows })
  end)

  it("ends in the rows that `run` writes", function()
    local b = bench_of { ledger = (LEDGER:gsub('projection "ledger" {', '%0 on_error = "skip",')) }
    random_log(b, 300, SEED + 1)
    assert.equal(0, b:caught_up().code)

    local commands, expected = { "goto end" }, {}
    for _, row in ipairs(b:query("SELECT key, n, sum, last FROM moonwake.ledger ORDER BY key")) do
      commands[#commands + 1] = "state " .. row[1]
      expected[#expected + 1] = { row[1], tonumber(row[2]), tonumber(row[3]), row[4] }
    end
    commands[#commands + 1] = "keys"
    local out, got = session(b, commands), {}
    for _, o in ipairs(out) do
      if o.state then
        got[#got + 1] = { o.key, o.state.n, o.state.sum, o.state.last }
      end
    end
    assert.same(expected, got)
    assert.equal(#expected, #out[#out - 1].keys)
    assert.same({ #taken_of(log_of(b)), #expected }, { out[#out].summary.events, out[#out].summary.rows })
  end)

  it("stops at breaks and watches where they are hit, and nowhere else", function()
    local limit = 150
    local out = replay_json(bench, { "--break", "state and state.sum > " .. limit, "--watch", "last", "--break", "state.none.such" })
    local rows, expected = {}, {}
    for _, e in ipairs(taken) do
      local before = rows[e.key]
      apply(rows, e)
      local after = rows[e.key]
      local hits = {}
      if after and after.sum > limit then
        hits[#hits + 1] = 1
      end
      if (before and before.last) ~= (after and after.last) then
        hits[#hits + 1] = 3
      end
      if #hits > 0 or e.type == "bad" then
        expected[#expected + 1] = { e.id, hits }
      end
    end
    local got = {}
    for i = 1, #out - 1 do
      local hits = {}
      for n, hit in ipairs(out[i].hits) do
        hits[n] = hit["break"] or hit.watch
      end
      table.sort(hits)
      got[i] = { out[i].event.id, hits }
    end
    -- Breaks are numbered first to last as they were given, with the watches.
    for _, e in ipairs(expected) do
      for n, hit in ipairs(e[2]) do
        e[2][n] = hit == 3 and 2 or hit
      end
    end
    assert.same(expected, got)
  end)

  it("tells where a condition failed, once, and counts it as false", function()
    local r = replay(bench, { "--break", "state.none.such", "--max", "1" })

    assert.equal(0, r.code)
    local _, n = r.err:gsub("break 1 failed at", "")
    assert.equal(1, n)
    assert.matches("first at event %d+: %-%-break: ", r.err)
  end)

  it("goes anywhere in 300 random commands and shows what a fold shows", function()
    math.randomseed(SEED + 2)
    local commands, places, at = {}, {}, 0
    for i = 1, 300 do
      local kind, n = math.random(5), math.random(12)
      if kind == 1 then
        commands[i] = "step " .. n
        at = math.min(#taken, at + n)
      elseif kind == 2 then
        commands[i] = "back " .. n
        at = math.max(0, at - n)
      elseif kind == 3 then
        at = math.random(#taken)
        commands[i] = "goto @" .. at
      elseif kind == 4 then
        at = math.random(#taken)
        commands[i] = "goto " .. taken[at].id
      else
        commands[i] = "where"
      end
      places[i] = at
    end
    local all = {}
    for i, command in ipairs(commands) do
      all[#all + 1] = command
      all[#all + 1] = "eval '--' .. " .. i -- a mark: what stands before it belongs to the command
      all[#all + 1] = "keys"
      all[#all + 1] = places[i] > 0 and "print" or "where"
    end
    local out, nth = session(bench, all), 0
    local i = 1
    while out[i] do
      if type(out[i].value) == "string" and out[i].value:match("^%-%-%d+$") then
        nth = nth + 1
        local history = {}
        for n = 1, places[nth] do
          history[n] = taken[n]
        end
        local rows, keys = fold(history), {}
        for key in pairs(rows) do
          keys[#keys + 1] = key
        end
        table.sort(keys)
        assert.same(keys, out[i + 1].keys, commands[nth])
        if places[nth] > 0 then
          local key = taken[places[nth]].key
          assert.same({ key, rows[key] }, { out[i + 2].key, columns_of(out[i + 2].state) }, commands[nth])
        end
      end
      i = i + 1
    end
    assert.equal(300, nth)
  end)

  it("runs back to the hit before", function()
    local out = session(bench, { "errors pass", "break event.type == 'clear'", "run", "run", "run", "run back", "rc", "rc" })
    local clears, seen = {}, {}
    for _, e in ipairs(taken) do
      clears[#clears + 1] = e.type == "clear" and e.id or nil
    end
    for _, o in ipairs(out) do
      seen[#seen + 1] = o.event and o.event.id or o.stop
    end
    assert.same({ clears[1], clears[2], clears[3], clears[2], clears[1], "start" }, seen)
    assert.equal(0, out[#out].summary.events)
  end)

  it("begins at --from with the states of what came before, unless --cold", function()
    local at = math.floor(#taken / 2)
    local key = taken[at].key
    local history = {}
    for n = 1, at do
      history[n] = taken[n]
    end
    local warm = replay_json(bench, { "--from", tostring(taken[at].id), "--max", "1" })
    local cold = replay_json(bench, { "--from", tostring(taken[at].id), "--max", "1", "--cold" })

    assert.equal(taken[at].id, warm[1].event.id)
    assert.same(fold(history)[key], columns_of(warm[1].rows[1].state))
    assert.equal(at - 1, warm[2].summary.before)
    assert.equal(taken[at].id, cold[1].event.id)
    assert.same(fold({ taken[at] })[key], columns_of(cold[1].rows[1].state))
  end)

  it("takes the events that the filters say", function()
    local function ids(out)
      local list = {}
      for i = 1, #out - 1 do
        list[i] = out[i].event.id
      end
      return list
    end
    local function those(which)
      local list = {}
      for _, e in ipairs(log) do
        if which(e) then
          list[#list + 1] = e.id
        end
      end
      return list
    end
    local first, last = taken[20].id, taken[200].id
    assert.same(those(function(e) return e.type == "other" end), ids(replay_json(bench, { "--type", "other" })))
    assert.same(those(function(e) return e.type ~= "other" and e.key == "a3" end),
      ids(replay_json(bench, { "--aggregate", "thing/a3" })))
    assert.same(those(function(e) return e.type ~= "other" and e.v > 60 and e.id <= last and e.id >= first end),
      ids(replay_json(bench, { "--where", "event.data.v > 60", "--from", tostring(first), "--to", tostring(last) })))
    assert.same(those(function(e) return e.type ~= "other" and e.key == "a2" end), ids(replay_json(bench, { "--key", "a2" })))
  end)

  describe("what if", function()
    local function id_of(n)
      return tostring(taken[n].id)
    end

    local function difference(truth, changed)
      local rows, count = {}, { added = 0, removed = 0, changed = 0, same = 0 }
      for key, row in pairs(truth) do
        local other = changed[key]
        local kind = not other and "removed" or (row.n == other.n and row.sum == other.sum and row.last == other.last)
          and "same" or "changed"
        count[kind] = count[kind] + 1
        rows[key] = kind ~= "same" and kind or nil
      end
      for key in pairs(changed) do
        if not truth[key] then
          count.added = count.added + 1
          rows[key] = "added"
        end
      end
      return rows, count
    end

    local function failures(list)
      local n = 0
      for _, e in ipairs(list) do
        n = n + (e.type == "bad" and 1 or 0)
      end
      return n
    end

    it("shows the difference that a changed list makes, for random changes", function()
      math.randomseed(SEED + 3)
      for _ = 1, 12 do
        local args, list, used = {}, { unpack(taken) }, {}
        local function pick()
          local n
          repeat
            n = math.random(#taken)
          until not used[n]
          used[n] = true
          return n
        end
        for _ = 1, math.random(6) do
          local n, kind = pick(), math.random(4)
          if kind == 1 then
            list[n] = false
            args[#args + 1], args[#args + 2] = "--drop", id_of(n)
          elseif kind == 2 then
            local e, v = taken[n], math.random(1000)
            list[n] = { id = e.id, type = "add.1", key = e.key, v = v }
            args[#args + 1] = "--edit"
            args[#args + 1] = math.random(2) == 1 and ('%s={"event_type":"add.1","data":{"v":%d}}'):format(id_of(n), v)
              or ('%s=[{"op":"replace","path":"/data/v","value":%d},{"op":"replace","path":"/event_type","value":"add.1"}]')
                :format(id_of(n), v)
          elseif kind == 3 then
            local m = pick()
            list[n], list[m] = taken[m], taken[n]
            args[#args + 1], args[#args + 2] = "--swap", id_of(n) .. "," .. id_of(m)
          else
            local file = files.write(files.dir() .. "/new.json",
              ('[{"event_type":"add.2","aggregate_type":"thing","aggregate_id":"new","data":{"v":3},"after":%s}]'):format(id_of(n)))
            list.inserted = list.inserted or {}
            list.inserted[n] = { type = "add.2", key = "new", v = 3 }
            args[#args + 1], args[#args + 2] = "--insert", file
          end
        end
        local changed = {}
        for n = 1, #taken do
          changed[#changed + 1] = list[n] or nil
          changed[#changed + 1] = list.inserted and list.inserted[n]
        end
        local rows, count = difference(fold(taken), fold(changed))
        local got = replay_json(bench, args)[1].compare
        local what = table.concat(args, " ")
        assert.same({ #taken, #changed, failures(taken), failures(changed) },
          { got.truth.events, got.changed.events, got.truth.errors, got.changed.errors }, what)
        assert.same(count, { added = got.rows_added, removed = got.rows_removed, changed = got.rows_changed,
          same = got.rows_same }, what)
        local seen = {}
        for _, row in ipairs(got.rows) do
          seen[row.key] = row.change
        end
        assert.same(rows, seen, what)
      end
    end)

    it("takes an event that stands before all others, alone", function()
      local file = files.write(files.dir() .. "/first.json",
        '[{"event_type":"add.2","aggregate_type":"thing","aggregate_id":"brand-new","data":{"v":3},"after":0}]')
      local got = replay_json(bench, { "--insert", file })[1].compare
      assert.same({ got.truth.events + 1, 1, 0 }, { got.changed.events, got.rows_added, got.rows_removed })
    end)

    it("compares at the point where the session stands, and at the end", function()
      local n = 50
      local before, after = {}, {}
      for i = 1, n + 30 do
        before[i] = taken[i]
        after[#after + 1] = i ~= n and taken[i] or nil
      end
      local out = session(bench, { "goto " .. taken[n + 30].id, "compare", "compare end" }, { "--drop", id_of(n) })
      local rows = difference(fold(before), fold(after))
      local here, at_end = out[2].compare, out[3].compare

      assert.same({ n + 30, n + 29 }, { here.truth.events, here.changed.events })
      local seen = {}
      for _, row in ipairs(here.rows) do
        seen[row.key] = row.change
      end
      assert.same(rows, seen)
      assert.same({ #taken, #taken - 1 }, { at_end.truth.events, at_end.changed.events })
    end)

    it("names the errors that vanish and appear", function()
      local bad, good
      for n, e in ipairs(taken) do
        bad = bad or (e.type == "bad" and n)
        good = good or (e.type == "add.1" and n)
      end
      local out = replay_json(bench, { "--drop", id_of(bad), "--edit", id_of(good) .. '={"event_type":"bad"}' })[1].compare

      assert.same({ taken[good].id, taken[bad].id }, { out.errors_appear[1].event, out.errors_vanish[1].event })
      assert.same({ 1, 1 }, { #out.errors_appear, #out.errors_vanish })
      assert.matches("cannot take", out.errors_appear[1].error)
      local text = replay(bench, { "--drop", id_of(bad) }).out
      assert.matches("what if: drop #" .. id_of(bad), text)
      assert.matches("errors: 0 appear, 1 vanish\n%- #" .. id_of(bad) .. "  projections/ledger.lua:14", text)
    end)
  end)

  describe("is dry:", function()
    --- Every table's rows and every sequence's value, digested.
    local FINGERPRINT = [[SELECT string_agg(t.name || ' ' || (xpath('/row/c/text()', query_to_xml(
        format(t.query, t.name), false, true, '')))[1]::text, chr(10) ORDER BY t.name)
      FROM (SELECT c.oid::regclass::text AS name, CASE c.relkind
              WHEN 'S' THEN 'SELECT last_value AS c FROM %s'
              ELSE 'SELECT md5(coalesce(string_agg(x::text, chr(10) ORDER BY x::text), '''')) AS c FROM %s x' END AS query
              FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'S') AND n.nspname = 'moonwake') t]]

    it("no table, no sequence and no transaction id differs after it, with the daemon's rights and with a reader's", function()
      local server = pg.start { settings = { autovacuum = "off" } }
      finally(function() server:stop() end)
      local b = bench_of({ ledger = LEDGER }, server)
      random_log(b, 200, SEED + 4)
      b:caught_up()
      b:psql("CREATE ROLE reader LOGIN IN ROLE moonwake_read")
      local drop = tostring(taken_of(log_of(b))[1].id)
      local before = b:psql(FINGERPRINT)
      local xid = b:psql("SELECT pg_snapshot_xmax(pg_current_snapshot())")
      assert.truthy(#before > 500)

      for _, user in ipairs { "moonwake_run", "reader" } do
        local stdin = "run\nlines\ngoto end\nback 3\nsummary\ncompare\nquit\n"
        for _, args in ipairs { { "--quiet" }, { "--json", "--break", "state and state.sum > 10" }, { "--drop", drop },
          { "--commands", "-", "--drop", drop } } do
          local r = replay(b, args, { stdin = stdin, db = server.dsn(b.db, user) })
          assert.same({ 0, "" }, { r.code, r.err })
        end
      end
      assert.equal(before, b:psql(FINGERPRINT))
      assert.equal(xid, b:psql("SELECT pg_snapshot_xmax(pg_current_snapshot())"))
    end)

    it("a script with sql = true is refused", function()
      bench:save("free", 'projection "free" { sql = true, on = { ["*"] = function(db) db:exec("DELETE FROM moonwake.ledger") end } }')
      local r = moonwake.run({ "replay", "free", "-C", bench.workspace }, { db = bench.run_dsn })
      bench:remove("free")

      assert.equal(2, r.code)
      assert.matches("replay: projections/free.lua says sql = true: ", r.err)
    end)
  end)

  it("refuses what makes no sense, with the reason", function()
    local dir = files.dir()
    local torn = files.write(dir .. "/torn.json", '{"event_type":"x",\n"data":}')
    local strange = files.write(dir .. "/strange.json", '{"event_type":"add.1","aggregate_type":"t","aggregate_id":"a","dta":{}}')
    local empty = files.write(dir .. "/empty.json", "\n")
    local id = tostring(taken[1].id)
    for _, case in ipairs {
      { 2, "'ledgr'.*did you mean 'ledger'", script = "ledgr" },
      { 2, "takes the name or the file of one script", "another" },
      { 2, "%-%-from: 'noon' is neither an event's id nor a time", "--from", "noon" },
      { 2, "%-%-to: '2026%-13%-01' is neither", "--to", "2026-13-01" },
      { 2, "%-%-cold says how to begin", "--cold" },
      { 1, "no event matches %-%-type nothing", "--type", "nothing" },
      { 1, "no event matches %-%-aggregate thing/none", "--aggregate", "thing/none", "--quiet" },
      { 1, "no event matches %-%-from 2100%-01%-01", "--from", "2100-01-01" },
      { 1, "no event matches %-%-where event.data.none.x.*it failed at %d+ events", "--where", "event.data.none.x" },
      { 2, "%-%-aggregate takes TYPE or TYPE/ID", "--aggregate", "thing/" },
      { 2, "%-%-where: .*near", "--where", "1 +" },
      { 2, "%-%-break: .*to compare write ==", "--break", "state.n = 1" },
      { 2, "watch: a field is needed", "--watch", "" },
      { 2, "%-%-drop takes the id of an event, not 'x'", "--drop", "x" },
      { 2, "%-%-drop 999999: the history has no event 999999", "--drop", "999999" },
      { 2, "%-%-swap takes the ids of two events", "--swap", id },
      { 2, "%-%-swap takes the ids of two events", "--swap", id .. "," .. id },
      { 2, "%-%-edit takes ID=PATCH", "--edit", id },
      { 2, "%-%-edit " .. id .. ": .*line 1, column 9", "--edit", id .. '={"data":}' },
      { 2, "%-%-edit " .. id .. ": ", "--edit", id .. '=[{"op":"remove","path":"/data/none"}]' },
      { 2, "torn.json:%d: ", "--insert", torn },
      { 2, "strange.json:1: .*unknown member 'dta'", "--insert", strange },
      { 2, "empty.json: there is no event in it", "--insert", empty },
      { 2, "%-%-insert: .*no such file", "--insert", dir .. "/none.json" },
      { 2, "none.txt: No such file", "--commands", dir .. "/none.txt" },
      { 2, "'%-%-max': '%-1' is not a whole number", "--max", "-1" },
    } do
      local args = { "replay", case.script or "ledger", "-C", bench.workspace, unpack(case, 3) }
      local r = moonwake.run(args, { db = bench.run_dsn })

      assert.same({ case[1], table.concat(args, " ") }, { r.code, table.concat(args, " ") }, r.err)
      assert.truthy(r.err:lower():match(case[2]:lower()), table.concat(args, " ") .. "\n" .. r.err)
    end
  end)

  it("a session answers wrong commands and goes on", function()
    local b = bench_of { ledger = LEDGER }
    b:publish("add.1", "a1", '{"v":5}')
    b:publish("add.2", "a2", '{"v":7}')
    local r = replay(b, { "--commands", "-" }, { stdin = table.concat({
      "print", "stpe", "goto nowhere", "goto 99999999", "step x", "delete 9", "break state.n =", "watch", "eval", "eval nosuch",
      "state nobody", "compare", "errors maybe", "# a comment", "", "s", "print smu", "p sum", "wh", "li", "l", "ev", "k a", "su",
      "? ", "quit", "step" }, "\n") })

    assert.same({ 0, "" }, { r.code, r.err })
    for _, expected in ipairs {
      "error: print: no event was handled yet", "error: unknown command 'stpe' %(did you mean 'step'%?%)",
      "error: goto: 'nowhere' is neither", "error: goto: the tape ends before 99999999", "error: step: 'x' is not a number",
      "error: delete: there is no break or watch 9", "error: break: .*near", "there is none", "error: eval: an expression is needed",
      "error: eval: unknown word 'nosuch'", "error: state: there is no row nobody", "error: compare: nothing was changed",
      "error: errors: takes `stop` or `pass`", "new row", "error: print: the state has no field 'smu' %(did you mean 'sum'%?%)",
      "> p sum\n  \"a%d\"\n  %d+\n", "event 1 of the tape", "> +5    ", "projections/ledger.lua:5  row.n = row.n %+ 1\n      ~ n",
      '"event_type": ', "1 events: 1 taken", "one event back", "> quit\n1 events: 1 taken, 0 errors, 1 row\n",
    } do
      assert.truthy(r.out:match(expected), expected .. "\n" .. r.out)
    end
  end)
end)
