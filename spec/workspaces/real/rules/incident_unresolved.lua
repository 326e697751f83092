-- An incident that stays open for five days without a break.
local function is_open(event)
  return event.type ~= "incident.resolved" and event.type ~= "incident.closed"
end


rule "incident_unresolved" {
  on = "incident.*",
  by = { incident = "aggregate_id" },
  clock = "occurred",
  lateness = "12h",
  when = is_open,
  hold = "5d",
  severity = "error",
  summary = "{incident} is open: {data.incident_state}",
}
