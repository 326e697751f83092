-- Drives one input of the rule engine (prelude.rule_window and its like) with a life that only notes what it is told.
package.path = "runtime/?.lua;" .. package.path
local dkjson = require "dkjson"

local S = 1000000 -- microseconds

--- An input of these fields, with a life that only notes: a driver whose methods take seconds.
local function open(module, def)
  local life = { state = {}, timers = {}, counts = {}, t = 0, active = false }
  local tools = {
    set = function(state, name, due)
      assert(state == life.state and name:match("^i%."))
      life.timers[name] = due
    end,
    count = function(name) life.counts[name] = (life.counts[name] or 0) + 1 end,
    firing = function() return life.active end,
    active = function() return life.active end,
    now = function() return life.t end,
    event = function() return life.at_work end,
    native = { json = dkjson, iso = tostring, where = function() return "rules/r.lua", 1 end, event_copy = function(event)
      local copy = {}
      for name, value in pairs(event) do
        copy[name] = value
      end
      return copy
    end },
  }
  if def.window then
    def.window.kind, def.window.max = def.window.kind or "slide", def.window.max or 10000
  end
  local input = require("prelude.rule_" .. module)(def, tools)
  life.input = input

  --- What is kept must be a JSON tree: it is written and read again between all calls.
  local function restore()
    life.state = dkjson.decode(dkjson.encode(life.state))
  end

  function life.event(t, event, value)
    restore()
    life.t, life.at_work = t * S, event or {}
    return input.event(life.state, life.at_work, t * S, {}, value)
  end

  --- Fires the input's one timer.
  function life.fire()
    restore()
    local name, due = next(life.timers)
    assert(name, "no timer is set")
    life.timers[name], life.t, life.at_work = nil, due, nil
    return input.timer(life.state, name, due, {})
  end

  function life.due()
    local _, due = next(life.timers)
    return due and due / S
  end

  function life.late(t, event, value)
    restore()
    return input.late(life.state, event or {}, t * S, {}, value)
  end

  --- A timer of the life fires.
  function life.wait(t)
    restore()
    life.t, life.at_work = t * S, nil
  end

  function life.subject()
    return input.subject(life.state, {})
  end

  function life.idle()
    return input.idle(life.state)
  end

  return life
end


return open
