-- Specs of rules/disk_forecast.lua: moonwake test disk_forecast

--- Measurements an hour apart, the first at `percent`, each `step` above the last.
local function measure(count, percent, step)
  for i = 0, count - 1 do
    advance "1h"
    given { { "device.metrics_reported", "d-1", { disk_percent = percent + i * step } } }
  end
end

describe("disk_forecast", function()
  it("fires when the disk is full in less than a day", function()
    measure(12, 64.5, 1) -- 75.5 %, one more each hour: 24.5 hours
    expect_no_alert()

    measure(1, 76.5, 0)
    expect_alert("d-1", { severity = "warning", summary = "d-1 is 76.5 % full and will be full within a day" })
  end)

  it("waits for twelve measurements", function()
    measure(11, 80, 1)
    expect_no_alert()

    measure(1, 91, 0)
    expect_alert "d-1"
  end)

  it("does not mind a disk that fills slowly", function()
    measure(20, 75, 0.1)

    expect_no_alert()
  end)

  it("does not mind a disk that has room, however fast it fills", function()
    measure(12, 36.5, 3) -- 69.5 %
    expect_no_alert()

    measure(1, 70.5, 0)
    expect_alert "d-1"
  end)

  it("goes by the last day", function()
    measure(30, 60, 0)
    measure(18, 61, 1) -- the quiet hours before still make the line flatter
    expect_no_alert()

    measure(1, 79, 0)
    expect_alert "d-1"
  end)

  it("is over when there is a day and a half again", function()
    measure(12, 70, 1)
    measure(10, 81, 0)
    expect_alert "d-1"

    measure(1, 81, 0)
    expect_resolved "d-1"
  end)

  it("does not fail on measurements that all came at once", function()
    local list = { timestamp = "2026-01-01T00:00:00Z" }
    for i = 1, 12 do
      list[i] = { "device.metrics_reported", "d-1", { disk_percent = 80 + i / 10 } }
    end
    when(list)

    expect_no_alert()
  end)
end)
