-- What a rule raised in one version against another, compared with a slow and plain comparison; and how it is drawn.
local ffi = require "ffi"
local c = require "spec.support.c"
local json = require "dkjson"

ffi.cdef "typedef struct _IO_FILE FILE;"
local C = c.load { "base/err.h", "base/mem.h", "pg/pg_rows.h", "app/term.h", "app/episodes.h", "app/timeline.h", "app/duration.h" }
ffi.cdef "void free(void *);"

local SEED = tonumber(os.getenv("SEED") or os.time())
local CHANGES = { "added", "removed", "moved", "longer", "shorter", "severity" }

local function str(s)
  return ffi.new("Str", { ffi.cast("const char *", s), #s })
end

local function uuid(n)
  return ("%08x-0000-8000-8000-000000000000"):format(n)
end

--- What a rule would raise for an episode { id, key, since, fired, ended, severity, signal }.
local function effects_of(e)
  local function effect(transition, at)
    return json.encode { kind = "alert", transition = transition, episode = uuid(e.id), key_text = json.encode(e.key),
      at = at, since = e.since, severity = e.severity, signal = e.signal or false, reason = transition == "resolved" and "cleared" or nil }
  end
  local out = {}
  if e.fired ~= e.since and not e.signal then
    out[1] = effect("pending", e.since)
  end
  if e.fired then
    out[#out + 1] = effect("firing", e.fired)
  end
  if e.ended and not e.signal then
    out[#out + 1] = effect("resolved", e.ended)
  end
  return out
end

local function episodes_of(list, from, till)
  local episodes = ffi.gc(C.episodes_new(), C.episodes_free)
  for _, e in ipairs(list) do
    for _, effect in ipairs(effects_of(e)) do
      C.episodes_take(episodes, str(effect))
    end
  end
  C.episodes_clip(episodes, from, till)
  return episodes
end

local function side(e)
  return e ~= nil and tonumber(ffi.string(e.id.s, 8), 16) or nil
end

--- { { before, now, changes = "moved longer", moved, longer }, … } by their ids, and the counts.
local function compared(before, now, from, till)
  local diff = ffi.new("EpisodeDiff")
  local a, b = episodes_of(before, from, till), episodes_of(now, from, till)
  C.episodes_compare(a, b, from, till, diff)
  local out, counts = {}, { same = tonumber(diff.same) }
  for i = 0, tonumber(diff.count) - 1 do
    local p, names = diff.pairs[i], {}
    for n, name in ipairs(CHANGES) do
      if math.floor(p.changes / 2 ^ (n - 1)) % 2 == 1 then
        names[#names + 1] = name
      end
    end
    out[i + 1] = { before = side(p.before), now = side(p.now), changes = table.concat(names, " "),
      moved = tonumber(p.moved_us), longer = tonumber(p.longer_us) }
  end
  for n, name in ipairs(CHANGES) do
    counts[name] = tonumber(diff.changed[n - 1])
  end
  C.episode_diff_free(diff)
  return out, counts
end

-- ---- the plain comparison: every pair is looked at ----

local function seen(list, from, till)
  local out = {}
  for _, e in ipairs(list) do
    local over = e.signal and e.fired or e.ended
    if e.fired and e.fired < till and (not over or over >= from) then
      out[#out + 1] = { id = e.id, key = e.key, since = e.since, severity = e.severity,
        from = math.max(e.fired, from), to = math.min(over or till, till) }
    end
  end
  table.sort(out, function(a, b)
    if a.key ~= b.key then
      return a.key < b.key
    end
    return a.from < b.from
  end)
  return out
end

local function naive(before, now, from, till)
  local a, b, candidates, out, taken = seen(before, from, till), seen(now, from, till), {}, {}, {}
  for i, x in ipairs(a) do
    for j, y in ipairs(b) do
      local overlap = math.min(x.to, y.to) - math.max(x.from, y.from)
      if x.key == y.key and (x.since == y.since or overlap >= 0) then
        candidates[#candidates + 1] = { i = i, j = j, first = x.since == y.since, overlap = math.max(overlap, 0) }
      end
    end
  end
  table.sort(candidates, function(p, q)
    if p.first ~= q.first then
      return p.first
    elseif p.overlap ~= q.overlap then
      return p.overlap > q.overlap
    elseif p.i ~= q.i then
      return p.i < q.i
    end
    return p.j < q.j
  end)
  for _, p in ipairs(candidates) do
    local x, y = a[p.i], b[p.j]
    if not taken[x] and not taken[y] then
      taken[x], taken[y] = true, true
      local moved, longer, changes = y.from - x.from, (y.to - y.from) - (x.to - x.from), {}
      changes[#changes + 1] = moved ~= 0 and "moved" or nil
      changes[#changes + 1] = longer > 0 and "longer" or longer < 0 and "shorter" or nil
      changes[#changes + 1] = x.severity ~= y.severity and "severity" or nil
      out[("%s-%s"):format(x.id, y.id)] = { table.concat(changes, " "), moved, longer }
    end
  end
  for _, x in ipairs(a) do
    out[x.id .. "-"] = not taken[x] and { "removed", 0, 0 } or nil
  end
  for _, y in ipairs(b) do
    out["-" .. y.id] = not taken[y] and { "added", 0, 0 } or nil
  end
  return out
end

--- Episodes of a few keys that follow each other, as a rule makes them.
local function random_history(first_id, keys)
  local out, id = {}, first_id
  for key = 1, keys do
    local t = math.random(0, 20)
    while t < 200 and math.random() < 0.9 do
      local e = { id = id, key = "k" .. key, since = t, severity = math.random() < 0.7 and "warning" or "critical" }
      e.fired = t + (math.random() < 0.4 and math.random(1, 5) or 0)
      if math.random() < 0.1 then
        e.fired, e.ended = nil, t + math.random(1, 5)
      elseif math.random() < 0.2 then
        e.fired, e.signal, e.ended = e.since, true, e.since
      elseif math.random() < 0.95 then
        e.ended = e.fired + math.random(0, 30)
      end
      out[#out + 1] = e
      id = id + 1
      if not e.ended then
        break
      end
      t = e.ended + math.random(1, 25)
    end
  end
  return out
end

--- The same history as another version might have raised it.
local function disturbed(list, first_id)
  local out = {}
  for i, e in ipairs(list) do
    local copy = {}
    for name, value in pairs(e) do
      copy[name] = value
    end
    copy.id = first_id + i
    if math.random() < 0.3 and copy.fired and copy.ended and not copy.signal then
      copy.fired = math.random(copy.since, copy.ended)
      copy.ended = math.random(copy.fired, copy.ended)
    end
    if math.random() < 0.2 then
      copy.severity = "error"
    end
    if math.random() < 0.8 then
      out[#out + 1] = copy
    end
  end
  return out
end


describe("the comparison of episodes", function()
  local function one(changes)
    local base = { id = 1, key = "a", since = 100, fired = 100, ended = 200, severity = "warning" }
    local other = {}
    for name, value in pairs(base) do
      other[name] = value
    end
    other.id = 2
    for name, value in pairs(changes) do
      other[name] = value
    end
    local pairs_of = compared({ base }, { other }, 0, 1000)
    assert.equal(1, #pairs_of)
    return pairs_of[1]
  end

  it("says what became of an episode", function()
    assert.equal("", one({}).changes)
    assert.equal("longer", one({ ended = 260 }).changes)
    assert.equal("shorter", one({ ended = 140 }).changes)
    assert.equal("moved shorter", one({ fired = 130 }).changes)
    assert.equal("moved", one({ since = 110, fired = 110, ended = 210 }).changes)
    assert.equal("severity", one({ severity = "critical" }).changes)
    assert.same({ before = 1, now = 2, changes = "moved shorter severity", moved = 30, longer = -50 },
      one { fired = 130, ended = 180, severity = "info" })
  end)

  it("keeps to what lies within its bounds", function()
    local before = { { id = 1, key = "a", since = 50, fired = 50, ended = 300, severity = "info" },
      { id = 3, key = "b", since = 10, fired = 10, ended = 90, severity = "info" } }
    local now = { { id = 2, key = "a", since = 80, fired = 80, severity = "info" },
      { id = 4, key = "c", since = 250, fired = 250, severity = "info" } }

    assert.same({ { before = 1, now = 2, changes = "", moved = 0, longer = 0 } }, (compared(before, now, 100, 250)))
  end)

  it("leaves out what was pending only, and counts it", function()
    local episodes = episodes_of({ { id = 1, key = "a", since = 10, ended = 20, severity = "info" } }, 0, 100)

    assert.equal(0, tonumber(C.episodes_count(episodes)))
    assert.equal(1, tonumber(C.episodes_pending(episodes)))
  end)

  it("agrees with a comparison of every pair, over random histories", function()
    math.randomseed(SEED)
    for round = 1, 300 do
      local before = random_history(1, math.random(1, 6))
      local now = math.random() < 0.5 and disturbed(before, 5000) or random_history(5000, math.random(1, 6))
      local from, till = math.random(0, 60), math.random(120, 260)
      local got = {}
      for _, p in ipairs((compared(before, now, from, till))) do
        got[("%s-%s"):format(p.before or "", p.now or "")] = { p.changes, p.moved, p.longer }
      end

      assert.same(naive(before, now, from, till), got, ("seed %d, round %d"):format(SEED, round))
    end
  end)

  it("counts every change of a pair, and each pair once as the same or not", function()
    math.randomseed(SEED)
    local before = random_history(1, 40)
    local list, counts = compared(before, disturbed(before, 5000), 0, 200)

    local expected = { same = 0, added = 0, removed = 0, moved = 0, longer = 0, shorter = 0, severity = 0 }
    for _, p in ipairs(list) do
      expected.same = expected.same + (p.changes == "" and 1 or 0)
      for name in p.changes:gmatch("%w+") do
        expected[name] = expected[name] + 1
      end
    end
    assert.same(expected, counts)
    assert.is_true(counts.same > 0 and counts.removed > 0)
  end)
end)


describe("a timeline", function()
  local function scale(width, from, till, ascii)
    return ffi.new("TimelineScale", { from, till, width, ascii ~= false })
  end

  local function drawn(s, spans, density)
    local array = ffi.new("TimelineSpan[?]", math.max(#spans, 1))
    for i, x in ipairs(spans) do
      array[i - 1] = { x[1], x[2], x.before or false, x.now or false, x.style or C.TERM_PLAIN }
    end
    local cells = ffi.new("TimelineCell[?]", s.width)
    if density then
      C.timeline_density(s, array, #spans, cells)
    else
      C.timeline_spans(s, array, #spans, cells)
    end
    local out = {}
    for i = 0, s.width - 1 do
      out[i + 1] = ffi.string(cells[i].glyph)
    end
    return table.concat(out), cells
  end

  it("says in each cell which version has something there", function()
    local spans = { { 0, 30, before = true }, { 20, 50, now = true }, { 90, 100, before = true, now = true } }

    assert.equal("--#++....#", (drawn(scale(10, 0, 100), spans)))
    assert.equal("▄▄█▀▀····█", (drawn(scale(10, 0, 100, false), spans)))
  end)

  it("shows what is shorter than a cell, and nothing that lies outside", function()
    assert.equal("..+......+", (drawn(scale(10, 0, 100), { { 25, 25, now = true }, { 99, 99, now = true } })))
    assert.equal("..........", (drawn(scale(10, 0, 100), { { -20, -10, now = true }, { 110, 120, now = true } })))
    assert.equal("+++.......", (drawn(scale(10, 0, 100), { { -20, 30, now = true } })))
  end)

  it("counts what touches a cell", function()
    local spans = { { 0, 100, now = true }, { 0, 10, now = true }, { 5, 5, now = true }, { 2, 8, now = true } }

    assert.equal("#222222222", (drawn(scale(10, 0, 100), spans, true)))
    assert.equal("..........", (drawn(scale(10, 0, 100), {}, true)))
  end)

  it("is as wide as it is told, whatever it shows", function()
    math.randomseed(SEED)
    for _ = 1, 300 do
      local width, from = math.random(1, 200), math.random(-1e6, 1e6)
      local s = scale(width, from, from + math.random(0, 1e6), math.random() < 0.5)
      local spans = {}
      for i = 1, math.random(0, 20) do
        local at = from + math.random(-1e6, 1e6)
        spans[i] = { at, at + math.random(0, 1e6), now = true }
      end
      local axis = ffi.new("Buf")
      C.timeline_axis(s, axis)

      assert.equal(width, tonumber(C.term_text_width((drawn(s, spans)))))
      assert.equal(width, tonumber(C.term_text_width((drawn(s, spans, true)))))
      assert.is_true(tonumber(C.term_text_width(axis.s)) <= width)
      C.buf_free(axis)
    end
  end)

  it("cuts a label to its columns, and fills it", function()
    local function label(s, columns, ascii)
      local out = ffi.new("Buf")
      C.timeline_label(scale(10, 0, 1, ascii), str(s), columns, out)
      local got = ffi.string(out.s)
      C.buf_free(out)
      return got
    end

    assert.equal("d-17  ", label("d-17", 6))
    assert.equal("d-17-~", label("d-17-agent", 6))
    assert.equal("d-17-…", label("d-17-agent", 6, false))
    assert.equal("größer", label("größer", 6))
    assert.equal("größe…", label("größere", 6, false))
    assert.equal("a\\u001b", label("a\27", 7))
  end)

  it("writes times as exactly as its width shows them", function()
    local function axis(from, till, width)
      local out = ffi.new("Buf")
      C.timeline_axis(scale(width, from, till), out)
      local got = ffi.string(out.s)
      C.buf_free(out)
      return got
    end
    local minute, day = 60 * 1000000, 86400 * 1000000

    assert.equal("|00:00:00           |00:00:20", axis(0, minute, 60):sub(1, 29))
    assert.equal("|01-01 00:00        |01-01 08:00", axis(0, day, 60):sub(1, 32))
    assert.equal("|1970-01-01         |1970-01-21", axis(0, 60 * day, 60):sub(1, 31))
  end)
end)


describe("a duration for people", function()
  it("has its two largest units", function()
    local out = ffi.new("char[32]")
    local function of(us)
      return ffi.string(C.duration_text(us, out))
    end
    local second = 1000000

    assert.same({ "0s", "3us", "250ms", "1.5s", "59s", "1m", "12m 30s", "1h", "2h 5m", "3d 4h", "-2m" },
      { of(0), of(3), of(250000), of(1.5 * second), of(59.05 * second), of(60 * second), of(750 * second), of(3600 * second),
        of(7500.9 * second), of((3 * 24 + 4) * 3600 * second), of(-120 * second) })
  end)
end)
