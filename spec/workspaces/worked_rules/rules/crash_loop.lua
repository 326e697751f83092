-- 1. Count, sliding, per key, hysteresis, cooldown.
rule "crash_loop" {
  on = "container.crashed", by = { device = "data.device_uuid", container = "data.app" },
  window = { over = "10m" },
  when  = function(w) return w.count >= 3 end,
  clear = function(w) return w.count == 0 end,
  severity = "warning", cooldown = "30m", flap = { low = .25, high = .5 },
  labels = function(k) return { site = ref("devices.site")[k.device] } end,
  summary = "{container} on {device}: {count} crashes in 10m",
}
