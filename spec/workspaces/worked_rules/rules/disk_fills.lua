-- 6. Rate of change, forecast.
rule "disk_fills" {
  on = "device.metrics_reported", by = { device = "aggregate_id", mount = "data.mount" }, value = "data.disk_free",
  window = { over = "6h", min = 12 },
  when = function(w) return w.slope < 0 and w.last / -w.slope < 24 * 3600 end,
  summary = "{mount} of {device} will be full within a day",
}
