-- Specs of rules/silent_device.lua: moonwake test silent_device
describe("silent_device", function()
  before_each(function()
    given { { "device.provisioned", "d-1", { name = "gate 7" } } }
  end)

  it("fires when nothing came for an hour", function()
    given { { "device.online", "d-1" } }
    advance "1h"
    expect_no_alert "d-1"

    advance "1s"
    expect_alert("d-1", { severity = "critical", summary = "d-1 has been silent for an hour", since = "2026-01-01T01:00:01Z" })
  end)

  it("is content with any vital sign", function()
    for _, sign in ipairs { "device.heartbeat", "device.metrics_reported", "device.online" } do
      advance "59m"
      given { { sign, "d-1" } }
    end

    expect_no_alert()
  end)

  it("is over a minute after the device is back", function()
    given { { "device.heartbeat", "d-1" } }
    advance "2h"
    given { { "device.heartbeat", "d-1" } }
    expect_alert "d-1"

    advance "1m1s"
    expect_resolved "d-1"
  end)

  it("misses a device that was never there, after a day and an hour", function()
    advance "25h"
    expect_no_alert "d-1"

    advance "1s"
    expect_alert "d-1"
  end)

  it("expects nothing of a device that left the fleet", function()
    given { { "device.heartbeat", "d-1" } }
    advance "2h"
    when { { "device.deprovisioned", "d-1" } }

    expect_alert("d-1", { state = "expired", reason = "not expected" })
  end)

  it("expects nothing of a device that nobody knows", function()
    given { { "device.heartbeat", "d-2" }, { "device.deprovisioned", "d-2" } }
    advance "3h"

    expect_no_alert "d-2"
  end)
end)
