-- Detectors for a rule's `score`: each looks at one value after another, and never ahead.
--
--   local detect = require "detect"
--   rule "odd_traffic" {
--     on = "metrics.net", value = "data.kbps",
--     score = detect.gauss { window = 6400, step = 100 },
--     when = function(score) return score.z > 7 end,
--     cooldown = "2h",             -- a rest after each alert is worth more than a finer threshold
--   }
--
-- A detector is { init = function() -> state, step = function(state, value, t) -> score }: the state is a JSON tree
-- that is kept with the key, t is in seconds, the score is a table of numbers. While a detector has seen too little to
-- judge, its score is 0 (z, p) rather than nothing, so that a comparison in `when` never fails.
local detect = {}

local abs, sqrt, max, min, log, exp, floor = math.abs, math.sqrt, math.max, math.min, math.log, math.exp, math.floor


local function check(name, options, defaults)
  local checked = {}
  for field, default in pairs(defaults) do
    local value = options and options[field]
    if value == nil then
      value = default
    elseif type(value) ~= "number" or value ~= value or value <= 0 then
      error(("detect.%s: '%s' must be a number above 0, not %s"):format(name, field, tostring(value)), 3)
    end
    checked[field] = value
  end
  for field in pairs(options or {}) do
    if defaults[field] == nil then
      error(("detect.%s: unknown option '%s'"):format(name, tostring(field)), 3)
    end
  end
  return checked
end


--- How many standard deviations a value is away. A series that stood still deviates by its first change, however small:
--- the floor keeps that from being infinite.
local function deviation(value, mean, sd)
  return abs(value - mean) / max(sd, 1e-6 * max(abs(mean), 1e-3))
end


-- Windowed Gaussian ---------------------------------------------------------------------------------------------------

--- z against the mean and deviation of the last `window` values. They are kept as blocks of `step` values (count, mean,
--- sum of squares), so that the state stays small and a value costs the same however long the window is.
function detect.gauss(options)
  local o = check("gauss", options, { window = 6400, step = 100, warmup = 100 })
  local blocks = max(1, floor(o.window / o.step))

  --- Chan's merge of two (count, mean, sum of squares).
  local function merge(n, mean, m2, n2, mean2, m22)
    local all, delta = n + n2, mean2 - mean
    return all, mean + delta * n2 / all, m2 + m22 + delta * delta * n * n2 / all
  end

  --- What the blocks make together; a block that is full takes the place of the oldest.
  local function close(s)
    s.n[s.at], s.mean[s.at], s.m2[s.at] = s.bn, s.bmean, s.bm2
    s.at = s.at % blocks + 1
    s.bn, s.bmean, s.bm2 = 0, 0, 0
    local n, mean, m2 = 0, 0, 0
    for i = 1, #s.n do
      n, mean, m2 = merge(n, mean, m2, s.n[i], s.mean[i], s.m2[i])
    end
    s.wn, s.wmean, s.wm2 = n, mean, m2
  end

  return {
    init = function()
      return { n = array {}, mean = array {}, m2 = array {}, at = 1, bn = 0, bmean = 0, bm2 = 0,
        wn = 0, wmean = 0, wm2 = 0 }
    end,
    step = function(s, value)
      local n, mean, m2 = s.wn, s.wmean, s.wm2
      if n == 0 and s.bn > 0 or n < o.window and s.bn > 0 then
        n, mean, m2 = merge(n, mean, m2, s.bn, s.bmean, s.bm2) -- the window is not full: every value counts at once
      end
      local sd = n > 1 and sqrt(m2 / (n - 1)) or 0
      local z = n >= o.warmup and deviation(value, mean, sd) or 0
      local bn = s.bn + 1
      local delta = value - s.bmean
      s.bn, s.bmean = bn, s.bmean + delta / bn
      s.bm2 = s.bm2 + delta * (value - s.bmean)
      if bn >= o.step then
        close(s)
      end
      return { z = z, mean = mean, sd = sd, value = value }
    end,
  }
end


-- Exponentially weighted ----------------------------------------------------------------------------------------------

--- z against an exponentially weighted mean and variance: `half` values halve the weight. For levels that drift.
function detect.ewma(options)
  local o = check("ewma", options, { half = 100, warmup = 100 })
  local alpha = 1 - 0.5 ^ (1 / o.half)
  return {
    init = function() return { n = 0, mean = 0, var = 0 } end,
    step = function(s, value)
      local sd = sqrt(s.var)
      local z = s.n >= o.warmup and deviation(value, s.mean, sd) or 0
      local mean = s.mean
      -- at first the plain average, so that the first value does not weigh for ever
      local weight = max(alpha, 1 / (s.n + 1))
      local delta = value - s.mean
      s.n = s.n + 1
      s.mean = s.mean + weight * delta
      s.var = (1 - weight) * (s.var + weight * delta * delta)
      return { z = z, mean = mean, sd = sd, value = value }
    end,
  }
end


-- Rate of change ------------------------------------------------------------------------------------------------------

--- z of the difference between the averages of the last `recent` values and of the `recent` before them, against the
--- usual such difference: for ramps that no single value betrays.
function detect.roc(options)
  local o = check("roc", options, { recent = 12, half = 400, warmup = 100 })
  local alpha = 1 - 0.5 ^ (1 / o.half)
  return {
    init = function() return { ring = array {}, at = 1, n = 0, var = 0, new = 0, old = 0 } end,
    step = function(s, value)
      local size = 2 * o.recent
      local ring = s.ring
      local middle = (s.at - 1 + o.recent) % size + 1 -- what was recent until now, and is no longer
      s.new = s.new + value - (ring[middle] or 0)
      s.old = s.old + (ring[middle] or 0) - (ring[s.at] or 0)
      ring[s.at] = value
      s.at = s.at % size + 1
      s.n = s.n + 1
      if s.at == 1 then -- sums of floating numbers drift: anew once a round
        s.new, s.old = 0, 0
        for i = 1, o.recent do
          s.old, s.new = s.old + ring[i], s.new + ring[i + o.recent]
        end
      end
      if s.n < size then
        return { z = 0, change = 0, value = value }
      end
      local change = (s.new - s.old) / o.recent
      local sd = sqrt(s.var)
      local z = s.n >= o.warmup + size and abs(change) / max(sd, 1e-6 * max(abs(s.old / o.recent), 1e-3)) or 0
      local weight = max(alpha, 1 / (s.n - size + 1))
      s.var = s.var + weight * (change * change - s.var)
      return { z = z, change = change, sd = sd, value = value }
    end,
  }
end


-- Relative entropy ----------------------------------------------------------------------------------------------------

-- Quantiles of chi-squared at 0.99 by degrees of freedom.
local CHI = { 6.635, 9.210, 11.345, 13.277, 15.086, 16.812, 18.475, 20.090, 21.666, 23.209, 24.725, 26.217, 27.688,
  29.141, 30.578, 32.000, 33.409, 34.805, 36.191 }

--- The distribution of the last `window` values over `bins` bins against every distribution that was seen before: z is
--- twice the window times the smallest relative entropy, in units of the chi-squared quantile: above 1 it is one that
--- was never seen, and it is learnt. The bins' range is frozen after `warmup` values; what lies outside falls into
--- bins of its own at both ends.
function detect.entropy(options)
  local o = check("entropy", options, { window = 52, bins = 5, warmup = 400, most = 50 })
  local bins = o.bins + 2
  local limit = CHI[min(bins - 1, #CHI)]

  local function bin_of(s, value)
    if value < s.low then
      return 1
    elseif value > s.high then
      return bins
    end
    return 2 + min(o.bins - 1, floor((value - s.low) / (s.high - s.low) * o.bins))
  end

  local function divergence(counts, known)
    local sum = 0
    for i = 1, bins do
      local p = counts[i] / o.window
      if p > 0 then
        sum = sum + p * log(p / max(known[i], 1e-3))
      end
    end
    return max(0, sum)
  end

  --- The window's distribution: the nearest known one, or a new one.
  local function judge(s, counts)
    local nearest, best = nil, math.huge
    for i = 1, #s.known do
      local d = divergence(counts, s.known[i])
      if d < best then
        nearest, best = i, d
      end
    end
    local z = nearest and 2 * o.window * best / limit or 0
    if not nearest or z > 1 then
      local share = array {}
      for i = 1, bins do
        share[i] = counts[i] / o.window
      end
      if #s.known >= o.most then
        table.remove(s.known, 1)
      end
      s.known[#s.known + 1] = share
    end
    return z
  end

  return {
    init = function()
      return { n = 0, low = 0, high = 0, ring = array {}, at = 1, counts = array {}, known = array {} }
    end,
    step = function(s, value)
      s.n = s.n + 1
      if s.n <= o.warmup then
        s.low = s.n == 1 and value or min(s.low, value)
        s.high = s.n == 1 and value or max(s.high, value)
        if s.n == o.warmup and s.high == s.low then
          s.low, s.high = s.low - 0.5, s.high + 0.5
        end
        return { z = 0, value = value }
      end
      local counts, bin = s.counts, bin_of(s, value)
      for i = #counts + 1, bins do
        counts[i] = 0
      end
      local gone = s.ring[s.at]
      if gone then
        counts[gone] = counts[gone] - 1
      end
      counts[bin] = counts[bin] + 1
      s.ring[s.at] = bin
      s.at = s.at % o.window + 1
      if #s.ring < o.window then
        return { z = 0, value = value }
      end
      return { z = judge(s, counts), known = #s.known, value = value }
    end,
  }
end


-- Mann-Whitney --------------------------------------------------------------------------------------------------------

--- The rank test between the last `recent` values and the `reference` before them: z of their ranks, whatever the
--- distribution. Asked for every `step` values; between them the last answer stands.
function detect.mann_whitney(options)
  local o = check("mann_whitney", options, { reference = 120, recent = 24, step = 4 })
  local size = o.reference + o.recent

  --- Values in order of age, newest last, sorted with their ranks; equal values share theirs.
  local function rank_z(s)
    local sorted, ties = {}, 0
    for i = 1, size do
      local place = (s.at + i - 2) % size + 1 -- s.at is the oldest
      sorted[i] = { s.ring[place], i > o.reference }
    end
    table.sort(sorted, function(a, b) return a[1] < b[1] end)
    local sum, i = 0, 1
    while i <= size do
      local last = i
      while last < size and sorted[last + 1][1] == sorted[i][1] do
        last = last + 1
      end
      local same = last - i + 1
      for j = i, last do
        sum = sum + (sorted[j][2] and (i + last) / 2 or 0)
      end
      ties = ties + same * (same * same - 1)
      i = last + 1
    end
    local u = sum - o.recent * (o.recent + 1) / 2
    local var = o.recent * o.reference / 12 * (size + 1 - ties / (size * (size - 1)))
    return var > 0 and abs(u - o.recent * o.reference / 2) / sqrt(var) or 0
  end

  return {
    init = function() return { ring = array {}, at = 1, n = 0, z = 0 } end,
    step = function(s, value)
      s.ring[s.at] = value
      s.at = s.at % size + 1
      s.n = s.n + 1
      if #s.ring == size and s.n % o.step == 0 then
        s.z = rank_z(s)
      end
      return { z = s.z, value = value }
    end,
  }
end


-- Changepoint ---------------------------------------------------------------------------------------------------------

--- Bayesian online changepoint detection (Adams and MacKay) for a level with unknown mean and variance: p is how
--- probable it is that a new run began within the last `recent` values, at a hazard of one change in `every` values.
--- Runs longer than `most` count as one.
function detect.changepoint(options)
  local o = check("changepoint", options, { every = 500, most = 200, recent = 5, warmup = 50 })
  local hazard = 1 / o.every

  --- The logarithm of the gamma function (Lanczos).
  local function lgamma(x)
    local sum = 1.000000000190015 + 76.18009172947146 / (x + 1) - 86.50532032941677 / (x + 2)
      + 24.01409824083091 / (x + 3) - 1.231739572450155 / (x + 4) + 1.208650973866179e-3 / (x + 5)
      - 5.395239384953e-6 / (x + 6)
    return (x + 0.5) * log(x + 5.5) - (x + 5.5) + log(2.5066282746310005 * sum / x)
  end

  --- The density of Student's t, as a run of n values with this mean and sum of squares foresees the next one.
  local function density(value, n, mean, m2)
    local kappa, alpha, beta = n + 1, n / 2 + 1, m2 / 2 + 1e-3
    local df, scale = 2 * alpha, beta * (kappa + 1) / (alpha * kappa)
    local d = value - mean
    return exp(lgamma((df + 1) / 2) - lgamma(df / 2) - 0.5 * log(df * math.pi * scale)
      - (df + 1) / 2 * log(1 + d * d / (df * scale)))
  end

  --- Values are scaled by what the first ones were, so that one prior fits every series.
  local function scaled(s, value)
    s.n = s.n + 1
    local delta = value - s.mean
    if s.n <= o.warmup then
      s.mean = s.mean + delta / s.n
      s.m2 = s.m2 + delta * (value - s.mean)
    end
    return (value - s.mean) / max(sqrt(s.m2 / max(1, min(s.n, o.warmup) - 1)), 1e-6 * max(abs(s.mean), 1e-3))
  end

  local function grow(s, value)
    local p, n, mean, m2 = s.p, s.rn, s.rmean, s.rm2
    local change, total, runs = 0, 0, #p
    for i = runs, 1, -1 do
      local seen = p[i] * density(value, n[i], mean[i], m2[i])
      local delta = value - mean[i]
      change = change + seen * hazard
      p[i + 1] = seen * (1 - hazard)
      n[i + 1] = n[i] + 1
      mean[i + 1] = mean[i] + delta / (n[i] + 1)
      m2[i + 1] = m2[i] + delta * (value - mean[i + 1])
    end
    p[1], n[1], mean[1], m2[1] = change, 0, 0, 0
    if #p > o.most then
      local last = #p
      p[last - 1] = p[last - 1] + p[last]
      n[last - 1], mean[last - 1], m2[last - 1] = n[last], mean[last], m2[last]
      p[last], n[last], mean[last], m2[last] = nil, nil, nil, nil
    end
    for i = 1, #p do
      total = total + p[i]
    end
    if total <= 0 then -- nothing foresaw it: certainly another run
      total, p[1] = 1, 1
      for i = 2, #p do
        p[i] = 0
      end
    end
    for i = 1, #p do
      p[i] = p[i] / total
    end
  end

  return {
    init = function()
      return { n = 0, mean = 0, m2 = 0, p = array { 1 }, rn = array { 0 }, rmean = array { 0 }, rm2 = array { 0 } }
    end,
    step = function(s, value)
      grow(s, scaled(s, value))
      if s.n <= o.warmup then
        return { p = 0, z = 0, value = value }
      end
      local p = 0
      for i = 1, min(o.recent, #s.p) do
        p = p + s.p[i]
      end
      -- the odds as a z-like number: 0.5 is 0.7, 0.999 is 7
      return { p = p, z = -log(max(1e-300, 1 - min(p, 1 - 1e-15))), value = value }
    end,
  }
end


return detect
