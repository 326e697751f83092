-- A critical alert that nobody has seen to for a quarter of an hour.
--
-- Alerts are events of the log too (alert.firing, alert.acked, alert.resolved, …), so what is to happen with them is
-- said by rules. This one opens an alert of its own; `notify = "…"` would bring it to a receiver (rules/receivers/)
-- that wakes somebody up. It is over when the first one is.
local function is_critical(event)
  return event.data.severity == "critical" and event.data.rule ~= "escalate" -- or it would climb without end
end


rule "escalate" {
  -- Not "alert.*": whether another alert mutes this one, and when, is no matter of the log alone.
  on = { "alert.firing", "alert.acked", "alert.resolved", "alert.expired" },
  by = { episode = "aggregate_id" },
  seq = {
    { on = "alert.firing", where = is_critical },
    missing = { "alert.acked", "alert.resolved", "alert.expired" },
    within = "15m",
  },

  severity = "critical",
  labels = function(_, steps) return { about = steps[1].data.rule, what = steps[1].data.summary } end,
  summary = "nobody has seen to it for 15 minutes: {what}",
}
