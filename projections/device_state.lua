-- What each device should run, what it runs, and where the two differ. This is the example to read first.
--
--   SELECT key, state -> 'drift' FROM moonwake.device_state WHERE state -> 'drift' <> '[]';
--
-- A projection says how each event changes one row of a table. moonwake makes the table (it has the file's name),
-- feeds every event of the log to the handlers below, in order and exactly once, and goes on with those that are
-- appended. Without `columns` a row is one JSON document, the column `state`.
local fleet = require "fleet" -- scripts/lib/fleet.lua


-- State comes first, then the event. `state` is this device's document, an empty table at first; what a handler
-- leaves in it is stored. No clock and no random number is to be had here: the same log always gives the same rows.
local function compare(state, event)
  state.drift = fleet.drift(state.target, state.current)
  if #state.drift == 0 then
    state.drifting_since = nil
  else
    state.drifting_since = state.drifting_since or iso(event.occurred_at)
  end
end


local function set_target(state, event)
  state.target = event.data.new_state
  state.target_version = event.version
  compare(state, event)
end


local function set_current(state, event)
  state.current = event.data.new_state
  compare(state, event)
end


projection "device_state" {
  -- To be raised when the meaning of the rows changes: the table is then built anew from the whole log.
  version = 1,

  -- Which row an event belongs to: a path of the event. (This is the default, too.)
  key = "aggregate_id",

  -- Event type -> handler. Types that are not named here are never even fetched from the database.
  on = {
    ["target_state.created"] = set_target,
    ["target_state.updated"] = set_target,
    ["target_state.cleared"] = function(state, event)
      state.target = nil
      compare(state, event)
    end,
    ["current_state.updated"] = set_current,
    ["current_state.reported"] = set_current,

    -- `delete` removes the row. (Returning nothing keeps it.)
    ["device.deprovisioned"] = function()
      return delete
    end,
  },
}
