local function measure(celsius)
  given { { "device.metrics_reported", "d-1", { temperature_c = celsius } } }
end

describe("hot", function()
  it("holds, climbs, falls and lingers", function()
    measure(70)
    expect_no_alert "d-1"
    measure(70.5)
    advance "2m"
    expect_alert("d-1", { state = "pending" })
    advance "1s"
    expect_alert("d-1", { severity = "warning" })

    measure(80)
    expect_alert("d-1", { severity = "warning" })
    measure(80.5)
    expect_alert("d-1", { severity = "critical" })
    measure(75)
    expect_alert("d-1", { severity = "critical" })
    measure(74.5)
    expect_alert("d-1", { severity = "warning" })

    measure(65)
    advance "1h"
    expect_alert "d-1"
    measure(64.5)
    advance "5m"
    expect_alert "d-1"
    advance "1s"
    expect_resolved "d-1"
  end)

  it("takes no silence for an answer", function()
    measure(71)
    advance "7d"

    expect_alert "d-1"
  end)
end)
