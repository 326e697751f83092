-- Specs of rules/crash_loop.lua: moonwake test crash_loop
local VISION = { device = "d-1", app = "vision" }

local function crash(app)
  return { "container.crashed", "d-1/" .. (app or "vision"), { device_uuid = "d-1", app = app or "vision", exit_code = 137 } }
end

describe("crash_loop", function()
  it("fires at the third crash within ten minutes", function()
    given { crash(), crash() }
    expect_no_alert(VISION)

    advance "9m59s"
    when { crash() }
    expect_alert(VISION, { severity = "warning", subject = { count = 3 },
      summary = "vision on d-1: 3 crashes within 10 minutes" })
  end)

  it("does not count what was more than ten minutes ago", function()
    given { crash(), crash() }
    advance "10m1s" -- the second was one second after the first
    when { crash() }

    expect_no_alert(VISION)
  end)

  it("is over when there was none for ten minutes", function()
    given { crash(), crash(), crash() }
    advance "5m"
    given { crash() }
    advance "10m"
    expect_alert(VISION)

    advance "1s"
    expect_resolved(VISION, { reason = "cleared", at = "2026-01-01T00:15:02Z" })
  end)

  it("tells containers apart", function()
    when { crash(), crash "agent", crash() }

    expect_no_alert()
  end)

  it("does not fire anew within half an hour, unless it is then still so", function()
    given { crash(), crash(), crash() }
    advance "11m"
    expect_resolved(VISION)

    when { crash(), crash(), crash() }
    expect_no_alert(VISION)

    advance "12m"
    given { crash(), crash(), crash() }
    advance "8m"
    expect_alert(VISION, { since = "2026-01-01T00:30:02Z" })
    assert.equal(2, #alerts())
  end)
end)
