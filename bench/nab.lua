-- The detectors of scripts/lib/detect.lua over the Numenta Anomaly Benchmark, scored as NAB's standard profile does, and
-- causally: nothing looks at a file's future. Threshold and cooldown for a file are chosen on the other half of the files.
--   luajit bench/nab.lua [FOLDER]     FOLDER holds data/*/*.csv.gz and labels/combined_windows.json
local FOLDER = arg and arg[1] or "../shared/data/nab"
local PROBATION, PROBATION_MOST = 0.15, 750
local FALSE_POSITIVE = 0.11 -- the standard profile's weight; a hit and a miss weigh 1
local RESTS = { 3600, 7200, 14400, 28800 } -- seconds without another alert, to choose from: the rule's cooldown

local nab = {}


-- Files ---------------------------------------------------------------------------------------------------------------

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local lines = {}
  for line in pipe:lines() do
    lines[#lines + 1] = line
  end
  pipe:close()
  return lines
end


--- Seconds of "2014-07-01 00:30:00": days since 1970 by the civil calendar.
local function seconds(text)
  local y, m, d, h, min, s = text:match("(%d+)-(%d+)-(%d+) (%d+):(%d+):(%d+)")
  y, m, d = tonumber(y), tonumber(m), tonumber(d)
  local year = m <= 2 and y - 1 or y
  local era = math.floor(year / 400)
  local of_era = year - era * 400
  local of_year = math.floor((153 * (m + (m > 2 and -3 or 9)) + 2) / 5) + d - 1
  local days = era * 146097 + of_era * 365 + math.floor(of_era / 4) - math.floor(of_era / 100) + of_year - 719468
  return days * 86400 + h * 3600 + min * 60 + s
end


--- { ["realTraffic/x.csv"] = { { from, to }, … } }
local function windows_of(folder)
  local text = table.concat(lines_of(("cat '%s/labels/combined_windows.json'"):format(folder)))
  local windows = {}
  for name, list in text:gmatch('"([^"]+%.csv)"%s*:%s*(%b[])') do
    windows[name] = {}
    for from, to in list:gmatch('%[%s*"([^"]+)"%s*,%s*"([^"]+)"%s*%]') do
      table.insert(windows[name], { seconds(from), seconds(to) })
    end
  end
  return windows
end


--- Every file: { name, times, values, windows = { { first row, last row }, … }, probation = rows }.
function nab.load(folder)
  local windows, files = windows_of(folder), {}
  for _, path in ipairs(lines_of(("ls '%s'/data/*/*.csv.gz"):format(folder))) do
    local name = path:match("([^/]+/[^/]+)%.gz$")
    local file = { name = name, times = {}, values = {}, windows = {} }
    for _, line in ipairs(lines_of(("gzip -dc '%s'"):format(path))) do
      local time, value = line:match("^(%d[^,]+),(.+)$")
      if time then
        table.insert(file.times, seconds(time))
        table.insert(file.values, tonumber(value))
      end
    end
    for _, window in ipairs(windows[name]) do
      local first, last
      for row, t in ipairs(file.times) do
        if t >= window[1] and t <= window[2] then
          first, last = first or row, row
        end
      end
      table.insert(file.windows, { first, last })
    end
    file.probation = math.floor(math.min(PROBATION * #file.values, PROBATION_MOST))
    table.insert(files, file)
  end
  return files
end


-- Scoring -------------------------------------------------------------------------------------------------------------

local function sigmoid(position)
  return position > 3 and -1 or 2 / (1 + math.exp(5 * position)) - 1
end


--- What the rows of these detections are worth by the standard profile.
function nab.raw(file, detections)
  local hits, total, at = {}, 0, 1
  for _, row in ipairs(detections) do
    while file.windows[at] and row > file.windows[at][2] do
      at = at + 1
    end
    local window, before = file.windows[at], file.windows[at - 1]
    if window and row >= window[1] then
      local position = -(window[2] - row + 1) / (window[2] - window[1] + 1)
      hits[at] = math.max(hits[at] or -math.huge, sigmoid(position) / sigmoid(-1))
    elseif before then
      total = total + FALSE_POSITIVE * sigmoid((row - before[2]) / math.max(1, before[2] - before[1]))
    else
      total = total - FALSE_POSITIVE
    end
  end
  for i = 1, #file.windows do
    total = total + (hits[i] or -1)
  end
  return total
end


--- 0 for a detector that never speaks, 100 for one that speaks at the first row of every window.
function nab.normal(raw, windows)
  return 100 * (raw + windows) / (2 * windows)
end


--- The rows at which a rule with this threshold and cooldown fires.
function nab.detections(file, scores, threshold, rest)
  local rows, quiet = {}, -math.huge
  for row = file.probation + 1, #scores do
    if scores[row] >= threshold and file.times[row] >= quiet then
      rows[#rows + 1] = row
      quiet = file.times[row] + rest
    end
  end
  return rows
end


local function count_windows(files)
  local n = 0
  for _, file in ipairs(files) do
    n = n + #file.windows
  end
  return n
end


--- The score of some files, by their detector's scores and one threshold.
local function total(files, scores, threshold, rest)
  local raw = 0
  for _, file in ipairs(files) do
    raw = raw + nab.raw(file, nab.detections(file, scores[file], threshold, rest))
  end
  return raw
end


--- Candidates: quantiles of what was scored, dense at the top.
local function thresholds(files, scores)
  local all, list = {}, {}
  for _, file in ipairs(files) do
    for row = file.probation + 1, #scores[file] do
      all[#all + 1] = scores[file][row]
    end
  end
  table.sort(all)
  for i = 0, 400 do
    local share = 1 - 10 ^ (-i / 80) -- 0 … 0.99999
    list[#list + 1] = all[math.max(1, math.floor(share * #all))]
  end
  list[#list + 1] = all[#all] + 1
  return list
end


--- { threshold, cooldown } that these files would have been scored best with.
local function best_setting(files, scores)
  local best, setting = -math.huge, nil
  for _, threshold in ipairs(thresholds(files, scores)) do
    for _, rest in ipairs(RESTS) do
      local raw = total(files, scores, threshold, rest)
      if raw > best then
        best, setting = raw, { threshold, rest }
      end
    end
  end
  return setting
end


--- What a detector says of every row of every file.
function nab.scores(files, detector)
  local scores, rows, began = {}, 0, os.clock()
  for _, file in ipairs(files) do
    local state, list = detector.init(), {}
    for row, value in ipairs(file.values) do
      list[row] = detector.step(state, value, file.times[row]).z
    end
    scores[file] = list
    rows = rows + #list
  end
  return scores, rows / (os.clock() - began)
end


--- Each half is scored with what was best for the other; { held_out, in_sample, settings }.
function nab.evaluate(files, scores)
  local halves, raw, chosen = { {}, {} }, 0, {}
  for i, file in ipairs(files) do
    table.insert(halves[i % 2 + 1], file)
  end
  for half = 1, 2 do
    chosen[half] = best_setting(halves[3 - half], scores)
    raw = raw + total(halves[half], scores, unpack(chosen[half]))
  end
  return { held_out = nab.normal(raw, count_windows(files)), settings = chosen,
    in_sample = nab.normal(total(files, scores, unpack(best_setting(files, scores))), count_windows(files)) }
end


-- The table -----------------------------------------------------------------------------------------------------------

nab.detectors = {
  { "gauss", { window = 6400, step = 100 }, "Windowed Gaussian: 39.6" },
  { "ewma", { half = 100 }, "not in NAB" },
  { "entropy", {}, "Relative entropy: 54.6, with the range of the whole file" },
  { "roc", {}, "not in NAB" },
  { "mann_whitney", {}, "not in NAB" },
  { "changepoint", {}, "Bayesian changepoint: 17.7" },
}

function nab.load_detect(path)
  local environment = setmetatable({ array = function(list) return list end }, { __index = _G })
  return setfenv(assert(loadfile(path)), environment)()
end

if not ... or arg and arg[0] and arg[0]:match("nab%.lua$") then -- run, not required
  local files, detect = nab.load(FOLDER), nab.load_detect("scripts/lib/detect.lua")
  print(("%d files, %d windows, standard profile, causal; threshold (and cooldown) from the other half of the files"):format(
    #files, count_windows(files)))
  print(("%-13s %8s %9s %10s  %-24s %s"):format("detector", "held out", "in sample", "rows/s", "threshold/cooldown",
    "published, on all of NAB"))
  for _, entry in ipairs(nab.detectors) do
    local scores, rate = nab.scores(files, detect[entry[1]](entry[2]))
    local result = nab.evaluate(files, scores)
    print(("%-13s %8.1f %9.1f %10.0f  %-24s %s"):format(entry[1], result.held_out, result.in_sample, rate,
      ("%.2f/%dh %.2f/%dh"):format(result.settings[1][1], result.settings[1][2] / 3600, result.settings[2][1],
        result.settings[2][2] / 3600), entry[3]))
  end
end

return nab
