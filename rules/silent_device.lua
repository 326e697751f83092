-- A device that says nothing any more, or never said anything.
--
-- What does not come can only be missed where it is expected: device_summary has a row for each device from the moment
-- it is provisioned until it is taken out of the fleet. A device that leaves the table takes its alert with it.
rule "silent_device" {
  on = { "device.heartbeat", "device.metrics_reported", "device.online" },
  by = { device = "aggregate_id" },

  -- `within`: four times the interval at which devices report, so that one lost message is no alarm.
  -- `grace`: so much longer for a device that is new and has not been switched on yet.
  absent = { within = "1h", expect = ref "device_summary", grace = "1d" },

  severity = "critical",
  linger = "1m", -- a device that reports once and falls silent again is not back
  summary = "{device} has been silent for an hour",
}
