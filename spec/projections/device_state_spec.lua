-- Specs of projections/device_state.lua: moonwake test device_state
local function target(image)
  return { "target_state.updated", "d-1", { new_state = { apps = { agent = { image = image } } } } }
end

local function current(image)
  return { "current_state.reported", "d-1", { new_state = { apps = { agent = { image = image } } } } }
end

describe("device_state", function()
  it("has no drift where a device runs what it should", function()
    given { aggregate_type = "device", target "agent:1", current "agent:1" }

    expect_state("d-1", { drift = array {}, drifting_since = absent, target_version = 1 })
  end)

  it("names what differs, and since when", function()
    given { aggregate_type = "device", target "agent:1", current "agent:1" }
    advance "1h"
    when { target "agent:2", aggregate_type = "device" }
    expect_state("d-1", { drift = { { app = "agent", want = "agent:2", have = "agent:1" } }, target_version = 3,
      drifting_since = "2026-01-01T01:00:01.000000Z" })

    advance "1h"
    when { target "agent:3", aggregate_type = "device" }
    expect_state("d-1", { drift = { { want = "agent:3" } }, drifting_since = "2026-01-01T01:00:01.000000Z" })

    when { current "agent:3", aggregate_type = "device" }
    expect_state("d-1", { drift = array {}, drifting_since = absent })
  end)

  it("names apps that should not run, and those that do not", function()
    when { aggregate_type = "device",
      { "target_state.created", "d-1", { new_state = { apps = { wanted = { image = "w:1" } } } } },
      { "current_state.updated", "d-1", { new_state = { apps = { stray = { image = "s:1" } } } } },
    }

    expect_state("d-1", { drift = { exactly { app = "stray", have = "s:1" }, exactly { app = "wanted", want = "w:1" } } })
  end)

  it("wants nothing once the target is cleared", function()
    given { aggregate_type = "device", target "agent:1", current "agent:1" }
    when { { "target_state.cleared", "d-1", aggregate_type = "device" } }

    expect_state("d-1", { target = absent, target_version = 1, drift = { { app = "agent", have = "agent:1" } } })
  end)

  it("forgets a device that is gone", function()
    given { aggregate_type = "device", target "agent:1" }
    when { { "device.deprovisioned", "d-1" } }

    expect_state("d-1", absent)
  end)
end)
