local VISION = { device = "d-1", container = "vision" }

local function crash_loop(at)
  return { "alert.firing", "e-1", { rule = "crash_loop", key = VISION }, at = at }
end

describe("auto_restart", function()
  it("asks for a restart, once an hour", function()
    given { crash_loop() }
    expect_act("publish", { type = "command.restart", data = { device_uuid = "d-1", container = "vision" } })

    advance "59m"
    given { crash_loop() }
    assert.equal(1, #alerts())

    advance "1m1s"
    given { crash_loop() }
    assert.equal(2, #alerts())
  end)

  it("keeps quiet in maintenance, by the clocks of the place", function()
    given { crash_loop "2026-07-05T01:30:00Z" } -- 02:30 in Lisbon, a Sunday in summer

    expect_act("publish", { muted = "calendar maintenance" })
  end)
end)
