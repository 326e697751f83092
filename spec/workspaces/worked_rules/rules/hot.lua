-- 5. Levels, hysteresis, pending, keep-firing.
rule "hot" {
  on = "device.metrics_reported", by = { device = "aggregate_id" }, value = "data.temperature_c",
  when  = { warning = function(v) return v > 70 end, critical = function(v) return v > 80 end },
  clear = { warning = function(v) return v < 65 end, critical = function(v) return v < 75 end },
  hold = "2m", linger = "5m",                         -- no data is not "ok"
  summary = "{device}: {value} degrees",
}
