-- Specs of rules/state_drift.lua: moonwake test state_drift
local function state(type, image)
  return { type, "d-1", { new_state = { apps = { agent = { image = image } } } }, aggregate_type = "device" }
end

local function target(image) return state("target_state.updated", image) end
local function current(image) return state("current_state.reported", image) end

describe("state_drift", function()
  it("gives a device half an hour", function()
    given { target "agent:1" }
    expect_alert("d-1", { state = "pending" })
    advance "30m"
    when { current "agent:1" }

    expect_resolved("d-1", { from = "pending" })
  end)

  it("fires when it took longer", function()
    given { target "agent:1" }
    advance "30m1s"

    expect_alert("d-1", { severity = "warning", since = "2026-01-01T00:00:00Z", at = "2026-01-01T00:30:00Z" })
  end)

  it("does not begin anew with a newer target", function()
    given { target "agent:1" }
    advance "20m"
    given { target "agent:2" }
    advance "11m"
    expect_alert "d-1"

    when { current "agent:1" }
    expect_alert "d-1"

    when { current "agent:2" }
    expect_resolved "d-1"
  end)

  it("is over when the device leaves the fleet", function()
    given { target "agent:1" }
    advance "1h"
    when { { "device.deprovisioned", "d-1" } }

    expect_resolved "d-1"
  end)
end)
