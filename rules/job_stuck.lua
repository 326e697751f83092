-- A job that began and did not end: neither well, nor badly, nor given up.
--
-- The alert is resolved by the end, when it comes after all.
rule "job_stuck" {
  on = "reconciliation.*",
  by = { device = "aggregate_id", app = "data.app" },

  -- A step, and what must not stay away behind it. A job may say itself how long it takes.
  seq = {
    "reconciliation.started",
    missing = { "reconciliation.completed", "reconciliation.failed", "reconciliation.cancelled" },
    within = function(started) return started.data.timeout or "15m" end,
  },

  severity = "warning",
  summary = "{device} has been at work on {app} for longer than it should",
}
