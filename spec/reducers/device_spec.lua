-- Specs of scripts/reducers/device.lua: moonwake test spec/reducers/device_spec.lua
local NEW = { name = "gate 7", site = "lisbon", model = "edge-mini", os = "linux 6.1", tags = { "pilot" } }

local function apps(image)
  return { new_state = { apps = { agent = { image = image } } } }
end

describe("device", function()
  it("is what it was provisioned as, until that changes", function()
    given { { "device.provisioned", "d-1", NEW } }
    expect_state("d-1", { name = "gate 7", site = "lisbon", model = "edge-mini", os = "linux 6.1", tags = { "pilot" },
      lifecycle = "provisioned", online = false, drift = array {} })

    when {
      { "device.renamed", "d-1", { name = "gate 8" } },
      { "device.moved", "d-1", { site = "porto" } },
      { "device.tagged", "d-1", { tags = array {} } },
      { "device.updated", "d-1", { os = "linux 6.6" } },
    }
    expect_state("d-1", { name = "gate 8", site = "porto", tags = array {}, os = "linux 6.6", model = "edge-mini" })
  end)

  it("is unknown before it was provisioned", function()
    when { { "device.heartbeat", "d-1" } }

    expect_state("d-1", { lifecycle = "unknown", online = false, last_seen = "2026-01-01T00:00:00.000000Z" })
  end)

  it("is active from the first time that it was online on, and retired at the end", function()
    given { { "device.provisioned", "d-1", NEW }, { "device.online", "d-1" } }
    expect_state("d-1", { lifecycle = "active", online = true, last_seen = "2026-01-01T00:00:01.000000Z" })

    given { { "device.offline", "d-1" }, { "device.online", "d-1" }, { "device.offline", "d-1" } }
    expect_state("d-1", { lifecycle = "active", online = false, offlines = 2 })

    advance "1m"
    when { { "device.metrics_reported", "d-1", { cpu_percent = 3 } }, { "device.deprovisioned", "d-1" } }
    expect_state("d-1", { lifecycle = "retired", online = false, name = "gate 7", last_seen = "2026-01-01T00:01:04.000000Z" })
  end)

  it("compares what it should run with what it runs", function()
    given { { "target_state.created", "d-1", apps "agent:1" } }
    expect_state("d-1", { target_version = 1, drift = { { app = "agent", want = "agent:1", have = absent } } })

    given { { "current_state.reported", "d-1", apps "agent:1" } }
    expect_state("d-1", { current_version = 2, drift = array {} })

    given { { "target_state.updated", "d-1", apps "agent:2" } }
    expect_state("d-1", { target_version = 3, drift = { exactly { app = "agent", want = "agent:2", have = "agent:1" } } })

    given { { "target_state.cleared", "d-1" } }
    expect_state("d-1", { target = absent, target_version = 4, drift = { exactly { app = "agent", have = "agent:1" } } })

    when { { "current_state.updated", "d-1", { new_state = { apps = {} } } } }
    expect_state("d-1", { current_version = 5, drift = array {} })
  end)

  it("knows how far its latest reconciliation is", function()
    given { { "reconciliation.started", "d-1" } }
    expect_state("d-1", { reconciliation = exactly { result = "running" } })

    when { { "reconciliation.failed", "d-1", { app = "agent", error = "no space" } } }
    expect_state("d-1", { reconciliation = exactly { result = "failed", app = "agent", error = "no space" } })

    when { { "reconciliation.cancelled", "d-1" } }
    expect_state("d-1", { reconciliation = exactly { result = "cancelled" } })

    when { { "reconciliation.completed", "d-1" } }
    expect_state("d-1", { reconciliation = exactly { result = "done" } })
  end)

  it("passes over what is not a device's", function()
    when { { "device.online", "g-1", aggregate_type = "group" } }

    assert.same({}, rows())
  end)
end)
