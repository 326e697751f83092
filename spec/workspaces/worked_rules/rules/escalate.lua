-- 11. Escalation is a rule over alerts.
local function critical(e)
  return e.data.severity == "critical" and e.data.rule ~= "escalate"
end

rule "escalate" {
  on = { "alert.firing", "alert.acked", "alert.resolved", "alert.expired" }, by = { episode = "aggregate_id" },
  seq = { { on = "alert.firing", where = critical }, missing = { "alert.acked", "alert.resolved", "alert.expired" },
          within = "15m" },
  act = function(m) return webhook { to = "pager", data = { rule = m[1].data.rule, summary = m[1].data.summary } } end,
  summary = "nobody has seen to an alert for 15 minutes",
}
