-- 12. Automation: bounded, and not in maintenance.
rule "auto_restart" {
  on = "alert.firing", by = { device = "data.key.device", container = "data.key.container" },
  where = function(e) return e.data.rule == "crash_loop" end,
  when = function() return true end, kind = "signal", cooldown = "1h", mute = { calendar = "maintenance" },
  act = function(_, k)
    return publish("command.restart", { device_uuid = k.device, container = k.container },
      { aggregate_type = "device", aggregate_id = k.device })
  end,
  summary = "restarts {container} on {device}",
}
