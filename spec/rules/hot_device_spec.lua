-- Specs of rules/hot_device.lua: moonwake test hot_device
local function measure(celsius)
  given { { "device.metrics_reported", "d-1", { temperature_c = celsius, cpu_percent = 10 } } }
end

describe("hot_device", function()
  it("fires when a device was too hot for two minutes", function()
    measure(75)
    expect_no_alert "d-1"

    measure(75.5)
    advance "2m"
    expect_alert("d-1", { state = "pending" })

    advance "1s"
    expect_alert("d-1", { severity = "warning", summary = "d-1 is at 75.5 °C" })
  end)

  it("forgets a single peak", function()
    measure(99)
    advance "1m"
    measure(60)
    advance "1h"

    expect_resolved("d-1", { from = "pending" })
  end)

  it("becomes critical, and stays so until it is well below", function()
    measure(76)
    advance "2m1s"
    measure(85)
    expect_alert("d-1", { severity = "warning" })

    measure(85.5)
    expect_alert("d-1", { severity = "critical", from = "warning" })

    measure(80)
    expect_alert("d-1", { severity = "critical" })

    measure(79.5)
    expect_alert("d-1", { severity = "warning", from = "critical" })
  end)

  it("is over five minutes after it cooled down, and not before", function()
    measure(80)
    advance "3m"
    measure(70) -- not cool enough
    advance "1h"
    expect_alert "d-1"

    measure(69.5)
    advance "4m"
    measure(80) -- not for good
    advance "1h"
    expect_alert "d-1"

    measure(69.5)
    advance "5m"
    expect_alert "d-1"

    advance "1s"
    expect_resolved "d-1"
    assert.equal(1, #alerts())
  end)

  it("does not take silence for coolness", function()
    measure(80)
    advance "30d"

    expect_alert "d-1"
  end)

  it("passes over measurements without a temperature", function()
    measure(80)
    advance "3m"
    when { { "device.metrics_reported", "d-1", { cpu_percent = 3 } } }

    expect_alert "d-1"
  end)
end)
