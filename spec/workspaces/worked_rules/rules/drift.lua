-- 8. A session window, and reference data.
rule "drift" {
  on = "current_state.drifted", by = { device = "aggregate_id" }, window = { kind = "session", gap = "90s", over = "1h" },
  when = function(w) return w.count > 5 or w.span > 600 end,
  labels = function(k) return { team = ref("owners.team")[k.device] } end,
  summary = "{device} drifts, {count} times in a row",
}
