-- Each detector against what it says it computes, done again from the whole series at every value; and what they reach
-- on the labelled series of the Numenta Anomaly Benchmark, as a floor.
local nab = require "bench.nab"

local detect = nab.load_detect("scripts/lib/detect.lua")
local seed = 20260131

local function random()
  seed = (seed * 1103515245 + 12345) % 2147483648
  return seed / 2147483648
end

local function series(n, of)
  local values = {}
  for i = 1, n do
    values[i] = of and of(i) or math.floor(random() * 1000) / 10
  end
  return values
end

--- The scores of a series, one after another.
local function run(detector, values)
  local state, scores = detector.init(), {}
  for i, value in ipairs(values) do
    scores[i] = detector.step(state, value, i)
  end
  return scores, state
end

local function stats(values, from, to)
  local sum, squares, n = 0, 0, to - from + 1
  for i = from, to do
    sum = sum + values[i]
  end
  for i = from, to do
    squares = squares + (values[i] - sum / n) ^ 2
  end
  return sum / n, math.sqrt(squares / (n - 1))
end

local function near(expected, actual)
  assert.is_true(math.abs(expected - actual) <= 1e-9 * math.max(1, math.abs(expected)), ("%g is not %g"):format(actual, expected))
end

--- Is it a JSON tree: tables with numbers from 1 on or with names, finite numbers, strings?
local function is_json(value)
  if type(value) ~= "table" then
    return type(value) == "string" or type(value) == "boolean" or (type(value) == "number" and value - value == 0)
  end
  local n = #value
  for key, member in pairs(value) do
    if n > 0 and not (type(key) == "number" and key >= 1 and key <= n and key % 1 == 0) or n == 0 and type(key) ~= "string"
      or not is_json(member) then
      return false
    end
  end
  return true
end

local function count(value)
  local n = 1
  for _, member in pairs(type(value) == "table" and value or {}) do
    n = n + count(member)
  end
  return n
end

local ALL = { gauss = { window = 60, step = 10, warmup = 5 }, ewma = { half = 8 }, roc = { recent = 4, half = 30 },
  entropy = { window = 20, bins = 4, warmup = 50 }, mann_whitney = { reference = 12, recent = 6, step = 1 },
  changepoint = { most = 40, every = 60, warmup = 20 } }

describe("every detector", function()
  for name, options in pairs(ALL) do
    it(name .. " gives the same to the same, has a JSON state of bounded size, and never a score that is no number", function()
      local values = series(600, function(i) return i % 97 == 0 and 1e6 or i < 150 and 5 or random() * 10 end)

      local scores, state = run(detect[name](options), values)

      assert.same(scores, (run(detect[name](options), values)))
      assert.is_true(is_json(state))
      local _, longer = run(detect[name](options), series(2400))
      assert.is_true(count(longer) <= 400 and count(state) <= 400)
      for _, score in ipairs(scores) do
        assert.is_true(score.z == score.z and score.z >= 0)
      end
    end)

    it(name .. " refuses an option that it does not have, and one that is no positive number", function()
      assert.has_error(function() detect[name] { windw = 5 } end, ("detect.%s: unknown option 'windw'"):format(name))
      local option = next(options)
      assert.error_matches(function() detect[name] { [option] = -1 } end, ("detect.%s: '%s' must be a number above 0"):format(name, option))
    end)
  end
end)

describe("detect.gauss", function()
  it("is the deviation from the window's full blocks, and from everything while the window is not full", function()
    local values = series(400)

    for i, score in ipairs((run(detect.gauss { window = 60, step = 10, warmup = 5 }, values))) do
      if i > 5 then
        local last = i - 1 - (i - 1) % 10
        local mean, sd = stats(values, math.max(1, i <= 60 and 1 or last - 59), i <= 60 and i - 1 or last)
        near(math.abs(values[i] - mean) / sd, score.z)
      else
        assert.equal(0, score.z)
      end
    end
  end)

  it("speaks of the first change of a series that stood still, and not before", function()
    local scores = run(detect.gauss { window = 60, step = 10, warmup = 20 }, series(80, function(i) return i < 60 and 20 or 20.5 end))

    assert.equal(0, scores[59].z)
    assert.is_true(scores[60].z > 1000)
  end)
end)

describe("detect.ewma", function()
  it("weighs a value by half after `half` values", function()
    local values = series(300)
    local alpha = 1 - 0.5 ^ (1 / 8)

    local scores = run(detect.ewma { half = 8, warmup = 10 }, values)

    local mean, var = 0, 0
    for i, value in ipairs(values) do
      if i > 10 then
        near(math.abs(value - mean) / math.sqrt(var), scores[i].z)
      end
      local weight = math.max(alpha, 1 / i)
      var = (1 - weight) * (var + weight * (value - mean) ^ 2)
      mean = (1 - weight) * mean + weight * value
    end
  end)
end)

describe("detect.roc", function()
  it("compares the last values with those before them", function()
    local values = series(200)

    for i, score in ipairs((run(detect.roc { recent = 4, half = 30, warmup = 1 }, values))) do
      if i >= 8 then
        local new, old = stats(values, i - 3, i), stats(values, i - 7, i - 4)
        near(new - old, score.change)
      end
    end
  end)

  it("sees a ramp that no single value betrays", function()
    local values = series(800, function(i) return random() + (i > 700 and (i - 700) * 0.2 or 0) end)

    local scores = run(detect.roc { recent = 12, half = 400 }, values)

    local before, after = 0, 0
    for i = 300, 700 do
      before = math.max(before, scores[i].z)
    end
    for i = 701, 730 do
      after = math.max(after, scores[i].z)
    end
    assert.is_true(after > 2 * before)
  end)
end)

describe("detect.entropy", function()
  it("speaks once of a distribution that was never seen, and knows it from then on", function()
    local values = series(1200, function(i) return (i > 600 and i % 200 < 60) and 95 or i * 37 % 100 end)

    local scores, state = run(detect.entropy { window = 40, bins = 5, warmup = 400 }, values)

    local function new(from, to)
      local n = 0
      for i = from, to do
        n = n + (scores[i].z > 1 and 1 or 0)
      end
      return n
    end
    assert.equal(0, new(460, 600))
    assert.is_true(new(601, 700) >= 1)
    assert.equal(0, new(1001, 1100))
    assert.is_true(#state.known >= 2)
  end)
end)

describe("detect.mann_whitney", function()
  it("counts for how many pairs the recent value is the larger", function()
    local values = series(60, function() return math.floor(random() * 8) end) -- many equal ones

    local scores = run(detect.mann_whitney { reference = 12, recent = 6, step = 1 }, values)

    for i = 18, 60 do
      local u, counts = 0, {}
      for j = i - 5, i do
        for k = i - 17, i - 6 do
          u = u + (values[j] > values[k] and 1 or values[j] == values[k] and 0.5 or 0)
        end
      end
      for j = i - 17, i do
        counts[values[j]] = (counts[values[j]] or 0) + 1
      end
      local ties = 0
      for _, n in pairs(counts) do
        ties = ties + n ^ 3 - n
      end
      local var = 12 * 6 / 12 * (19 - ties / (18 * 17))
      near(var > 0 and math.abs(u - 36) / math.sqrt(var) or 0, scores[i].z)
    end
  end)
end)

describe("detect.changepoint", function()
  it("says when a level changed, and that it did not otherwise", function()
    local values = series(400, function(i) return (i > 250 and 6 or 0) + random() end)

    local scores = run(detect.changepoint { recent = 5, most = 200, warmup = 50 }, values)

    local before, after = 0, 0
    for i = 120, 250 do
      before = math.max(before, scores[i].p)
    end
    for i = 251, 256 do
      after = math.max(after, scores[i].p)
    end
    assert.is_true(before < 0.5)
    assert.is_true(after > 0.9)
  end)
end)

describe("on the Numenta Anomaly Benchmark", function()
  local FLOOR = { gauss = 54.9, ewma = 44.1, entropy = 40.0, changepoint = 25.0 } -- reached; one less is allowed
  local files = nab.load("../shared/data/nab")

  it("a perfect detector has 100, a silent one 0, and a late one less than an early one", function()
    local early, late, windows = 0, 0, 0
    for _, file in ipairs(files) do
      local first, last = {}, {}
      for i, window in ipairs(file.windows) do
        first[i], last[i] = window[1], window[2]
      end
      early, late, windows = early + nab.raw(file, first), late + nab.raw(file, last), windows + #file.windows
    end

    near(100, nab.normal(early, windows))
    near(0, nab.normal(-windows, windows))
    local score = nab.normal(late, windows)
    assert.is_true(score > 49 and score < 55)
  end)

  for _, entry in ipairs(nab.detectors) do
    local name, options = entry[1], entry[2]
    if FLOOR[name] then
      it(name .. " reaches its floor with a threshold that others chose", function()
        local result = nab.evaluate(files, (nab.scores(files, detect[name](options))))

        assert.is_true(result.held_out >= FLOOR[name] - 1, ("%.1f"):format(result.held_out))
      end)
    end
  end
end)
