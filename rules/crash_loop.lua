-- A container that crashes again and again. This is the example to read first.
--
--   moonwake test crash_loop              its spec: spec/rules/crash_loop_spec.lua
--   moonwake backtest crash_loop          what it would have said about your history, with no action taken
--   moonwake alerts                       what it says now
--
-- A rule watches events, one key at a time, and opens an alert while something is the case. moonwake keeps what it
-- remembers of each key in the database, together with the place in the log: a restart loses and repeats nothing. Its
-- only clock is the log's, so that live and replayed it says the same.
rule "crash_loop" {
  -- Which events it reads: a type, a glob ("container.*"), or a list of them.
  on = "container.crashed",

  -- What one alert is about: paths of the event, by the names that `k` and the texts below know them by.
  by = { device = "data.device_uuid", app = "data.app" },

  -- What the predicates look at: here the crashes of the last ten minutes. An event leaves the window by itself, at
  -- its time, without another one having to come.
  window = { over = "10m" },

  -- Opens the alert, and resolves it. Between the two lies what would flap: one or two crashes neither open nor end it.
  when  = function(w) return w.count >= 3 end,
  clear = function(w) return w.count == 0 end,

  severity = "warning", -- info, warning, error, critical
  cooldown = "30m",     -- for so long after it fired it does not fire again for the same container
  summary = "{app} on {device}: {count} crashes within 10 minutes",
  description = "The container is started again and again and does not stay up. Its image, its configuration and the "
    .. "device's memory are the usual reasons.",
}
