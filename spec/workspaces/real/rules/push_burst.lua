-- Many pushes to one repository at once, by the time at which they were made.
rule "push_burst" {
  on = "github.push",
  by = { repository = "aggregate_id" },
  clock = "occurred",
  lateness = "5m",
  window = { over = "10m" },
  when = function(w) return w.count >= 5 end,
  summary = "{repository}: {count} pushes within 10 minutes",
}
