-- A device that is too hot: a threshold with levels and hysteresis.
rule "hot_device" {
  on = "device.metrics_reported",
  by = { device = "aggregate_id" },
  value = "data.temperature_c", -- a measurement without it is passed over

  -- Each level is a switch of its own, on at one temperature and off at a lower one.
  when = {
    warning  = function(celsius) return celsius > 75 end,
    critical = function(celsius) return celsius > 85 end,
  },
  clear = {
    warning  = function(celsius) return celsius < 70 end,
    critical = function(celsius) return celsius < 80 end,
  },

  hold = "2m",   -- a single peak is no alert …
  linger = "5m", -- … and a single cool reading does not end one. No reading at all never does.
  summary = "{device} is at {value} °C",
}
