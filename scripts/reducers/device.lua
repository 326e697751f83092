-- A device: what it is, what it should run, what it runs, where the two differ, and where it is in its life.
--
--   moonwake state device d-17                        its state now
--   moonwake state device d-17 --at 2026-01-31T12:00  what was known then
--   SELECT state FROM moonwake.aggregate_states WHERE reducer = 'device' AND aggregate_id = 'd-17';
--
-- A reducer folds the events of one aggregate, in the order of their versions, into one state: (state, event) -> state.
-- A projection answers questions about all devices; a reducer answers every question about one of them, now and at
-- any point of its past. The log alone gives the same answer, in SQL: SELECT moonwake.rebuild_device_state('d-17').
local fleet = require "fleet" -- scripts/lib/fleet.lua


local function compare(state)
  state.drift = fleet.drift(state.target, state.current)
end


local function set_target(state, event)
  state.target, state.target_version = event.data.new_state, event.version
  compare(state)
end


local function set_current(state, event)
  state.current, state.current_version = event.data.new_state, event.version
  compare(state)
end


local function seen(state, event)
  state.last_seen = iso(event.occurred_at)
end


--- The handler of an event that says how far the device's latest reconciliation is.
local function reconciliation(result)
  return function(state, event)
    state.reconciliation = { result = result, app = event.data.app, error = event.data.error }
  end
end


reducer "device" {
  -- Whose events it folds: those of another aggregate type are passed over, whatever their event type.
  aggregate = "device",

  -- To be raised when the meaning of the state changes: states and snapshots are then made anew.
  version = 1,

  -- After so many versions of a device its state is stored beside the current one. A question about the past begins
  -- at the nearest of these snapshots, and not at the device's first event.
  snapshot_every = 50,

  -- The state before the first event. (Without it: an empty table.)
  initial = function()
    return { lifecycle = "unknown", online = false, offlines = 0, drift = array {} }
  end,

  -- Event type -> handler. State comes first, then the event; what a handler leaves in the state, or returns, is kept.
  on = {
    ["device.provisioned"] = function(state, event)
      local data = event.data
      state.name, state.site, state.model, state.os, state.tags = data.name, data.site, data.model, data.os, data.tags
      state.lifecycle = "provisioned"
    end,
    ["device.renamed"] = function(state, event) state.name = event.data.name end,
    ["device.moved"]   = function(state, event) state.site = event.data.site end,
    ["device.tagged"]  = function(state, event) state.tags = event.data.tags end,
    ["device.updated"] = function(state, event) state.os = event.data.os end,

    ["device.online"] = function(state, event)
      state.lifecycle, state.online = "active", true
      seen(state, event)
    end,
    ["device.offline"] = function(state)
      state.online = false
      state.offlines = state.offlines + 1
    end,
    ["device.heartbeat"] = seen,
    ["device.metrics_reported"] = seen,

    -- Its history stays interesting, so the state stays; `return delete` would remove it.
    ["device.deprovisioned"] = function(state)
      state.lifecycle, state.online = "retired", false
    end,

    ["target_state.created"] = set_target,
    ["target_state.updated"] = set_target,
    ["target_state.cleared"] = function(state, event)
      state.target, state.target_version = nil, event.version
      compare(state)
    end,
    ["current_state.updated"] = set_current,
    ["current_state.reported"] = set_current,

    ["reconciliation.started"]   = reconciliation "running",
    ["reconciliation.completed"] = reconciliation "done",
    ["reconciliation.failed"]    = reconciliation "failed",
    ["reconciliation.cancelled"] = reconciliation "cancelled",
  },
}
