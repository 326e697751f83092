-- Specs of rules/auto_restart.lua: moonwake test auto_restart
local VISION = { device = "d-1", app = "vision" }

local function crash_loop(at)
  return { "alert.firing", "e-1", { rule = "crash_loop", key = VISION, severity = "warning" }, at = at }
end

describe("auto_restart", function()
  it("asks for a restart when a container crashes in a loop", function()
    when { crash_loop() }

    expect_alert(VISION, { signal = true, summary = "restarts vision on d-1" })
    expect_act("publish", { type = "command.restart", data = { device_uuid = "d-1", app = "vision" },
      aggregate_type = "container", aggregate_id = "d-1/vision", muted = absent })
  end)

  it("does so at most once an hour", function()
    given { crash_loop() }
    advance "59m"
    when { crash_loop() }
    expect_no_alert(VISION)

    advance "2m"
    when { crash_loop() }
    expect_alert(VISION)
    assert.equal(2, #alerts())
  end)

  it("leaves other alerts to people", function()
    when { { "alert.firing", "e-2", { rule = "hot_device", key = { device = "d-1" } } } }

    expect_no_alert()
    expect_act("publish", absent)
  end)

  it("does nothing during maintenance", function()
    when { crash_loop "2026-01-04T02:00:00Z" } -- a Sunday

    expect_alert(VISION, { muted = "calendar maintenance" })
    expect_act("publish", { muted = "calendar maintenance" })
  end)

  it("works again when maintenance is over", function()
    when { crash_loop "2026-01-04T04:00:00Z" }

    expect_alert(VISION, { muted = absent })
  end)
end)
