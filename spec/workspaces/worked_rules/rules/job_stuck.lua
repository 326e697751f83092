-- 3. A not followed by B; the deadline comes from the event.
rule "job_stuck" {
  on = "job.*", by = { job = "aggregate_id" },
  seq = { "job.started", missing = { "job.finished", "job.failed" },
          within = function(a) return a.data.timeout or "15m" end },
  severity = "warning",                               -- resolves when the late B comes
  summary = "job {job} has not ended",
}
