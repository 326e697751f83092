-- 9. A detector; the rest is the cooldown.
local detect = require "detect"

rule "odd_traffic" {
  on = "device.metrics_reported", by = { device = "aggregate_id" }, value = "data.kbps",
  score = detect.gauss { window = 6400, step = 100 }, when = function(s) return s.z > 7 end,
  cooldown = "2h", severity = "info",
  summary = "the traffic of {device} is {z} standard deviations away",
}
