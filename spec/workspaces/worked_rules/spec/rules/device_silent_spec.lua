describe("device_silent", function()
  before_each(function()
    given { { "device.provisioned", "d-1", { site = "lisbon" } }, { "device.online", "d-1" } }
  end)

  it("misses a device that is active and never said anything, after its grace", function()
    advance "13m" -- 3 and 10, from when it became active
    expect_no_alert "d-1"

    advance "1s"
    expect_alert("d-1", { severity = "critical", notify = { "alertmanager", "ops_hook" }, labels = { site = "lisbon" } })
  end)

  it("misses the next heartbeat", function()
    given { { "device.heartbeat", "d-1" } }
    advance "3m"
    expect_no_alert "d-1"

    advance "1s"
    expect_alert "d-1"
  end)

  it("is over a minute after the device is back", function()
    given { { "device.heartbeat", "d-1" } }
    advance "4m"
    given { { "device.metrics_reported", "d-1" } }
    advance "1m"
    expect_alert "d-1"

    advance "1s"
    expect_resolved "d-1"
  end)

  it("expects nothing of a device that was never online, or is gone", function()
    given { { "device.provisioned", "d-2" }, { "device.deprovisioned", "d-1" } }
    advance "1h"

    expect_no_alert()
  end)
end)
