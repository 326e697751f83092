local ffi = require "ffi"
local c = require "spec.support.c"
local script = require "spec.support.script"

local C = c.load { "base/err.h", "base/mem.h", "model/event.h", "model/handler.h", "flow/memory_table.h" }
ffi.cdef "void free(void *);"

local SEED = tonumber(os.getenv("SEED") or os.time())

local function str(s)
  return ffi.new("Str", { ffi.cast("const char *", s), #s })
end

local function text(s)
  return s.s ~= nil and ffi.string(s.s, s.len) or nil
end

local function put(t, key, state, position)
  local row = ffi.new("MemoryRow", { key = str(key), position = position or 0 })
  if state then
    row.state = str(state)
  end
  C.memory_table_put(t, row)
end

local function get(t, key)
  local row = C.memory_table_get(t, str(key))
  return row ~= nil and text(row.state) or nil, row ~= nil and tonumber(row.position) or nil
end

local function rows(t)
  local n = ffi.new("size_t[1]")
  local array = C.memory_table_rows(t, n)
  local out = {}
  for i = 0, tonumber(n[0]) - 1 do
    out[i + 1] = { key = text(array[i].key), state = text(array[i].state), position = tonumber(array[i].position),
      updated_us = tonumber(array[i].updated_us) }
  end
  ffi.C.free(array)
  return out
end

local function new()
  return ffi.gc(C.memory_table_new(), C.memory_table_free)
end


describe("a memory table", function()
  it("holds what a Lua table holds, through thousands of random changes", function()
    math.randomseed(SEED)
    local t, model, keys = new(), {}, {}
    for i = 1, 20000 do
      local key = '"' .. ("k"):rep(math.random(0, 12)) .. math.random(0, 400) .. '"'
      local state = math.random() < 0.3 and nil or ("s"):rep(math.random(0, 300)) .. i
      put(t, key, state, i)
      model[key] = state and { state, i } or nil
      keys[key] = true
      if i % 97 == 0 then
        for k in pairs(keys) do
          local got, position = get(t, k)
          local expected = model[k] or {}
          if got ~= expected[1] or position ~= expected[2] then
            error(("key %s, seed %d"):format(k, SEED))
          end
        end
      end
    end

    local sorted = {}
    for k in pairs(model) do
      sorted[#sorted + 1] = k
    end
    table.sort(sorted)
    local got = rows(t)
    assert.equal(#sorted, #got)
    assert.equal(#sorted, tonumber(C.memory_table_count(t)))
    for i, k in ipairs(sorted) do
      assert.equal(k, got[i].key, "seed " .. SEED)
      assert.equal(model[k][1], got[i].state, "seed " .. SEED)
    end
    assert.is_true(C.memory_table_bytes(t) > 0)
    C.memory_table_clear(t)
    assert.equal(0, tonumber(C.memory_table_count(t)))
    assert.equal(0, tonumber(C.memory_table_bytes(t)))
    assert.is_nil((get(t, sorted[1])))
  end)

  it("takes a row that it gave away, and empty keys and states", function()
    local t = new()
    put(t, '"a"', '{"n":1}', 1)
    C.memory_table_put(t, C.memory_table_get(t, str '"a"'))
    put(t, "", "")

    assert.equal('{"n":1}', (get(t, '"a"')))
    assert.equal("", (get(t, "")))
  end)
end)


--- Events through the handler and the table, in pages of `size`.
local function run(s, t, events, size)
  local err = ffi.new("Err")
  for first = 1, #events, size do
    local page = s:page { unpack(events, first, math.min(first + size - 1, #events)) }
    assert.is_true(C.memory_table_prepare(t, s.handler, page.slice, 0, page.count, err), ffi.string(err.message))
    local result, _, why = s:step(page)
    assert.equal("done", result, why and why.message)
    assert.is_true(C.memory_table_commit(t, s.handler, err), ffi.string(err.message))
  end
  return rows(t)
end

local FORMS = {
  columns = [[key = "aggregate_id", columns = { n = "bigint default 0", note = "text", seen = "timestamptz", tree = "jsonb",
      price = "numeric", state = "text" },
    on = { ["t"] = function(row, event)
      row.n = row.n + 1
      row.note = event.data.note or row.note
      row.seen = event.occurred_at
      row.price = event.data.price or row.price
      row.state = "s" .. row.n
      row.tree = row.tree or {}
      row.tree[#row.tree + 1] = { event.data.note or json.null, event.id }
      if #row.tree > 5 then row.tree = nil end
      if event.data.gone then return delete end
    end }]],
  document = [[key = { "aggregate_id", "data.site" }, on = { ["t"] = function(state, event)
      state.n = (state.n or 0) + 1
      state.last = event.data
      state["}],\""] = { "[{", event.data.note }
      if event.data.gone then return delete end
    end }]],
}

local REDUCER = [[initial = function() return { n = 0 } end,
    on = { ["t"] = function(state, event)
      state.n = state.n + 1
      state.last = event.data
      state["}],\""] = { "[{", event.data.note }
      if event.data.gone then return { n = -1 } end
    end }]]

local function define(form)
  if form == "reducer" then
    return script.define_reducer(REDUCER)
  end
  return script.define(FORMS[form])
end

local NOTES = { "plain", 'with "quotes", ] and }', "back\\slash\\", "größe 🚀", "", "line\nbreak" }

local function random_events(n)
  local events = {}
  for i = 1, n do
    local note = NOTES[math.random(#NOTES)]
    events[i] = { math.random(9) > 1 and "t" or "other", "a" .. math.random(12) .. (math.random(4) == 1 and NOTES[math.random(4)] or ""), id = i, version = i,
      us = math.random(0, 999999),
      data = { note = math.random(3) > 1 and note or nil, site = NOTES[math.random(#NOTES)], price = math.random(1000) / 100,
        gone = math.random(10) == 1 or nil } }
  end
  return events
end

describe("a script over a memory table", function()
  after_each(script.clean)

  for _, form in ipairs { "columns", "document", "reducer" } do
    it("gives the same bytes whatever the pages are, cached or not: " .. form, function()
      math.randomseed(SEED)
      local events = random_events(400)
      local whole = define(form)
      local expected = run(whole, new(), events, 400)
      assert.is_true(#expected > 5)

      for _, size in ipairs { 1, 7, 64 } do
        local s, t = define(form), new()
        assert.same(expected, run(s, t, events, size), "seed " .. SEED)
        s:close()
      end
      -- a cache of nothing: each state comes back from the table
      local s, t, err = define(form), new(), ffi.new("Err")
      for _, event in ipairs(events) do
        local page = s:page { event }
        assert.is_true(C.memory_table_prepare(t, s.handler, page.slice, 0, 1, err))
        assert.equal("done", (s:step(page)))
        assert.is_true(C.memory_table_commit(t, s.handler, err))
        s:forget()
      end
      assert.same(expected, rows(t), "seed " .. SEED)
      s:close()
      whole:close()
    end)
  end

  it("knows when and by which event a row was changed last", function()
    local s, t = script.define('columns = { n = "bigint" }, on = { ["t"] = function(row) row.n = 1 end }'), new()
    local got = run(s, t, { { "t", "x", id = 41, timestamp = 1767225600, us = 123456 } }, 1)

    assert.same({ { key = '"x"', state = '{"n":1}', position = 41, updated_us = 1767225600123456 } }, got)
    s:close()
  end)

  it("is refused where the script keeps its state in the database alone", function()
    local s = script.define('sql = true, tables = { t = "a int" }, on = { ["t"] = function(db, event) end }')
    local page, err = s:page { { "t" } }, ffi.new("Err")

    assert.is_false(C.memory_table_prepare(new(), s.handler, page.slice, 0, 1, err))
    assert.matches("projections/p.lua: .*sql = true", ffi.string(err.message))
    s:close()
  end)
end)
