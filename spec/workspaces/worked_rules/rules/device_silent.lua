-- 2. Absence with an expected set.
rule "device_silent" {
  on = { "device.heartbeat", "device.metrics_*" }, by = { device = "aggregate_id" },
  absent = { within = "3m", expect = ref "devices.active", grace = "10m" },
  severity = "critical", linger = "1m", notify = { "alertmanager", "ops_hook" },
  labels = function(k) return { site = ref("devices.site")[k.device] } end,
  summary = "{device} is silent",
}
