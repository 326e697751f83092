-- The words that specs have beside busted's.
local History = require "moonwake.spec.history"
local events = require "moonwake.spec.events"
local guard = require "moonwake.spec.guard"
local nearest = require "prelude.nearest"
local rule_words = require "moonwake.spec.rule_words"

local ROWS_NAMED = 5 -- keys that a message lists


--- Folders of scripts by the folder of their specs.
local FOLDERS = { projections = "projections/%s.lua", reducers = "scripts/reducers/%s.lua", rules = "rules/%s.lua" }


--- "file:line" in the spec: the innermost frame that is not ours.
local function place()
  for level = 3, 40 do
    local info = debug.getinfo(level, "Sl")
    if not info then
      return ""
    elseif info.what ~= "C" and not info.source:match("^@moonwake/") then
      return ("%s:%d: "):format(info.source:gsub("^@", ""), info.currentline)
    end
  end
  return ""
end


local function indented(text)
  return (text:gsub("\n", "\n  "))
end


return function(native, busted, options, coverage)
  local values = require "moonwake.spec.values"(native)
  local words = { json = native.json, array = native.array, decimal = native.decimal, absent = values.absent,
    exactly = values.exactly }
  local current -- the history of the test that runs

  --- Seconds here, as in scripts.
  function words.time(text)
    local us = type(text) == "string" and native.time(text)
    return us and us / 1e6 or error(("time: '%s' is no time (write 2026-01-02T03:04:05Z)"):format(tostring(text)), 2)
  end

  function words.iso(seconds)
    return native.iso(seconds * 1e6)
  end

  function words.utc_date(seconds)
    return native.iso(seconds * 1e6):sub(1, 10)
  end

  local function fail_at(where, text)
    busted.fail(where .. text, 0)
  end

  local function fail(text, ...)
    fail_at(place(), (select("#", ...) > 0 and text:format(...) or text))
  end

  local function fail_with(subject, failure)
    fail_at(failure.place or place(), subject .. indented(failure.message)
      .. (failure.trace and "\n  " .. indented(failure.trace) or ""))
  end

  --- The script of a place in a file: what script() said there or above it, else what the file's name says.
  local function script_of(element)
    while element do
      if element.moonwake_script then
        return element.moonwake_script
      elseif element.descriptor == "file" then
        local folder, name = element.name:match("([^/]+)/([^/]+)_spec%.lua$")
        name = name or element.name:match("([^/]+)_spec%.lua$")
        return FOLDERS[folder] and FOLDERS[folder]:format(name) or name or "?",
          (" (%s is for the script of that name; script \"NAME\" names another)"):format(element.name)
      end
      element = busted.context.parent(element)
    end
    return "?", ""
  end

  local function open_history(name, note, cover)
    local history, problem = History.open(native, name, cover)
    if not history then
      problem.message = problem.message .. (problem.message:find("no such file", 1, true) and note or "")
      fail_with("", problem)
    end
    return history
  end

  local function history_for(word)
    local element = busted.context.get()
    if element.descriptor ~= "it" and element.descriptor ~= "before_each" then
      fail("%s: belongs in it(…) or before_each(…), where a history begins", word)
    end
    if not current then
      local name, note = script_of(element)
      current = open_history(name, note, coverage ~= nil)
    end
    return current
  end

  --- An event or a timer that failed and that no expect_error() has asked for.
  local function unexpected(history)
    if not history.failed then
      return history.timer_failure
    end
    local failure = history.failures[history.failed]
    local message = ("%s failed:\n%s"):format(history:name_of(history.failed), failure.message)
    return { message = message, trace = failure.trace,
      place = history.failed_place }
  end

  local function check_failed(history)
    if history and (history.failed or history.timer_failure) then
      local failure = unexpected(history)
      history.failed, history.timer_failure = nil, nil
      fail_with("", failure)
    end
  end

  local function feed(word, written, may_fail)
    local history = history_for(word)
    check_failed(history)
    local list, problem = history.reader:read_list(written)
    if not list then
      fail("%s: %s", word, problem)
    end
    problem = history:too_old(list)
    if problem then
      fail("%s: %s", word, problem)
    elseif history.alerts then
      history.alerts:next_step()
    end
    local ok, failure = history:feed(list)
    history.failed_place = place()
    if not ok then
      fail_with(word .. ": ", failure)
    elseif not may_fail or history.failed and history.failed ~= #history.events then
      check_failed(history)
    end
  end

  --- Names the script under test, for the block in which it stands. Returns its definition.
  function words.script(name)
    local element = busted.context.get()
    if type(name) ~= "string" then
      fail("script: a name or a path is expected, not a %s", type(name))
    elseif current and element.descriptor == "it" then
      fail("script: the history of this test has begun (name the script before its first event)")
    end
    local history = open_history(name)
    element.moonwake_script = name
    history:close()
    return history.definition
  end

  function words.given(written)
    feed("given", written, false)
  end

  function words.when(written)
    feed("when", written, true)
  end

  function words.advance(duration)
    local microseconds, problem = events.duration(duration)
    if not microseconds then
      fail("advance: %s", problem)
    end
    local history = history_for("advance")
    check_failed(history)
    local ok, failure = history:advance(microseconds)
    if not ok then
      fail_with("advance: ", failure)
    end
  end

  function words.expect_error(pattern)
    local history = history_for("expect_error")
    local failure = history.failed and history.failures[history.failed] or history.timer_failure
    if not failure then
      fail("expect_error: %s", #history.events == 0 and "there was no event"
        or history:name_of(#history.events) .. " did not fail" .. (history.alerts and ", and no timer behind it" or ""))
    elseif pattern ~= nil then
      local ok, found = pcall(string.find, failure.message, pattern)
      if not (ok and found) and not failure.message:find(tostring(pattern), 1, true) then
        fail("expect_error: '%s' is not in the error of %s", tostring(pattern), indented(unexpected(history).message))
      end
    end
    history.failed, history.timer_failure = nil, nil
  end

  --- Why a row may not be what it should: an event that failed, types that no handler takes.
  local function notes(history)
    local out = {}
    if history.failed or history.timer_failure then
      out[#out + 1] = "\n  " .. indented(unexpected(history).message)
    end
    local told = {}
    for number, event in ipairs(history.events) do
      if not told[event.type] and not history.trial:taken_by(number - 1) then
        told[event.type] = true
        local hint = nearest(event.type, history.definition.types)
        if hint ~= "" then
          out[#out + 1] = ("\n  no handler takes '%s'%s"):format(event.type, hint)
        end
      end
    end
    return table.concat(out)
  end

  --- The history of a script that has rows.
  local function rows_of(word)
    local history = history_for(word)
    if history.alerts then
      fail("%s: %s is a rule, and has no rows (expect_alert, expect_resolved, expect_no_alert)", word,
        history.definition.path)
    end
    return history
  end

  local function keys_named(history)
    local names = {}
    for i, row in ipairs((history:rows())) do
      names[i] = i <= ROWS_NAMED and row.key or i == ROWS_NAMED + 1 and "…" or nil
    end
    return #names > 0 and ("the rows are %s"):format(table.concat(names, ", ")) or "there are no rows"
  end

  --- What was expected, in the form that rows have: times of typed columns are numbers.
  local function normalise(history, expected)
    local columns = history:columns()
    if not columns then
      return expected
    end
    local out = {}
    for name, value in pairs(expected) do
      local column = columns[name]
      if column and column.type == "timestamptz" and type(value) == "string" then
        value = native.time(value) or error(("'%s' of '%s' is no time"):format(value, name), 0)
        value = value / 1e6
      elseif value == native.json.null and column and column.type ~= "jsonb" then
        value = values.absent
      end
      out[name] = value
    end
    return values.is_exact(expected) and values.exactly(out) or out
  end

  local function expect(word, count, key, expected)
    local history = rows_of(word)
    if count < 2 then
      fail("%s: say what is expected of it: a table of fields, or absent for none", word)
    elseif expected ~= nil and type(expected) ~= "table" then
      fail("%s: a table of fields or absent is expected, not a %s", word, type(expected))
    end
    local row, problem, stored, text = history:row(key)
    if problem then
      fail("%s: %s", word, problem)
    end
    local subject = ("row %s of %s"):format(text, history.definition.name)
    if history.definition.kind == "reducer" then
      subject = ("the state of %s %s"):format(history.definition.aggregate or "aggregate", text)
    end
    if expected == nil or expected == values.absent then
      if stored then
        fail("%s: there is one, and should not be: %s%s", subject, values.show(row), notes(history))
      end
      return
    elseif not stored then
      fail("%s: there is none; %s%s", subject, keys_named(history), notes(history))
    end
    local ok, wanted = pcall(normalise, history, expected)
    if not ok then
      fail("%s: %s", word, wanted)
    end
    local lines = values.differences(wanted, row, history:columns())
    if #lines > 0 then
      fail("%s is not what was expected:\n  %s\n  (%s changed it last)%s", subject, table.concat(lines, "\n  "),
        history:name_of_id(stored.position), notes(history))
    end
  end

  --- The row has these fields with these values; absent: there is no such row.
  function words.expect_row(...)
    expect("expect_row", select("#", ...), ...)
  end

  function words.expect_state(...)
    expect("expect_state", select("#", ...), ...)
  end

  local function read_row(word)
    return function(key)
      local row, problem = rows_of(word):row(key)
      if problem then
        fail("%s: %s", word, problem)
      end
      return row
    end
  end
  words.row, words.state = read_row("row"), read_row("state")

  --- All rows in the order of their keys: { key =, row = }.
  function words.rows()
    local history, out = rows_of("rows"), {}
    for i, row in ipairs((history:rows())) do
      out[i] = { key = native.json.decode(row.key), row = history:decode(row.state) }
    end
    return out
  end

  rule_words(native, words, { history_for = history_for, fail = fail, notes = notes, values = values })

  local function check_history(element)
    if not current then
      return
    end
    check_failed(current)
    local problem = guard(current, options.seed)
    if problem then
      fail_at(("%s:%d: "):format(element.trace.short_src, element.trace.currentline), problem)
    end
  end

  local function drop_history()
    if current and coverage then
      coverage.add(current)
    end
    if current then
      current:close()
    end
    current = nil
    return nil, true
  end

  -- The guard is a part of the test, so that what it finds is the test's failure.
  busted.subscribe({ "test", "start" }, function(element)
    local run = element.run
    element.run = function()
      run()
      check_history(element)
    end
    return nil, true
  end)
  busted.subscribe({ "test", "end" }, drop_history)
  busted.subscribe({ "error", "before_each" }, drop_history)

  return words
end
