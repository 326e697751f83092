-- `state`, `history` and `diff`: what they cost, which snapshots they trust, what they say to bad input, and how they look.
local json = require "dkjson"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local terminal = require "spec.support.terminal"

local server = pg.shared()
local dsn, db, dir

local COUNTER = [[
reducer "counter" {
  aggregate = "counter", version = 1, snapshot_every = 50,
  initial = function() return { n = 0 } end,
  on = {
    ["add"] = function(state, event)
      if event.data.boom then error("it went boom") end
      state.n = state.n + (event.data.by or 1)
      state.note = event.data.note
    end,
    ["cleared"] = function() return delete end,
  },
}
]]

local function write_reducer(text)
  files.write(dir .. "/scripts/reducers/counter.lua", text or COUNTER)
end

local function sql(text)
  return server:psql(text, { db = db })
end

--- Events "add" of counter c; `data` is an SQL expression over i.
local function publish(n, data, id)
  sql(([[SELECT count(*) FROM generate_series(1, %d, 10000) block, LATERAL moonwake.publish_events((SELECT jsonb_agg(
      jsonb_build_object('event_type', 'add', 'aggregate_type', 'counter', 'aggregate_id', '%s', 'data', %s) ORDER BY i)
      FROM generate_series(block, least(block + 9999, %d)) i))]]):format(n, id or "c", data or "'{}'::jsonb", n))
end

local function run(...)
  return moonwake.run({ "-C", dir, ... }, { db = dsn })
end

local function ask(...)
  local r = run("state", "counter", "c", "--json", ...)
  if r.code ~= 0 then
    error(r.err, 2)
  end
  return json.decode(r.out, 1, json.null)
end

--- The message of a command that must fail with this code.
local function refusal(code, ...)
  local r = run(...)
  assert.equal(code, r.code, r.out .. r.err)
  assert.equal("", r.out)
  return (r.err:gsub("^moonwake: ", ""):gsub("\n$", ""))
end

local function fresh()
  dsn, db = moonwake.database(server)
  dir = files.dir()
  os.execute("mkdir " .. dir .. "/projections")
  write_reducer()
end

describe("the state of an aggregate with 100,000 events", function()
  setup(function()
    fresh()
    publish(100000)
    sql("ANALYZE moonwake.events")
    moonwake.must({ "-C", dir, "run", "--until-caught-up" }, { db = dsn, timeout = 300 })
  end)
  teardown(files.clean)

  it("is read from the nearest snapshot: at most snapshot_every events", function()
    assert.equal("2000|50|100000", sql("SELECT count(*), min(version), max(version) FROM moonwake.snapshots"))
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 8 do
      local version = math.random(1, 100000)
      local answer = ask("--version", tostring(version))

      assert.same({ { n = version }, version, version - version % 50, version % 50 },
        { answer.state, answer.version, answer.snapshot_version, answer.events_read }, "seed " .. seed)
    end
  end)

  it("at a time, too", function()
    for _, row in ipairs(server:query([[SELECT version, to_char("timestamp" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        FROM moonwake.events WHERE version IN (1, 49, 50, 51, 33333, 99999)]], { db = db })) do
      local version = tonumber(row[1])
      local answer = ask("--at", row[2])

      assert.same({ { n = version }, version % 50 }, { answer.state, answer.events_read })
    end
  end)

  it("reads every event without snapshots, and says so", function()
    local answer = ask("--version", "12345", "--no-snapshots")

    assert.same({ { n = 12345 }, 0, 12345 }, { answer.state, answer.snapshot_version, answer.events_read })
  end)

  it("begins at the current state where nothing came since", function()
    local answer = ask()

    assert.same({ { n = 100000 }, 100000, 0 }, { answer.state, answer.snapshot_version, answer.events_read })
  end)
end)

describe("a snapshot", function()
  before_each(fresh)
  after_each(files.clean)

  it("is kept on demand and used from then on", function()
    publish(30)

    local kept, again = ask("--version", "20", "--snapshot"), ask("--version", "20", "--snapshot")
    local later, earlier = ask("--version", "25"), ask("--version", "19")

    assert.same({ 1, 0 }, { kept.snapshots_added, again.snapshots_added })
    assert.same({ 20, 5, { n = 25 } }, { later.snapshot_version, later.events_read, later.state })
    assert.same({ 0, 19, { n = 19 } }, { earlier.snapshot_version, earlier.events_read, earlier.state })
    assert.equal(sql("SELECT id FROM moonwake.events WHERE version = 20"), sql("SELECT event_id FROM moonwake.snapshots"))
  end)

  it("of another version or another text of the script is not used", function()
    publish(30)
    ask("--version", "20", "--snapshot")
    sql([[UPDATE moonwake.snapshots SET state = '{"n": 1000020}']]) -- what uses it shows that it does

    assert.same({ n = 1000030 }, ask().state)
    write_reducer(COUNTER:gsub("version = 1", "version = 2"))
    assert.same({ n = 30 }, ask().state)
    write_reducer("-- other words\n" .. COUNTER)
    assert.same({ n = 30 }, ask().state)
    write_reducer()
    assert.same({ n = 1000030 }, ask().state)
    assert.same({ n = 30 }, ask("--no-snapshots").state)
  end)

  it("is what the daemon keeps as the current state, unless another text of the script made it", function()
    publish(30)
    moonwake.must({ "-C", dir, "run", "--until-caught-up" }, { db = dsn })
    publish(3)
    sql([[UPDATE moonwake.aggregate_states SET state = '{"n": 1000030}']])

    assert.same({ n = 1000033 }, ask().state)
    assert.same({ n = 29 }, ask("--version", "29").state)
    write_reducer("-- other words\n" .. COUNTER)
    assert.same({ n = 33 }, ask().state)
  end)

  it("is not used where it holds an event that had not happened by then", function()
    sql([[SELECT moonwake.publish_event('add', 'counter', 'c', occurred_at => timestamptz '2020-01-01Z'
      + CASE i WHEN 10 THEN interval '50 days' ELSE i * interval '1 day' END) FROM generate_series(1, 30) i]])
    for _, version in ipairs { "5", "9", "10", "20" } do
      ask("--version", version, "--snapshot")
    end

    local middle, after = ask("--occurred-at", "2020-01-26"), ask("--occurred-at", "2020-03-01")

    assert.same({ { n = 24 }, 25, 9 }, { middle.state, middle.version, middle.snapshot_version })
    assert.same({ { n = 30 }, 30, 20 }, { after.state, after.version, after.snapshot_version })
    assert.matches("exclude each other", refusal(2, "state", "counter", "c", "--occurred-at", "2020-01-26", "--snapshot"))
  end)

  it("does not show in how a state is written", function()
    write_reducer([[reducer "counter" { aggregate = "counter", on = { ["add"] = function(state, event)
      state.b, state.long, state.a = 1.5, { z = 1, yy = array {} }, event.version end } }]])
    publish(4)
    local before = moonwake.must({ "-C", dir, "state", "counter", "c", "--snapshot" }, { db = dsn })

    assert.equal('{"a": 4, "b": 1.5, "long": {"yy": [], "z": 1}}\n', before)
    assert.equal(4, ask().snapshot_version)
    assert.equal(before, moonwake.must({ "-C", dir, "state", "counter", "c" }, { db = dsn }))
  end)

  it("is made anew by the daemon when the script changes", function()
    publish(120)
    local function states(by, version)
      write_reducer((COUNTER:gsub("event.data.by or 1", by):gsub("version = 1", "version = " .. version)))
      moonwake.must({ "-C", dir, "run", "--until-caught-up" }, { db = dsn })
      return ask().state.n, tonumber((sql("SELECT state -> 'n' FROM moonwake.aggregate_states"))),
        (sql("SELECT string_agg((state -> 'n')::text, ' ' ORDER BY (state -> 'n')::int) FROM moonwake.snapshots"))
    end

    assert.same({ 120, 120, "50 100" }, { states("1", 1) })
    assert.same({ 360, 360, "50 100 150 300" }, { states("3", 1) })
    assert.same({ 840, 840, "150 300 350 700" }, { states("7", 2) })
    assert.same({ 360, 360, "150 300 350 700" }, { states("3", 1) })
  end)

  it("can be made by who may write, and states be read by who may read", function()
    publish(3)
    server:psql("ALTER ROLE moonwake_read LOGIN")
    finally(function() server:psql("ALTER ROLE moonwake_read NOLOGIN") end)
    local reader = server.dsn(db, "moonwake_read")

    local read = moonwake.run({ "-C", dir, "state", "counter", "c", "--json" }, { db = reader })
    local kept = moonwake.run({ "-C", dir, "state", "counter", "c", "--snapshot" }, { db = reader })

    assert.equal(0, read.code, read.err)
    assert.equal(1, kept.code)
    assert.matches("^moonwake: state: %-%-snapshot: permission denied for function add_snapshots.*moonwake_run may", kept.err)
  end)
end)

describe("while others write", function()
  before_each(fresh)
  after_each(files.clean)

  it("state has every version that is committed", function()
    publish(5)
    local other = server:session { db = db }
    other:run("BEGIN; SELECT moonwake.publish_event('add', 'counter', 'other')")
    publish(5)

    assert.same({ { n = 10 }, 10 }, { ask().state, ask("--at", "now").version })
    other:close()
  end)
end)

describe("a point", function()
  setup(function()
    fresh()
    sql([[SELECT moonwake.publish_event('add', 'counter', 'c', event_id => ('00000000-0000-0000-0000-00000000000' || i)::uuid)
      FROM generate_series(1, 6) i]])
    publish(3, nil, "other")
  end)
  teardown(files.clean)

  it("is a version, an event by its id or its event_id, or a time", function()
    local id = sql("SELECT id FROM moonwake.events WHERE aggregate_id = 'c' AND version = 4")
    local own = sql("SELECT event_id FROM moonwake.events WHERE aggregate_id = 'other' AND version = 2")

    assert.equal(4, ask("--version", "4").version)
    assert.equal(4, ask("--event", id).version)
    assert.equal(4, ask("--event", "#" .. id).version)
    assert.equal(4, ask("--event", "00000000-0000-0000-0000-000000000004").version)
    assert.equal(6, ask("--at", "now").version)
    assert.equal(6, ask("--at", "0s ago").version)
    assert.equal(2, json.decode(moonwake.must({ "-C", dir, "state", "counter", "other", "--event", own, "--json" },
      { db = dsn })).version)
  end)

  it("that is none is refused with what would be one", function()
    for _, words in ipairs { { "--version", "x" }, { "--version", "0" }, { "--version", "-1" }, { "--event", "x" },
      { "--event", "-1" }, { "--at", "yesterday" }, { "--at", "2020-13-01" }, { "--at", "5 moons ago" }, { "--at", "" },
      { "--occurred-at", "12" }, { "--at", "now", "--version", "2" }, { "--event", "00000000-0000-0000-0000-00000000000g" } } do
      refusal(2, "state", "counter", "c", unpack(words))
    end
    assert.equal("state: --at: 'yesterday' is no time (2026-01-02T03:04:05Z, 2026-01-02, now, or 2h ago)",
      refusal(2, "state", "counter", "c", "--at", "yesterday"))
    assert.matches("^diff: '12 o'clock' is no place in a history %(a version: 12 or v12, an event: #1042, a time: ",
      refusal(2, "diff", "counter", "c", "v1", "12 o'clock"))
  end)

  it("before the first event is told when that was", function()
    assert.matches("^counter 'c': had no event by 2020%-01%-01 00:00:00.000 %(its first was appended at 20%d%d%-[%d :.-]+, event %d+%)$",
      refusal(1, "state", "counter", "c", "--at", "2020-01-01"))
    assert.matches("its first occurred at", refusal(1, "state", "counter", "c", "--occurred-at", "2020-01-01"))
    assert.matches("has no events from start to 2020%-01%-01 %(it has versions 1 to 6%)",
      refusal(1, "history", "counter", "c", "--to", "2020-01-01"))
  end)

  it("that the aggregate does not have says what it has", function()
    assert.equal("counter 'c': has no version 7 (the last is 6)", refusal(1, "state", "counter", "c", "--version", "7"))
    assert.equal("counter 'c': has no version 99 (the last is 6)", refusal(1, "diff", "counter", "c", "1", "99"))
    assert.equal("event 999999: there is no such event", refusal(1, "state", "counter", "c", "--event", "999999"))
    local foreign = sql("SELECT id FROM moonwake.events WHERE aggregate_id = 'other' LIMIT 1")
    assert.equal(("event %s belongs to counter 'other', not to counter 'c'"):format(foreign),
      refusal(1, "state", "counter", "c", "--event", foreign))
    assert.matches("^event 12345678%-1234%-1234%-1234%-123456789012: there is no such event of counter 'c'",
      refusal(1, "state", "counter", "c", "--event", "12345678-1234-1234-1234-123456789012"))
  end)
end)

describe("a name", function()
  setup(function()
    fresh()
    for _, id in ipairs { "alpha-1", "alpha-2", "beta", "ü'\"" } do
      sql("SELECT moonwake.publish_event('add', 'counter', $$" .. id .. "$$)")
    end
  end)
  teardown(files.clean)

  it("of an aggregate that there is not brings those that are near", function()
    assert.matches("^counter 'alpha%-3': there is no such aggregate %(did you mean alpha%-%d, alpha%-%d%?%)$",
      refusal(1, "state", "counter", "alpha-3"))
    assert.matches("did you mean beta%?", refusal(1, "history", "counter", "bet"))
    assert.matches("there is .+, for one", refusal(1, "diff", "counter", "zzz", "1", "2"))
  end)

  it("of a type without a reducer brings the nearest, and history shows its events alone", function()
    sql("SELECT moonwake.publish_event('x.y', 'plain', 'p', '{\"a\": 1}')")

    assert.equal("no reducer folds aggregates of type 'countre' (did you mean 'counter'?)",
      refusal(2, "state", "countre", "c"))
    assert.equal("no aggregate of type 'countre' has an event (did you mean 'counter'?)",
      refusal(1, "history", "countre", "c"))
    local alone = json.decode(moonwake.must({ "-C", dir, "history", "plain", "p", "--json" }, { db = dsn }), 1, json.null)
    assert.same({ "x.y", json.null }, { alone.event.event_type, alone.changes })
    assert.matches("no such file", refusal(2, "history", "plain", "p", "--reducer", "none"))
  end)

  it("may hold anything", function()
    assert.same({ n = 1 }, json.decode(moonwake.must({ "-C", dir, "state", "counter", "ü'\"", "--json" }, { db = dsn })).state)
  end)

  it("is asked for where it is missing", function()
    for _, words in ipairs { { "state" }, { "state", "counter" }, { "state", "a", "b", "c" }, { "history", "a" },
      { "diff", "a", "b", "1" } } do
      assert.matches("takes the type and the id of one aggregate", refusal(2, unpack(words)))
    end
  end)
end)

describe("a reducer that fails at event 7,000", function()
  setup(function()
    fresh()
    publish(7100, "CASE WHEN i = 7000 THEN '{\"boom\": true}'::jsonb ELSE '{}' END")
  end)
  teardown(files.clean)

  it("is reported with file, line, event and version, and the state before it can be had", function()
    local id = sql("SELECT id FROM moonwake.events WHERE version = 7000")
    local r = run("state", "counter", "c")

    assert.equal(1, r.code)
    assert.matches(("^moonwake: scripts/reducers/counter.lua:6: reducer 'counter': it went boom %%(event %s 'add', key \"c\"%%) "
      .. "%%(version 7000 of counter 'c'%%) %%(%%-%%-version 6999 shows the state before it%%)\n"):format(id), r.err)
    assert.same({ n = 6999 }, ask("--version", "6999").state)
  end)

  it("shows the history up to there with states, and the rest without", function()
    local r = run("history", "counter", "c", "--from", "v6998", "--to", "v7002", "--json")
    local found = {}
    for i, line in ipairs(files.lines(r.out)) do
      local step = json.decode(line, 1, json.null)
      found[i] = { step.event.version, step.changes ~= json.null and #step.changes, step.error ~= nil }
    end

    assert.equal(1, r.code)
    assert.same({ { 6998, 1, false }, { 6999, 1, false }, { 7000, 0, true }, { 7001, false, false }, { 7002, false, false } },
      found)
    assert.matches("counter.lua:6: reducer 'counter': it went boom %(event %d+ 'add', key \"c\"%) %(version 7000 of counter 'c'%)", r.err)
    assert.matches("version 7000 of counter 'c'", refusal(1, "diff", "counter", "c", "v6990", "now"))
    local behind = run("history", "counter", "c", "--from", "v7050")
    assert.equal(1, behind.code)
    assert.matches("v7100  ", behind.out)
    assert.matches("version 7000 of counter 'c'", behind.err)
  end)

  it("goes on where it is to skip what fails", function()
    write_reducer((COUNTER:gsub("version = 1,", "version = 1, on_error = \"skip\",")))
    finally(write_reducer)

    local answer = ask()

    assert.same({ { n = 7099 }, 7100, 1 }, { answer.state, answer.version, answer.skipped })
    assert.same({ "n" }, { json.decode(moonwake.must({ "-C", dir, "diff", "counter", "c", "v6990", "now", "--json" },
      { db = dsn })).changes[1].path })
  end)
end)

describe("a state that was deleted", function()
  before_each(fresh)
  after_each(files.clean)

  it("is null, and begins anew with the next event", function()
    publish(3)
    sql("SELECT moonwake.publish_event('cleared', 'counter', 'c')")
    publish(1)

    assert.equal(json.null, ask("--version", "4").state)
    assert.same({ n = 1 }, ask().state)
    assert.equal("null\n", moonwake.must({ "-C", dir, "state", "counter", "c", "--version", "4" }, { db = dsn }))
    assert.matches("there is no state to keep at version 4", refusal(1, "state", "counter", "c", "--version", "4", "--snapshot"))
    local diff = json.decode(moonwake.must({ "-C", dir, "diff", "counter", "c", "3", "4", "--json" }, { db = dsn }))
    assert.same({ "n", 3 }, { diff.changes[1].path, diff.changes[1].before })
  end)
end)

describe("in a terminal", function()
  setup(function()
    fresh()
    sql([[SELECT moonwake.publish_event('add', 'counter', 'c', jsonb_build_object('by', i, 'note', CASE WHEN i > 2
      THEN repeat('long ', 30) ELSE E'bell \u0007 esc \u001b[31m turn \u202e' END), actor_type => 'user', actor_id => 'u-' || i)
      FROM generate_series(1, 4) i]])
    sql("SELECT moonwake.publish_event('seen', 'counter', 'c')")
  end)
  teardown(files.clean)

  --- The screen with times and ids that differ from run to run taken out.
  local function session(words, options)
    options = options or {}
    options.db = dsn
    local r = terminal.run({ "-C", dir, unpack(words) }, options)
    r.screen = r.screen:gsub("%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d%.%d%d%d", "TIME"):gsub("#%d+", "#ID")
      :gsub("event %d+", "event ID")
    return r
  end

  it("state shows the document and where it stands", function()
    local r = session { "state", "counter", "c", "--version", "2" }

    assert.equal(0, r.code)
    assert.equal([[
counter c  (reducer counter, version 1)
{"n": 3, "note": "bell \u0007 esc \u001b[31m turn \u202e"}
version 2 of 5, TIME, event ID; 2 events read]], r.screen)
    assert.matches("\27%[32m", r.raw)
    assert.is_nil(r.raw:find("\27[31m turn", 1, true))
  end)

  it("state breaks what does not fit into a line", function()
    local r = session({ "state", "counter", "c" }, { columns = 40 })

    assert.matches('\n{\n  "n": 10,\n  "note": "long long ', r.screen)
  end)

  it("history shows each event with what it changed", function()
    local r = session { "history", "counter", "c" }

    assert.equal(0, r.code)
    assert.equal([[
v1  TIME  add  by user/u-1  #ID
  + n     1
  + note  "bell \u0007 esc \u001b[31m turn \u202e"
v2  TIME  add  by user/u-2  #ID
  ~ n  1 -> 3
v3  TIME  add  by user/u-3  #ID
  ~ n     3 -> 6
  ~ note  "bell \u0007 esc \u001b[31m turn \u202e" -> "long long long long long long long long …
v4  TIME  add  by user/u-4  #ID
  ~ n  6 -> 10
v5  TIME  seen  #ID
versions 1 to 5 of 5]], r.screen)
  end)

  it("history shows the last events, and those that changed something", function()
    assert.matches("^v4  .*\nversions 4 to 5 of 5; 3 earlier: %-%-limit 0 shows all$",
      session({ "history", "counter", "c", "-n", "2" }).screen)
    assert.is_nil(session({ "history", "counter", "c", "--changes" }).screen:find("v5  ", 1, true))
  end)

  it("diff shows the fields under the events that changed them", function()
    local r = session { "diff", "counter", "c", "v1", "now" }

    assert.equal(0, r.code)
    assert.equal([[
v3  TIME  add  by user/u-3  #ID
  ~ note  "bell \u0007 esc \u001b[31m turn \u202e" -> "long long long long long long long long …
v4  TIME  add  by user/u-4  #ID
  ~ n     1 -> 10
version 1 to 5 of 5: 4 events between them, 5 read]], r.screen)
    assert.equal("no difference\nversion 4 to 5 of 5: 1 event between them, 5 read",
      session({ "diff", "counter", "c", "4", "5" }).screen)
  end)

  it("nothing is coloured where that is not wanted", function()
    for _, words in ipairs { { "state", "counter", "c" }, { "history", "counter", "c" }, { "diff", "counter", "c", "1", "3" } } do
      assert.is_nil(session(words, { env = { NO_COLOR = "1" } }).raw:find("\27", 1, true))
    end
  end)

  it("a pipe gets whole values and no footer", function()
    local out = moonwake.must({ "-C", dir, "state", "counter", "c" }, { db = dsn })

    assert.same({ n = 10, note = ("long "):rep(30) }, json.decode(out))
    assert.matches('\n  ~ note  .* %-> "' .. ("long "):rep(30) .. '"\n',
      moonwake.must({ "-C", dir, "history", "counter", "c" }, { db = dsn }))
  end)
end)
