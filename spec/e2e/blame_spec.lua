-- `moonwake blame`: which event, and which line of the script, gave each field the value that it has.
local dkjson = require "dkjson"
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local NULL = dkjson.null
local DATA = "../shared/data/"

local function decode(text)
  return (assert(dkjson.decode(text, 1, NULL)))
end

--- What `blame --json` says, by field; and the run itself.
local function blame(bench, ...)
  local r = moonwake.run({ "blame", "-C", bench.workspace, "--json", ... }, { db = bench.dsn })
  local fields = {}
  for line in r.out:gmatch("[^\n]+") do
    local field = decode(line)
    fields[field.field] = field
  end
  return fields, r
end

--- A bench with a reducer (or several) in its workspace.
local function with_reducers(reducers, projections)
  local bench = bench_of(projections or {})
  os.execute("mkdir -p " .. bench.workspace .. "/scripts/reducers")
  for name, source in pairs(reducers) do
    files.write(("%s/scripts/reducers/%s.lua"):format(bench.workspace, name), source)
  end
  return bench
end

-- ---- brute force: the scripts themselves in plain Lua, and a comparison of all leaves after every event ----

local function iso(seconds)
  local whole = math.floor(seconds)
  local us = math.floor((seconds - whole) * 1e6 + 0.5)
  return os.date("!%Y-%m-%dT%H:%M:%S", whole) .. (".%06dZ"):format(us)
end

local function instant(text)
  local y, mo, d, h, mi, s = text:match("^(%d+)-(%d+)-(%d+)[T ](%d+):(%d+):([%d.]+)")
  y, mo = tonumber(y), tonumber(mo)
  if mo <= 2 then
    y, mo = y - 1, mo + 12
  end
  local days = 365 * y + math.floor(y / 4) - math.floor(y / 100) + math.floor(y / 400)
    + math.floor((153 * (mo - 3) + 2) / 5) + tonumber(d) - 719469
  return ((days * 24 + tonumber(h)) * 60 + tonumber(mi)) * 60 + tonumber(s)
end

local ARRAY = {}

--- The definition that a file makes, with as much of its words as these scripts use.
local function definition_of(path)
  local found
  local function define()
    return function(def)
      found = def
    end
  end
  local env = setmetatable({ projection = define, reducer = define, iso = iso, delete = {},
    array = function(list) return setmetatable(list or {}, ARRAY) end }, { __index = _G })
  setfenv(assert(loadfile(path)), env)()
  return found
end

local function handler_for(def, event_type)
  local best
  for pattern in pairs(def.on) do
    local glob = "^" .. pattern:gsub("[%-.+?()%%%[%]^$]", "%%%0"):gsub("%*", ".*") .. "$"
    if pattern == event_type then
      return def.on[pattern]
    elseif event_type:match(glob) and (not best or #pattern > #best) then
      best = pattern
    end
  end
  return best and def.on[best]
end

--- path -> text of a leaf
local function flatten(value, path, out)
  if type(value) ~= "table" or value == NULL then
    out[path] = dkjson.encode(value)
  elseif next(value) == nil then
    out[path] = getmetatable(value) == ARRAY and "[]" or "{}"
  elseif #value > 0 then
    for i, item in ipairs(value) do
      flatten(item, ("%s[%d]"):format(path, i), out)
    end
  else
    for name, item in pairs(value) do
      local plain = name:match("^[%a_][%w_]*$")
      flatten(item, plain and (path == "" and name or path .. "." .. name) or ("%s[%s]"):format(path, dkjson.encode(name)), out)
    end
  end
  return out
end

--- A row as JSON sees it: every column, times as text.
local function row_leaves(def, row)
  local out = {}
  for name, column in pairs(def.columns) do
    local value = row[name]
    if value ~= nil and column:match("^timestamptz") then
      value = iso(type(value) == "string" and instant(value) or value)
    end
    flatten(value == nil and NULL or value, name, out)
  end
  return out
end

local function fresh(def)
  if not def.columns then
    return def.initial and def.initial() or {}
  end
  local row = {}
  for name, column in pairs(def.columns) do
    local default = column:match("default (.+)$")
    row[name] = default and dkjson.decode(default)
  end
  return row
end

--- path -> { id = the event, value = text, initial = no line set it }
local function brute_force(def, events)
  local state, before, blamed = nil, {}, {}
  for _, event in ipairs(events) do
    local handler = handler_for(def, event.type)
    if handler then
      local began = not state and fresh(def)
      state = state or began
      local function leaves()
        return def.columns and row_leaves(def, state) or flatten(state, "", {})
      end
      local initial = began and leaves() or {}
      local result = handler(state, event)
      state = type(result) == "table" and result or state
      local after = leaves()
      for path, value in pairs(after) do
        if before[path] ~= value then
          blamed[path] = { id = event.id, value = value, initial = initial[path] == value }
        end
      end
      for path in pairs(before) do
        if after[path] == nil then
          blamed[path] = nil
        end
      end
      before = after
    end
  end
  return blamed
end

local function events_of(bench, aggregate)
  local text = bench:psql(([[SELECT coalesce(json_agg(json_build_object('id', id, 'type', event_type, 'data', data,
    'actor_id', actor_id, 'correlation_id', correlation_id, 'version', version, 'aggregate_id', aggregate_id,
    'occurred_at', extract(epoch FROM occurred_at)::float8) ORDER BY id), '[]')
    FROM moonwake.events WHERE aggregate_id = %s]]):format("'" .. aggregate:gsub("'", "''") .. "'"))
  local events = dkjson.decode(text)
  for _, event in ipairs(events) do
    event.actor_id = event.actor_id ~= NULL and event.actor_id or nil
  end
  return events
end

describe("blame of real logs", function()
  local server = pg.shared()
  local bench

  setup(function()
    bench = bench_of({}, server)
    assert(os.execute(("cp -r spec/workspaces/real/. %s && chmod -R u+w %s && mkdir -p %s/scripts/reducers"):format(
      bench.workspace, bench.workspace, bench.workspace)) == 0)
    files.write(bench.workspace .. "/scripts/reducers/incident.lua", [[
local function moved(state, group)
  if state.group == group then
    return state.moves
  end
  return state.moves + 1
end

reducer "incident" {
  aggregate = "incident",
  initial = function()
    return { seen = 0, moves = 0, people = {} }
  end,
  on = {
    ["incident.*"] = function(state, event)
      local data = event.data
      local people = {}
      for name, count in pairs(state.people) do
        people[name] = count
      end
      local who = data.sys_updated_by or "nobody"
      people[who] = (people[who] or 0) + 1
      return {
        seen = state.seen + 1,
        moves = moved(state, data.assignment_group),
        group = data.assignment_group or state.group,
        state = data.incident_state,
        people = people,
        last = { by = who, version = event.version },
      }
    end,
  },
}
]])
    for path, map in pairs { ["github/gharchive-2015-01-01-0.ndjson.gz"] = "github",
      ["process/uci_incident_event_log.csv.gz"] = "incidents", ["process/helpdesk.ndjson.gz"] = "helpdesk" } do
      local to = files.dir() .. "/" .. path:match("([^/]+)%.gz$")
      assert(os.execute(("gzip -dc %s | head -n 40001 >%s"):format(DATA .. path, to)) == 0)
      moonwake.must({ "import", to, "--map", "scripts/import/" .. map .. ".lua" }, { db = bench.dsn, timeout = 300 })
    end
  end)

  teardown(files.clean)

  --- The aggregates of a type: those with most events, and some others.
  local function pick(aggregate_type, most, others)
    return files.lines(bench:psql(([[
      (SELECT aggregate_id FROM moonwake.streams WHERE aggregate_type = '%s' ORDER BY version DESC, aggregate_id LIMIT %d)
      UNION
      (SELECT aggregate_id FROM moonwake.streams WHERE aggregate_type = '%s' ORDER BY md5(aggregate_id) LIMIT %d)]])
      :format(aggregate_type, most, aggregate_type, others)))
  end

  --- How many fields were compared; `words(id)` are those behind `blame`.
  local function compare(def, ids, words)
    local compared = 0
    for _, id in ipairs(ids) do
      local expected = brute_force(def, events_of(bench, id))
      local fields, r = blame(bench, unpack(words(id)))
      assert.equal(0, r.code, r.err)
      for path, e in pairs(expected) do
        local f = assert(fields[path], id .. ": no field " .. path)
        local got = flatten(f.value, "", {})[""]
        assert.same({ path, e.id, e.initial and "yes" or "no" },
          { path, f.event.id, (f.origin == "default" or f.origin == "initial") and "yes" or "no" }, id)
        if not e.value:match("^[%[{]") then
          assert.equal(e.value, got, id .. " " .. path)
        end
        assert.is_true(e.initial or f.origin == "line", id .. " " .. path)
        fields[path] = nil
        compared = compared + 1
      end
      assert.is_nil(next(fields), id .. ": unexpected field " .. tostring((next(fields))))
    end
    return compared
  end

  it("equals a comparison of all leaves after every event: rows of typed columns", function()
    local real = bench.workspace .. "/projections/"

    assert.is_true(compare(definition_of(real .. "incident_state.lua"), pick("incident", 15, 25), function(id)
      return { "projection", "incident_state", id }
    end) > 400)
    assert.is_true(compare(definition_of(real .. "repository_activity.lua"), pick("repository", 10, 15), function(id)
      return { "projection", "repository_activity", id }
    end) > 200)
  end)

  it("equals it for documents", function()
    assert.is_true(compare(definition_of(bench.workspace .. "/projections/helpdesk_ticket.lua"), pick("ticket", 10, 10),
      function(id)
        return { "projection", "helpdesk_ticket", id }
      end) > 150)
  end)

  it("equals it for the states of a reducer that makes each state anew", function()
    local path = bench.workspace .. "/scripts/reducers/incident.lua"

    assert.is_true(compare(definition_of(path), pick("incident", 10, 20), function(id)
      return { "incident", id }
    end) > 250)
    local fields = blame(bench, "incident", pick("incident", 1, 0)[1])
    assert.same({ "moves = moved(state, data.assignment_group),", "state = data.incident_state,", "last = { by = who, version = event.version }," },
      { fields.moves.text, fields.state.text, fields["last.version"].text })
  end)
end)

describe("blame", function()
  after_each(files.clean)

  --- field -> "file:line event", of what `blame` says
  local function lines(fields)
    local out = {}
    for name, f in pairs(fields) do
      out[name] = ("%s %d"):format(f.origin == "line" and ("%s:%d"):format(f.file:match("([^/]+)%.lua$"), f.line) or f.origin,
        f.event.id)
    end
    return out
  end

  it("finds the line in helpers, modules, loops and several assignments on one line", function()
    local bench = bench_of { p = [[
local names = require "names"

local function bump(row, by)
  row.n = row.n + by
end

projection "p" {
  columns = { n = "bigint default 0", a = "bigint", b = "bigint", name = "text", list = "jsonb", same = "text default 'x'",
    never = "text", sum = "bigint default 0" },
  on = {
    ["one"] = function(row, event)
      bump(row, 1)
      row.a, row.b = 1, 2
      names.set(row, event.data.name)
      row.same = "x"
    end,
    ["two"] = function(row)
      row.b, row.a = 3, 1
      row.list = array {}
      for i = 1, 3 do
        row.list[i] = { i = i }
        row.sum = row.sum + i
      end
      row.list[2] = {
        i = 2,
        more = true,
      }
    end,
    ["three"] = function(row)
      table.insert(row.list, { i = 9 })
      for i, item in ipairs(row.list) do item.even = i % 2 == 0 end
    end,
  },
}
]] }
    files.write(bench.workspace .. "/scripts/lib/names.lua", [[
local names = {}
function names.set(row, name)
  if name then
    row.name = name:upper()
  end
end
return names
]])
    bench:publish("one", "x", '{"name":"first"}')
    bench:publish("one", "x", "{}")
    bench:publish("two", "x", "{}")
    bench:publish("one", "y", "{}")
    bench:publish("three", "x", "{}")

    assert.same({ n = "p:4 2", a = "p:13 1", b = "p:18 3", name = "names:4 1", same = "default 1", never = "default 1",
      sum = "p:22 3", ["list[1].i"] = "p:21 3", ["list[1].even"] = "p:31 5", ["list[2].i"] = "p:21 3",
      ["list[2].more"] = "p:26 3", ["list[2].even"] = "p:31 5", ["list[3].i"] = "p:21 3", ["list[3].even"] = "p:31 5",
      ["list[4].i"] = "p:30 5", ["list[4].even"] = "p:31 5" }, lines((blame(bench, "projection", "p", "x"))))
  end)

  it("of a reducer finds lines in `initial`, in new states and in replaced tables", function()
    local bench = with_reducers { thing = [[
reducer "thing" {
  aggregate = "thing",
  initial = function()
    local state = {}
    state.kind = "new"
    state.seen = 0
    return state
  end,
  on = {
    made = function(state, event)
      state.target = event.data
      state.seen = state.seen + 1
    end,
    renewed = function(state)
      return {
        kind = state.kind, seen = state.seen + 1,
        target = { size = state.target.size, color = "red" },
        list = {
          "a",
          "b",
        },
      }
    end,
    lost = function() return delete end,
  },
}
]] }
    bench:publish("made", "x", '{"size":1,"color":"blue"}')
    local first = lines((blame(bench, "thing", "x")))
    bench:publish("renewed", "x")
    local second = lines((blame(bench, "thing", "x")))
    bench:publish("lost", "x")
    local _, none = blame(bench, "thing", "x")
    bench:publish("made", "x", '{"size":1}')
    local again = lines((blame(bench, "thing", "x")))

    assert.same({ kind = "initial 1", seen = "thing:12 1", ["target.size"] = "thing:11 1", ["target.color"] = "thing:11 1" }, first)
    assert.same({ kind = "initial 1", seen = "thing:16 2", ["target.size"] = "thing:11 1", ["target.color"] = "thing:17 2",
      ["list[1]"] = "thing:18 2", ["list[2]"] = "thing:18 2" }, second)
    assert.equal(1, none.code)
    assert.matches("thing 'x': there is no state: event 3 deleted it", none.err)
    assert.same({ kind = "initial 4", seen = "thing:12 4", ["target.size"] = "thing:11 4" }, again)
    assert.equal("scripts/reducers/thing.lua", blame(bench, "thing", "x").kind.file)
    assert.equal("return state", blame(bench, "thing", "x").kind.text)
  end)

  it("tells who did it, and narrows to a field", function()
    local bench = bench_of { p = [[projection "p" { on = { ["*"] = function(state, event)
      state[event.type] = { by = event.actor_id, n = { event.id } }
    end } }]] }
    bench:psql [[SELECT * FROM moonwake.publish_events('[
      {"event_type": "a", "aggregate_type": "thing", "aggregate_id": "x", "correlation_id": "c-1", "actor_type": "user", "actor_id": "ada",
       "occurred_at": "2026-01-02T03:04:05Z"},
      {"event_type": "ab", "aggregate_type": "thing", "aggregate_id": "x"}]')]]

    local fields = blame(bench, "projection", "p", "x", "a")
    assert.same({ "c-1", "user", "ada", "a", 1, "2026-01-02T03:04:05.000000Z" }, { fields["a.by"].event.correlation_id,
      fields["a.by"].event.actor_type, fields["a.by"].event.actor_id, fields["a.by"].event.event_type,
      fields["a.by"].event.version, fields["a.by"].event.occurred_at })
    assert.is_nil(fields["ab.n[1]"])
    assert.same({ ["ab.n[1]"] = "p:2 2" }, lines((blame(bench, "projection", "p", "x", "ab.n"))))

    local text = moonwake.must({ "blame", "-C", bench.workspace, "projection", "p", "x" }, { db = bench.dsn })
    assert.matches("field%s+value%s+event%s+time%s+by%s+line", text)
    assert.matches('a%.by%s+"ada"%s+#1 a%s+%d%d%d%d%-%d%d%-%d%d [%d:.]+%s+user/ada c%-1%s+projections/p.lua:2%s+state%[event.type%] = ', text)
  end)

  it("fits the terminal: a line for each field where it is wide, three where it is not", function()
    local bench = bench_of { p = [[projection "p" { columns = { n = "bigint", name = "text", nothing = "text default 'x'" },
  on = { ["*"] = function(row, event)
    row.n, row.name = event.data.n, event.data.name
  end } }]] }
    bench:publish("device.online", "x", ('{"n":1,"name":"%s"}'):format(("é\\u001b"):rep(60)))
    local function screen(width)
      local out = files.command(("env -u NO_COLOR DATABASE_URL='%s' TERM=xterm script -qec 'stty cols %d; %s blame -C %s projection p x' /dev/null")
        :format(bench.dsn, width, moonwake.bin, bench.workspace)):gsub("\r", "")
      local plain = out:gsub("\27%[[%d;]*m", "")
      for line in plain:match("\n(.*)"):gmatch("[^\n]+") do -- below the title
        local _, columns = line:gsub("[^\128-\191]", "")
        assert.is_true(columns <= width, ("%d columns of %d: %s"):format(columns, width, line))
      end
      assert.is_nil(plain:find("\27", 1, true))
      return plain
    end

    assert.matches("n +1 +#1 device.online +[%d-]+ [%d:.]+ +projections/p.lua:3 +row.n, row.name = ", screen(160))
    assert.matches("nothing +\"x\" +#1 device.online +[%d-]+ [%d:.]+ +%(default%)", screen(160))
    assert.matches("\nn  1\n    #1 device.online  [%d-]+ [%d:.]+\n    projections/p.lua:3  row.n, row.name = event.data.n, ev…\n", screen(60))
    assert.matches("\nnothing  \"x\"\n    #1 device.online  [%d-]+ [%d:.]+\n    %(default%)", screen(60))
    assert.matches("\nn  1\n    #1 device", screen(24))
  end)

  it("answers for a time", function()
    local bench = bench_of { p = true }
    bench:publish("a", "x", '{"n":1}')
    bench:psql "SELECT pg_sleep(0.01)"
    local at = bench:psql [[SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')]]
    bench:psql "SELECT pg_sleep(0.01)"
    bench:publish("a", "x", '{"n":0}')

    local fields = blame(bench, "projection", "p", "x", "--at", at)
    assert.same({ 1, 1, 1 }, { fields.total.value, fields.events.value, fields.events.event.id })
    fields = blame(bench, "projection", "p", "x")
    assert.same({ 1, 1, 2, 2 }, { fields.total.value, fields.total.event.id, fields.events.value, fields.events.event.id })
    local _, r = blame(bench, "projection", "p", "x", "--at", "2020-01-01")
    assert.equal(1, r.code)
    assert.matches("no event that the script takes has this key by then", r.err)
  end)

  it("knows keys of several columns, of other types, and those that a function makes", function()
    local bench = bench_of { pair = [[projection "pair" {
  key = { "data.site", "data.n" }, key_column = { "site", "nth" },
  columns = { site = "text", nth = "bigint", last = "bigint" },
  on = { t = function(row, event) row.last = event.id end },
}]], day = [[projection "day" {
  key = function(event) return utc_date(event.occurred_at) end, key_column = "day",
  columns = { day = "date", last = "bigint" },
  on = { t = function(row, event) row.last = event.id end },
}]], each = [[projection "each" {
  key = function(event) return event.data.tags end,
  on = { t = function(state, event)
    state.n = (state.n or 0) + 1
    if state.n == event.data.limit then
      state.full = true
    end
    state.last = event.data.site
  end },
}]] }
    bench:publish("t", "x", '{"site":"a b","n":7,"tags":["red","blue"],"limit":9}')
    bench:publish("t", "x", '{"site":"c","n":7,"tags":["blue"],"limit":2}')
    bench:publish("t", "y", '{"site":"a b","n":7,"tags":["green","red"],"limit":9}')
    local today = bench:psql "SELECT (now() AT TIME ZONE 'UTC')::date"

    for _, key in ipairs { { "a b", "7" }, { '["a b",7]' }, { '[ "a b", 7.0 ]' } } do
      local fields, r = blame(bench, "projection", "pair", unpack(key))
      assert.same({ last = "pair:4 3" }, lines(fields), r.err)
      local words = { unpack(key) }
      words[#words + 1] = "last"
      assert.same({ last = "pair:4 3" }, lines((blame(bench, "projection", "pair", unpack(words)))))
    end
    assert.same({ last = "day:4 3" }, lines((blame(bench, "projection", "day", today))))
    assert.same({ n = "each:4 2", full = "each:6 2", last = "each:8 2" }, lines((blame(bench, "projection", "each", "blue"))))
    assert.same({ n = "each:4 3", last = "each:8 1" }, lines((blame(bench, "projection", "each", "red"))))

    local _, r = blame(bench, "projection", "pair", "a b")
    assert.equal(2, r.code)
    assert.matches("the key has 2 parts: site, nth", r.err)
    _, r = blame(bench, "projection", "pair", "a b", "seven")
    assert.matches("key column 'nth' is of type bigint, and 'seven' is none", r.err)
    _, r = blame(bench, "projection", "each", "bleu")
    assert.equal(1, r.code)
    assert.matches('no event that the script takes has this key %(did you mean "blue"%?%)', r.err)
  end)

  it("of a script that fails ends where the daemon would, and says so", function()
    local source = [[projection "p" { on_error = "%s", on = { t = function(state, event)
      state.n = event.data.n
      if event.data.n == 3 then
        error("three is too many")
      end
    end } }]]
    local bench = bench_of { p = source:format("stop") }
    for n = 1, 4 do
      bench:publish("t", "x", ('{"n":%d}'):format(n))
    end

    local fields, r = blame(bench, "projection", "p", "x")
    assert.equal(1, r.code)
    assert.same({ n = "p:2 2" }, lines(fields))
    assert.matches("projections/p.lua:4: projection 'p': three is too many %(event 3 't'", r.err)
    bench:save("p", source:format("skip"))
    fields, r = blame(bench, "projection", "p", "x")
    assert.equal(0, r.code)
    assert.same({ n = "p:2 4" }, lines(fields))
    bench:save("p", source:format("park_key"))
    fields = blame(bench, "projection", "p", "x")
    assert.same({ n = "p:2 2" }, lines(fields))
  end)

  it("says what it does not know", function()
    local bench = with_reducers({ thing = [[reducer "thing" { aggregate = "thing", on = { t = function(state, event)
      state.count, state.gone = (state.count or 0) + 1, state.count == nil and 1 or nil
    end } }]] }, { p = true, s = [[projection "s" { sql = true, tables = { t = "n int" }, on = { t = function() end } }]] })
    bench:publish("t", "aggregate-1")
    bench:publish("t", "aggregate-1")

    local function fails(code, pattern, ...)
      local _, r = blame(bench, ...)
      assert.equal(code, r.code, r.out .. r.err)
      assert.matches(pattern, r.err)
      assert.equal("", r.out)
    end
    fails(1, "thing 'aggregate%-2': there is no such aggregate %(did you mean aggregate%-1%?%)", "thing", "aggregate-2")
    fails(2, "no reducer folds aggregates of type 'thnig' %(did you mean 'thing'%?%)", "thnig", "aggregate-1")
    fails(2, "there is no field 'coutn' %(did you mean 'count'%?%)", "thing", "aggregate-1", "coutn")
    fails(1, "field 'gone' is not there: event 2 removed it", "thing", "aggregate-1", "gone")
    fails(2, "script 'q'", "projection", "q", "aggregate-1")
    fails(1, "projection 'p', key \"aggregate%-2\": no event .* %(did you mean aggregate%-1%?%)", "projection", "p", "aggregate-2")
    fails(2, "field 'key' is the key itself", "projection", "p", "aggregate-1", "key")
    fails(2, "there is no field 'total.x'", "projection", "p", "aggregate-1", "total.x")
    fails(2, "is no projection", "projection", "thing", "aggregate-1")
    fails(2, "sql = true", "projection", "s", "aggregate-1")
    fails(2, "takes the type and the id", "thing")
    fails(2, "takes its name, the key", "projection", "p")
    fails(2, "unexpected word 'more'", "projection", "p", "aggregate-1", "total", "more")
    fails(2, "takes no %-%-reducer", "projection", "p", "aggregate-1", "--reducer", "thing")
    fails(2, "%-%-at", "thing", "aggregate-1", "--at", "yesterdayish")
    fails(1, "thing 'aggregate%-1'", "thing", "aggregate-1", "--at", "2020-01-01")
    files.write(bench.workspace .. "/projections/p.lua", "projection 'p' {")
    fails(1, "projections/p.lua:1", "projection", "p", "aggregate-1")
  end)

  it("changes nothing", function()
    local bench = bench_of { p = true }
    bench:publish("a", "x", '{"n":1}')
    local function tables()
      return bench:psql [[SELECT string_agg(relname || n_tup_ins + n_tup_upd + n_tup_del, ',' ORDER BY relname)
        FROM pg_stat_user_tables]]
    end
    bench:psql "SELECT pg_stat_force_next_flush()"
    local before = tables()
    blame(bench, "projection", "p", "x")

    assert.equal(before, tables())
    assert.equal("", bench:psql "SELECT to_regclass('moonwake.p')")
  end)
end)
