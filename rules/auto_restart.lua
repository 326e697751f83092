-- Starts a container anew that crashes in a loop: at most once an hour, and never during maintenance.
--
-- `kind = "signal"`: it is done once, and nothing is left to resolve. What it does is an event again, which whoever
-- restarts containers reads (`moonwake tail --types command.restart`, a projection, a webhook).
rule "auto_restart" {
  on = "alert.firing",
  where = function(event) return event.data.rule == "crash_loop" end,
  by = { device = "data.key.device", app = "data.key.app" },

  kind = "signal",
  when = function() return true end, -- every one that `where` lets through
  cooldown = "1h",
  mute = { calendar = "maintenance" }, -- rules/calendars/maintenance.lua

  -- An action, other than a fact (`emit`), is not done for what is long past: not in a replay, and not after a long
  -- downtime.
  act = function(_, k)
    return publish("command.restart", { device_uuid = k.device, app = k.app }, {
      aggregate_type = "container", aggregate_id = k.device .. "/" .. k.app,
    })
  end,
  summary = "restarts {app} on {device}",
}
