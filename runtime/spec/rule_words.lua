-- The words of specs that are for rules.
local alerts = require "moonwake.spec.alerts"
local nearest = require "prelude.nearest"

local NAMED = 5 -- alerts that a message lists


-- What values.differences() is told of an alert's fields: which of them are times.
local COLUMNS = {}
for _, name in ipairs(alerts.FIELDS) do
  COLUMNS[name] = { type = (name == "at" or name == "since") and "timestamptz" or "" }
end


--- `tools`: history_for(word), fail(text, …), notes(history), values.
return function(native, words, tools)
  local fail, values = tools.fail, tools.values

  local function rule_for(word)
    local history = tools.history_for(word)
    if not history.alerts then
      fail("%s: %s is no rule", word, history.definition.path)
    end
    return history, history.alerts
  end

  local function key_of(word, history, key)
    if key == nil then
      fail("%s: say which key: a value, a list of them, or { name = value }", word)
    end
    local text, problem = history:key_text(key)
    return text or fail("%s: %s", word, problem)
  end

  local function state_of(list, alert)
    local state = alert.signal and "signalled" or alert.state
    return ("%s %s since %s%s"):format(values.show(alert.key), state, native.iso(alert.since * 1e6),
      list:is_over(alert) and alert.signal and " (in an earlier step)" or "")
  end

  local function alerts_named(list)
    local names = {}
    for i, alert in ipairs(list.episodes) do
      names[i] = i <= NAMED and state_of(list, alert) or i == NAMED + 1 and "…" or nil
    end
    return #names > 0 and "the alerts are " .. table.concat(names, ", ") or "there are no alerts"
  end

  --- Times as the alert has them. Refuses fields and states that there are not.
  local function checked(word, written)
    if written ~= nil and type(written) ~= "table" then
      fail("%s: a table of fields is expected, not a %s", word, type(written))
    end
    local expected = {}
    for name, value in pairs(written or {}) do
      if not COLUMNS[name] then
        fail("%s: an alert has no field '%s'%s", word, tostring(name), nearest(tostring(name), alerts.FIELDS))
      elseif COLUMNS[name].type == "timestamptz" and type(value) == "string" then
        value = native.time(value) or fail("%s: '%s' of '%s' is no time", word, value, name)
        value = value / 1e6
      end
      expected[name] = value
    end
    local known = {}
    for _, state in ipairs(alerts.STATES) do
      known[state] = true
    end
    if expected.state ~= nil and not known[expected.state] then
      local state = tostring(expected.state)
      fail("%s: there is no state '%s'%s", word, state, nearest(state, alerts.STATES))
    end
    return expected
  end

  local function why(history, list, key_text)
    local reason = list:why_not(key_text)
    return (reason and "\n  what kept it from firing: " .. reason or "") .. tools.notes(history)
  end

  --- The key's alert in a state has these fields with these values.
  local function expect_in(word, key, fields, state)
    local history, list = rule_for(word)
    local text = key_of(word, history, key)
    local expected = checked(word, fields)
    expected.state = expected.state or state
    local over = expected.state == "resolved" or expected.state == "expired"
    local alert = list:last(text, function(a) return list:is_over(a) == over end)
    if not alert then
      fail("%s: %s has no alert that is %s; %s%s", word, text, expected.state, alerts_named(list),
        why(history, list, text))
    end
    local lines = values.differences(expected, alert, COLUMNS)
    if #lines > 0 then
      fail("the alert of %s is not what was expected:\n  %s\n  (%s changed it last)%s", text,
        table.concat(lines, "\n  "), alert.position and history:name_of_id(alert.position) or "a timer",
        why(history, list, text))
    end
  end

  function words.expect_alert(key, fields)
    expect_in("expect_alert", key, fields, "firing")
  end

  function words.expect_resolved(key, fields)
    expect_in("expect_resolved", key, fields, "resolved")
  end

  function words.expect_no_alert(key)
    local history, list = rule_for("expect_no_alert")
    local text = key ~= nil and key_of("expect_no_alert", history, key)
    for _, alert in ipairs(list.episodes) do
      if not list:is_over(alert) and (not text or text == alert.key_text) then
        fail("expect_no_alert: there is one: %s: %s", state_of(list, alert), tostring(alert.summary))
      end
    end
  end

  --- All alerts in the order in which they began; signals, too.
  function words.alerts()
    local _, list = rule_for("alerts")
    local out = {}
    for i, alert in ipairs(list.episodes) do
      local copy = {}
      for _, name in ipairs(alerts.FIELDS) do
        copy[name] = alert[name]
      end
      out[i] = copy
    end
    return out
  end

  --- One of the things that the rule did in this test has these fields.
  local function expect_doing(word, name, matching, fields, actual_of)
    local history, list = rule_for(word)
    local nearest_lines, others = nil, {}
    for _, effect in ipairs(list.raised) do
      if effect.kind == "event" or effect.kind == "act" then
        local is_it = matching(effect)
        if is_it and (fields == nil or fields ~= values.absent) then
          local lines = values.differences(fields or {}, actual_of(effect))
          if #lines == 0 then
            return
          end
          nearest_lines = lines
        elseif is_it then
          fail("%s: there is one, and should not be: %s", word, values.show(actual_of(effect)))
        end
        others[#others + 1] = effect.kind == "event" and "event " .. effect.type or "act " .. effect.act
      end
    end
    if fields == values.absent then
      return
    elseif nearest_lines then
      fail("%s: no '%s' is what was expected; the last one:\n  %s", word, name, table.concat(nearest_lines, "\n  "))
    end
    fail("%s: the rule did no '%s'; %s%s", word, name, #others > 0 and "it did " .. table.concat(others, ", ")
      or "it did nothing", tools.notes(history))
  end

  function words.expect_event(event_type, fields)
    expect_doing("expect_event", tostring(event_type), function(effect)
      return effect.kind == "event" and effect.type == event_type
    end, fields, function(effect) return effect.data end)
  end

  function words.expect_act(kind, fields)
    expect_doing("expect_act", tostring(kind), function(effect)
      return effect.kind == "act" and effect.act == kind
    end, fields, function(effect)
      -- What is published is an event: its own fields are looked at, and not where the act keeps them.
      local from = effect.act == "publish" and effect.data or effect
      local actual = { mode = effect.mode, muted = effect.muted }
      for _, name in ipairs { "to", "type", "aggregate_type", "aggregate_id", "data" } do
        actual[name] = from[name]
      end
      return actual
    end)
  end
end
