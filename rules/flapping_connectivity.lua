-- A device whose connection comes and goes.
--
-- The two levels lie apart on purpose: at four losses an hour it is a warning, at eight an error, and it is over only
-- when there was at most one within the last hour.
rule "flapping_connectivity" {
  on = "device.offline",
  by = { device = "aggregate_id" },
  window = { over = "1h" },

  when = {
    warning = function(w) return w.count >= 4 end,
    error   = function(w) return w.count >= 8 end,
  },
  clear = {
    warning = function(w) return w.count <= 1 end,
    error   = function(w) return w.count <= 4 end,
  },

  -- Rules go by when events were appended to the log. This one goes by when they happened, since gateways tell of lost
  -- connections when they have one themselves: it waits five minutes for what is late, and what comes even later still
  -- takes its place in the window.
  clock = "occurred",
  lateness = "5m",
  late = "amend",

  summary = "{device} lost its connection {count} times within an hour",
}
