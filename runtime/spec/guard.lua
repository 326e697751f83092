-- The determinism guard: a history that a test has built is handled again by fresh copies of the script (each in a
-- Lua of its own, with its own string hashes and addresses) under conditions that a daemon meets, and must give the
-- same bytes.
local alerts = require "moonwake.spec.alerts"
local values_for = require "moonwake.spec.values"

local MOST_RESTARTS = 12
local OTHERWISE = "does a handler or the key depend on more than its row and its event?"
local OUTSIDE = "is state kept in a local outside of the row, a counter or a cache? Only the row survives"


--- Numbers from 1 to n that follow from the seed alone.
local function dice(seed)
  local state = seed % 2147483647
  state = state > 0 and state or 1
  for _ = 1, 8 do
    state = state * 16807 % 2147483647
  end
  return function(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
end


--- Handles events [at, to) where those that failed first fail again. Returns false and what is different.
local function run_part(trial, history, at, to)
  while at < to do
    local stop, message = trial:run(at, to)
    local expected = history.failures[stop + 1]
    if message and (not expected or expected.message ~= message) then
      return false, ("%s fails: %s"):format(history:name_of(stop + 1), message)
    elseif not message then
      stop = to
    end
    for number = at + 1, stop do
      if history.failures[number] then
        return false, ("%s does not fail, and did before"):format(history:name_of(number))
      end
    end
    if message and history.definition.on_error == "park_key" then
      trial:park(stop)
    end
    at = message and stop + 1 or to
  end
  return true
end


--- Handles all events: pages of `page()` events, committed after every `batch()`, with `after(trial, at)` behind each.
local function drive(trial, history, plan)
  local at, count = 0, #history.events
  while at < count do
    local page_end = math.min(count, at + plan.page(at))
    if plan.before then
      plan.before(trial, at, page_end)
    end
    local ok, problem = trial:prepare(at, page_end)
    while ok and at < page_end do
      local to = math.min(page_end, at + plan.batch())
      ok, problem = run_part(trial, history, at, to)
      if ok then
        ok, problem = trial:commit()
      end
      at = to
    end
    if ok and plan.after then
      ok, problem = plan.after(trial, at)
    end
    if not ok then
      return false, problem
    end
  end
  if history.alerts then
    return trial:advance(history.horizon)
  end
  return true
end


local function whole()
  return math.huge
end


local function one()
  return 1
end


--- Where the script is loaded anew: after every event of a short history, at some places of a long one.
local function restarts(count, roll)
  local at = {}
  for number = 1, math.min(count - 1, MOST_RESTARTS) do
    at[count - 1 <= MOST_RESTARTS and number or roll(count - 1)] = true
  end
  local places = {}
  for number in pairs(at) do
    places[#places + 1] = number
  end
  table.sort(places)
  return places
end


--- Of a rule: lets some of the time pass that lies between event number `at` and those behind it.
local function time_passes(history, roll)
  local oldest = { [#history.events] = history.horizon or 0 }
  for number = #history.events, 1, -1 do
    oldest[number - 1] = math.min(oldest[number], history.events[number].timestamp_us)
  end
  return function(trial, at)
    if not history.alerts or at == 0 then
      return true
    end
    local from, to = history.events[at].timestamp_us, oldest[at]
    return to <= from or trial:advance(from + math.floor((to - from) * roll(100) / 100))
  end
end


local function conditions(history, roll)
  local count = #history.events
  local wait = time_passes(history, roll)
  local function up_to(most)
    return function() return roll(most) end
  end
  return {
    { name = "the events come one by one", hint = OTHERWISE,
      plan = { page = one, batch = one, after = wait } },
    { name = "all events come in one page", hint = OTHERWISE,
      plan = { page = whole, batch = whole } },
    { name = "pages are cut at random, and rows are read back from the table in between",
      hint = "is a row held on to in a local?",
      plan = { page = up_to(7), batch = up_to(3), after = function(trial, at)
        if roll(2) == 1 then
          trial:forget()
        end
        return roll(2) == 1 or wait(trial, at)
      end } },
    { name = "a batch is rolled back and done again", hint = OUTSIDE .. ", and is rolled back",
      plan = { page = up_to(5), batch = whole, before = function(trial, at, to)
        trial:prepare(at, to)
        run_part(trial, history, at, to)
        trial:forget()
      end } },
    { name = "the program is restarted in the middle", hint = OUTSIDE,
      plan = (function()
        local places, next_place = restarts(count, roll), 1
        return { batch = whole, page = function(at)
          return (places[next_place] or count) - at
        end, after = function(trial, at)
          next_place = next_place + 1
          local ok, problem = trial:restart()
          if ok then
            return wait(trial, at)
          end
          return ok, problem
        end }
      end)() },
  }
end


local function keyed(rows)
  local by_key = {}
  for _, row in ipairs(rows) do
    by_key[row.key] = row
  end
  return by_key
end


--- What is different between two lists of rows, as lines; nil where all bytes are the same.
local function differences(history, first, second)
  local values = values_for(history.native)
  local before, after = keyed(first), keyed(second)
  local lines = {}
  local function compare(key)
    local a, b = before[key], after[key]
    -- A rule's row is told by its event or by a timer, as it comes: what is in it counts.
    local told_alike = history.alerts or a and b and a.position == b.position and a.updated_us == b.updated_us
    if a and b and a.state == b.state and told_alike then
      return
    elseif not (a and b) then
      lines[#lines + 1] = ("  row %s is %s"):format(key, a and "missing then" or "there then, and was not")
      return
    end
    local found = values.changes(history:decode(a.state), history:decode(b.state), history:columns())
    if #found == 0 then
      found[1] = a.state ~= b.state and ("first %s, then %s"):format(a.state, b.state)
        or ("the last event that changed it: first %d, then %d"):format(a.position, b.position)
    end
    lines[#lines + 1] = ("  row %s:\n    %s"):format(key, table.concat(found, "\n    "))
  end
  for _, row in ipairs(first) do
    compare(row.key)
  end
  for _, row in ipairs(second) do
    if not before[row.key] then
      compare(row.key)
    end
  end
  return #lines > 0 and table.concat(lines, "\n", 1, math.min(#lines, 4)) or nil
end


--- What a rule raised, as lists of texts by key: between keys there is no order.
local function by_key(raised)
  local lists, keys = {}, {}
  for _, effect in ipairs(raised) do
    if effect.kind ~= "probe" then
      if not lists[effect.key_text] then
        lists[effect.key_text], keys[#keys + 1] = {}, effect.key_text
      end
      table.insert(lists[effect.key_text], effect)
    end
  end
  table.sort(keys)
  return lists, keys
end


local function label(effect)
  return effect.kind == "alert" and "alert " .. effect.transition or effect.kind == "act" and "act " .. effect.act
    or effect.kind == "event" and "event " .. effect.type or effect.kind
end


--- What a rule raised differently, as text; nil where all bytes are the same.
local function alert_differences(history, trial)
  local values, other = values_for(history.native), alerts.open(history.native, trial)
  other:read()
  local before, keys = by_key(history.alerts.raised)
  local after, more = by_key(other.raised)
  for _, key in ipairs(more) do
    if not before[key] then
      keys[#keys + 1], before[key] = key, {}
    end
  end
  for _, key in ipairs(keys) do
    local first, second = before[key], after[key] or {}
    for i = 1, math.max(#first, #second) do
      local a, b = first[i], second[i]
      if not (a and b) then
        return ("  key %s: %s is %s"):format(key, label(a or b), a and "missing then" or "there then, and was not")
      elseif a.text ~= b.text then
        local lines = values.changes(history.native.json.decode(a.text), history.native.json.decode(b.text))
        return ("  key %s: %s:\n    %s"):format(key, label(a), lines[1] and table.concat(lines, "\n    ")
          or ("first %s, then %s"):format(a.text, b.text))
      end
    end
  end
end


--- nil, or what is wrong with the script: the first condition under which it gives other rows.
return function(history, seed)
  local expected = history:rows()
  for _, condition in ipairs(#history.events > 0 and conditions(history, dice(seed)) or {}) do
    local trial, problem = history.trial:again()
    local ok = trial ~= nil
    if ok then
      ok, problem = drive(trial, history, condition.plan)
    end
    local different = not ok and "  " .. problem
    if ok then
      different = history.alerts and alert_differences(history, trial)
        or differences(history, expected, trial:rows())
    end
    if trial then
      trial:close()
    end
    if different then
      return ("%s is not deterministic: the same events give other %s when %s (seed %d)\n%s\n  %s"):format(
        history.definition.path, history.alerts and "alerts" or "rows", condition.name, seed, different, condition.hint)
    end
  end
end
