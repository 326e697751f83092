-- A device that does not come to run what it should.
--
-- Every change begins with a drift: the target is newer than what runs. That is nothing to tell of; one that lasts is.
rule "state_drift" {
  on = { "target_state.*", "current_state.*", "device.deprovisioned" },
  by = { device = "aggregate_id" },

  -- The comparison is device_state's (projections/device_state.lua). A rule sees a projection's row as it was at the
  -- event at work, that event included, also in a replay.
  when = function(_, k)
    local state = ref "device_state"[k.device]
    return state ~= nil and #(state.drift or {}) > 0
  end,

  hold = "30m", -- it must be so for this long, without a break
  severity = "warning",
  summary = "{device} has not reached its target state for half an hour",
}
