-- A device that could not do what it was told: its last job for an app failed, and none has succeeded since.
rule "failed_job" {
  on = { "reconciliation.completed", "reconciliation.failed" },
  by = { device = "aggregate_id", app = "data.app" },

  -- Without a window `when` sees the event itself, and without `clear` the alert is over as soon as `when` is false.
  when = function(event) return event.type == "reconciliation.failed" end,

  severity = "error",
  summary = "{device} could not bring {app} up to date: {data.error}",
}
