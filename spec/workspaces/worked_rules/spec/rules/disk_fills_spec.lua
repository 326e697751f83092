local ROOT = { device = "d-1", mount = "/" }

local function measure(count, free, step)
  for i = 0, count - 1 do
    advance "30m"
    given { { "device.metrics_reported", "d-1", { mount = "/", disk_free = free + i * step } } }
  end
end

describe("disk_fills", function()
  it("tells a day ahead", function()
    measure(11, 60, -1)
    expect_no_alert(ROOT) -- too few yet

    measure(1, 49, 0) -- 2 an hour: 24.5 hours are left
    expect_no_alert(ROOT)

    measure(1, 47.5, 0)
    expect_alert(ROOT)
  end)

  it("is over when the disk is emptied", function()
    measure(13, 50, -1)
    expect_alert(ROOT)

    measure(8, 60, 2)
    expect_resolved(ROOT)
  end)
end)
