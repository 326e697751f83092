-- 7. A distinct share against reference data; inhibits its children.
rule "site_down" {
  on = "device.offline", by = { site = "data.site" }, window = { over = "5m", distinct = "aggregate_id" },
  when = function(w, k) return w.distinct >= 0.5 * ref("site.size")[k.site] end,
  mute = { match = { rule = { "device_silent", "crash_loop" } }, equal = "site" },
  summary = "{site}: {distinct} devices went offline",
}
