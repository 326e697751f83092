local ffi = require "ffi"
local c = require "spec.support.c"
local C = c.load { "base/rolling.h" }

local MODULUS, MULTIPLIER = 4398046511093, 1048573
local RANGE = 65536

--- Random numbers of its own: the seed is printed with what failed.
local function generator(seed)
  local state = seed
  return function(from, to)
    state = (state * 48271) % 2147483647
    return from + state % (to - from + 1)
  end
end

local function hash_of(ids)
  local r = ffi.new("Rolling")
  for _, id in ipairs(ids) do
    C.rolling_add(r, id)
  end
  return r
end

--- The same in another way: digit by digit, with doubles that stay exact.
local function product(a, b)
  local result = 0
  while b > 0 do
    if b % 2 == 1 then
      result = (result + a) % MODULUS
    end
    a = (a * 2) % MODULUS
    b = math.floor(b / 2)
  end
  return result
end

local function naive(ids)
  local hash = 0
  for _, id in ipairs(ids) do
    hash = (product(hash, MULTIPLIER) + id % MODULUS) % MODULUS
  end
  return hash
end

local function find(ids, seen, lowest)
  local array = ffi.new("int64_t[?]", math.max(#ids, 1))
  for i, id in ipairs(ids) do
    array[i - 1] = id
  end
  local f = C.rolling_find(array, #ids, hash_of(seen), lowest, lowest + RANGE - 1)
  return tonumber(f.fault), tonumber(f.first), tonumber(f.last), tonumber(f.count)
end

local function some_ids(random, lowest, n)
  local step = math.floor(RANGE / (n + 1))
  local ids, at = {}, lowest
  for i = 1, n do
    at = at + random(1, step)
    ids[i] = at
  end
  return ids
end

--- The list with `put` in the place of its elements from `at` on, `take` of them.
local function spliced(ids, at, take, put)
  local out = {}
  for i = 1, at - 1 do
    out[#out + 1] = ids[i]
  end
  for _, id in ipairs(put) do
    out[#out + 1] = id
  end
  for i = at + take, #ids do
    out[#out + 1] = ids[i]
  end
  return out
end

describe("the rolling hash", function()
  it("is the sum that its definition says, also for ids above its modulus", function()
    local random = generator(11)
    local ids = { 2 ^ 45, 2 ^ 50 + 1, 0, 1, MODULUS, MODULUS - 1 }
    for _ = 1, 200 do
      ids[#ids + 1] = random(1, 2147483646) * 2048 + random(0, 2047)
    end

    assert.equal(naive(ids), tonumber(hash_of(ids).hash))
    assert.equal(#ids, tonumber(hash_of(ids).count))
  end)

  it("of a list is that of its beginning times the power of the rest's length, plus that of the rest", function()
    local random = generator(12)
    local ids = some_ids(random, 65536 * 40000, 500)
    for _ = 1, 50 do
      local at = random(0, 500)
      local head, rest = { unpack(ids, 1, at) }, { unpack(ids, at + 1) }

      local joined = (product(tonumber(hash_of(head).hash), tonumber(C.rolling_power(#rest)))
        + tonumber(hash_of(rest).hash)) % MODULUS
      assert.equal(tonumber(hash_of(ids).hash), joined)
    end
  end)

  for seed = 1, 40 do
    local random = generator(seed * 7919)
    local lowest = random(0, 3) * random(0, 60000) * RANGE
    local ids = some_ids(random, lowest, random(1, 300))

    it("finds a run that was left out (seed " .. seed .. ")", function()
      local n = random(1, #ids)
      local at = random(1, #ids - n + 1)
      local fault, first, last, count = find(ids, spliced(ids, at, n, {}), lowest)

      assert.same({ C.ROLLING_MISSED, ids[at], ids[at + n - 1], n }, { fault, first, last, count })
    end)

    it("finds a run that came twice (seed " .. seed .. ")", function()
      local n = random(1, #ids)
      local at = random(1, #ids - n + 1)
      local fault, first, last, count = find(ids, spliced(ids, at, 0, { unpack(ids, at, at + n - 1) }), lowest)

      assert.same({ C.ROLLING_DOUBLED, ids[at], ids[at + n - 1], n }, { fault, first, last, count })
    end)

    it("computes an id that is gone from the list (seed " .. seed .. ")", function()
      local at = random(1, #ids)
      local fault, first = find(spliced(ids, at, 1, {}), ids, lowest)

      assert.same({ C.ROLLING_GONE, ids[at] }, { fault, first })
    end)

    it("computes an id that stood in the place of another (seed " .. seed .. ")", function()
      local at = random(1, #ids)
      local below = at > 1 and ids[at - 1] or lowest - 1
      local other = random(below + 1, (ids[at + 1] or lowest + RANGE) - 1)
      local fault, first, last = find(ids, spliced(ids, at, 1, { other }), lowest)

      assert.same(other == ids[at] and { C.ROLLING_SAME, 0, 0 } or { C.ROLLING_OTHER, other, ids[at] }, { fault, first, last })
    end)

    it("does not name one fault where there are two (seed " .. seed .. ")", function()
      local three = some_ids(random, lowest, 60)
      local seen = spliced(spliced(three, 50, 1, {}), 10, 1, {})

      assert.equal(C.ROLLING_UNKNOWN, (find(three, seen, lowest)))
      assert.equal(C.ROLLING_UNKNOWN, (find(seen, three, lowest)))
    end)
  end

  it("of nothing at all is found as a run that was left out", function()
    assert.same({ C.ROLLING_MISSED, 5, 9, 3 }, { find({ 5, 7, 9 }, {}, 0) })
    assert.same({ C.ROLLING_SAME, 0, 0, 0 }, { find({}, {}, 0) })
    assert.same({ C.ROLLING_GONE, 7, 7, 1 }, { find({}, { 7 }, 0) })
  end)
end)
