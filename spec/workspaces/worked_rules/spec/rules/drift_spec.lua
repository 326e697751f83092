local function drifts(count, pause)
  for _ = 1, count do
    advance(pause)
    given { { "current_state.drifted", "d-1", aggregate_type = "device" } }
  end
end

describe("drift", function()
  before_each(function()
    given { { "device.tagged", "d-1", { team = "edge" } } }
  end)

  it("fires at the sixth drift of a session, for the team that owns the device", function()
    drifts(5, "1m")
    expect_no_alert "d-1"

    drifts(1, "1m")
    expect_alert("d-1", { labels = { team = "edge" }, summary = "d-1 drifts, 6 times in a row" })
  end)

  it("begins to count anew after a gap", function()
    drifts(5, "1m")
    advance "91s"
    drifts(5, "1m")

    expect_no_alert "d-1"
  end)

  it("is over with its session", function()
    drifts(6, "1m")
    advance "90s"
    expect_alert "d-1"

    advance "1s"
    expect_resolved("d-1", { reason = "session closed" })
  end)
end)
