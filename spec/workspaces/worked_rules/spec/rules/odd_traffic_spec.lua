local function traffic(count, base)
  for i = 1, count do
    given { { "device.metrics_reported", "d-1", { kbps = base + i % 7 } } }
  end
end

describe("odd_traffic", function()
  it("fires at a value that is far from all others, and then rests", function()
    traffic(150, 100)
    expect_no_alert()

    traffic(1, 900)
    expect_alert("d-1", { severity = "info" })

    traffic(1, 100)
    expect_resolved "d-1"
    traffic(1, 5000)
    expect_no_alert "d-1"
  end)
end)
