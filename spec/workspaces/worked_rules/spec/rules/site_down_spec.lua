local function each(type, first, last)
  local list = {}
  for number = first, last do
    list[#list + 1] = { type, "d-" .. number, { site = "lisbon" } }
  end
  return list
end

describe("site_down", function()
  before_each(function()
    given(each("device.provisioned", 1, 10))
  end)

  it("fires when half of a site's devices went offline within five minutes", function()
    given(each("device.offline", 1, 4))
    given(each("device.offline", 1, 4)) -- the same ones
    expect_no_alert "lisbon"

    when(each("device.offline", 5, 5))
    expect_alert("lisbon", { subject = { distinct = 5 },
      inhibits = { match = { rule = { "device_silent", "crash_loop" } }, equal = { "site" } } })
  end)

  it("goes by the size that the site has now", function()
    given(each("device.deprovisioned", 7, 10))
    when(each("device.offline", 1, 3))

    expect_alert "lisbon"
  end)

  it("is over when the window has passed", function()
    given(each("device.offline", 1, 5))
    advance "5m"
    expect_resolved("lisbon", { at = "2026-01-01T00:05:10Z" })
  end)
end)
