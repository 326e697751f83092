-- The timers of a rule against a list that is sorted each time.
local ffi = require "ffi"
local c = require "spec.support.c"
local C = c.load { "base/mem.h", "lua/lua_timers.h" }

local NEVER = 0x7fffffffffffffffLL

local function str(s)
  return ffi.new("Str", { ffi.cast("const char *", s), #s })
end

local function text(s)
  return ffi.string(s.s, tonumber(s.len))
end

local function generator(seed)
  local state = seed
  return function(from, to)
    state = (state * 48271) % 2147483647
    return from + state % (to - from + 1)
  end
end

local function open()
  return ffi.gc(C.timers_open(), C.timers_close)
end

local function set(t, key, due, name)
  C.timers_set(t, str(key), due or NEVER, str(name or "n"))
end

local function listed(n, out)
  local list = {}
  for i = 0, tonumber(n) - 1 do
    local timer = out[0][i]
    list[i + 1] = { text(timer.key), timer.due ~= NEVER and tonumber(timer.due) or nil,
      timer.due ~= NEVER and text(timer.name) or nil }
  end
  return list
end

local function before(t, due, most)
  local out = ffi.new("const Timer *[1]")
  return listed(C.timers_before(t, due, most or 1000000, out), out)
end

local function changed(t)
  local out = ffi.new("const Timer *[1]")
  local list = listed(C.timers_changed(t, out), out)
  table.sort(list, function(a, b) return a[1] < b[1] end)
  return list
end

local function first(t)
  local timer = ffi.new("Timer")
  return C.timers_first(t, timer) and { text(timer.key), tonumber(timer.due) } or nil
end

--- What `before` must say: model is key -> { due, name }.
local function expected(model, held, due, most)
  local list = {}
  for key, timer in pairs(model) do
    if timer[1] < due and not held[key] then
      list[#list + 1] = { key, timer[1], timer[2] }
    end
  end
  table.sort(list, function(a, b) return a[2] < b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  return { unpack(list, 1, most) }
end

describe("timers", function()
  it("come in the order of their instants, and of their keys' bytes between equal ones", function()
    local t = open()
    set(t, '"b"', 20)
    set(t, '"a"', 20)
    set(t, '"a "', 20)
    set(t, '"\195\164"', 20)
    set(t, '"z"', 10)
    set(t, '["a","b"]', 20)

    assert.same({ { '"z"', 10, "n" }, { '"a "', 20, "n" }, { '"a"', 20, "n" }, { '"b"', 20, "n" },
      { '"\195\164"', 20, "n" }, { '["a","b"]', 20, "n" } }, before(t, 21))
    assert.same({ '"z"', 10 }, first(t))
  end)

  it("that are due at an instant are not due before it", function()
    local t = open()
    set(t, '"a"', 20)

    assert.same({}, before(t, 20))
    assert.same({ { '"a"', 20, "n" } }, before(t, 21))
  end)

  it("tell what changed once, and a change that was taken back never", function()
    local t = open()
    set(t, '"a"', 20)
    set(t, '"b"', 30)
    set(t, '"c"')

    assert.same({ { '"a"', 20, "n" }, { '"b"', 30, "n" } }, changed(t))
    assert.same({}, changed(t))
    set(t, '"a"', 25, "n")
    set(t, '"a"', 20, "n")
    set(t, '"b"', 30, "other")
    assert.same({ { '"b"', 30, "other" } }, changed(t))
    set(t, '"b"')
    assert.same({ { '"b"' } }, changed(t))
    assert.same({}, changed(t))
    set(t, '"b"', 31)
    set(t, '"b"')
    assert.same({}, changed(t))
  end)

  it("that were restored count as told", function()
    local t = open()
    set(t, '"a"', 20)
    C.timers_told(t)

    assert.same({}, changed(t))
    set(t, '"a"')
    assert.same({ { '"a"' } }, changed(t))
  end)

  it("that are held keep their instant, and come back with it", function()
    local t, timer = open(), ffi.new("Timer")
    set(t, '"a"', 20)
    set(t, '"b"', 30)
    C.timers_hold(t, str '"a"')

    assert.same({ '"b"', 30 }, first(t))
    assert.is_true(C.timers_get(t, str '"a"', timer))
    set(t, '"a"', 5)
    assert.same({ '"b"', 30 }, first(t))
    C.timers_release(t, str '"a"')
    assert.same({ '"a"', 5 }, first(t))
    C.timers_hold(t, str '"a"')
    C.timers_hold(t, str '"b"')
    assert.is_nil(first(t))
    C.timers_release(t, ffi.new("Str"))
    assert.same({ { '"a"', 5, "n" }, { '"b"', 30, "n" } }, before(t, 100))
  end)

  it("of keys that come and go leave nothing behind", function()
    local t = open()
    for i = 1, 20000 do
      local key = ('"%d"'):format(i)
      set(t, key, i)
      set(t, key)
      if i % 1000 == 0 then
        C.timers_told(t)
      end
    end

    assert.is_nil(first(t))
    assert.same({}, changed(t))
  end)

  for seed = 1, 20 do
    it("agree with a sorted list (seed " .. seed .. ")", function()
      local random, t, model, told, held = generator(seed * 7919), open(), {}, {}, {}
      for _ = 1, 800 do
        local key = ('"%d"'):format(random(1, 60))
        local what = random(1, 20)
        if what <= 10 then
          model[key] = { random(1, 50), "n" .. random(1, 3) }
          set(t, key, model[key][1], model[key][2])
        elseif what <= 14 then
          model[key] = nil
          set(t, key)
        elseif what == 15 and model[key] then
          held[key] = true
          C.timers_hold(t, str(key))
        elseif what == 16 then
          held[key] = nil
          C.timers_release(t, str(key))
        elseif what == 17 then
          local list = {}
          for k = 1, 60 do
            local name = ('"%d"'):format(k)
            local is, was = model[name], told[name]
            if (is and is[1]) ~= (was and was[1]) or (is and is[2]) ~= (was and was[2]) then
              list[#list + 1] = { name, is and is[1], is and is[2] }
            end
            told[name] = is
            held[name] = is and held[name] or nil
          end
          table.sort(list, function(a, b) return a[1] < b[1] end)
          assert.same(list, changed(t))
        else
          local due, most = random(1, 55), random(1, 70)
          assert.same(expected(model, held, due, most), before(t, due, most))
        end
        local top = expected(model, held, 1000, 1)[1]
        assert.same(top and { top[1], top[2] }, first(t))
      end
    end)
  end
end)
