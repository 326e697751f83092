local VISION = { device = "d-1", container = "vision" }
local CRASH = { "container.crashed", "d-1/vision", { device_uuid = "d-1", app = "vision" } }

describe("crash_loop", function()
  before_each(function()
    given { { "device.provisioned", "d-1", { site = "lisbon" } } }
  end)

  it("counts, keeps on until the window is empty, and rests", function()
    given { CRASH, CRASH }
    expect_no_alert(VISION)
    when { CRASH }
    expect_alert(VISION, { summary = "vision on d-1: 3 crashes in 10m", labels = { site = "lisbon" } })

    advance "9m59s"
    expect_alert(VISION)
    advance "2s"
    expect_resolved(VISION)

    given { CRASH, CRASH, CRASH }
    expect_no_alert(VISION)
    advance "12m"
    given { CRASH, CRASH, CRASH }
    advance "10m"
    expect_alert(VISION, { since = "2026-01-01T00:30:03Z" }) -- 30 minutes after the first
  end)

  it("becomes one alert when it flaps, which stays until that is over", function()
    for n = 1, 14 do -- three at once, and half an hour of quiet
      given { CRASH, CRASH, CRASH, timestamp = iso(time "2026-01-02" + n * 31 * 60) }
    end
    local count = #alerts()
    advance "20m"

    assert.is_true(count < 14)
    expect_alert(VISION)
  end)
end)
