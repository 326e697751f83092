-- Specs of projections/device_summary.lua: moonwake test device_summary
local NEW = { name = "gate 7", site = "lisbon", model = "edge-mini", os = "linux 6.1", tags = { "pilot" } }

describe("device_summary", function()
  before_each(function()
    given { { "device.provisioned", "d-1", NEW } }
  end)

  it("begins with what the device was provisioned as", function()
    expect_row("d-1", { name = "gate 7", site = "lisbon", model = "edge-mini", os = "linux 6.1", tags = { "pilot" },
      online = false, crashes = 0, offlines = 0, cpu = absent, last_seen = absent })
  end)

  it("knows whether a device is there, and when it was seen last", function()
    given { { "device.online", "d-1", at = "2026-01-01T10:00:00Z" } }
    expect_row("d-1", { online = true, offlines = 0, last_seen = "2026-01-01T10:00:00Z" })

    advance "5m"
    when { { "device.heartbeat", "d-1" } }
    expect_row("d-1", { online = true, last_seen = "2026-01-01T10:05:00Z" })

    when { { "device.offline", "d-1" } }
    expect_row("d-1", { online = false, offlines = 1, last_seen = "2026-01-01T10:05:00Z" })
  end)

  it("goes by the time at which something happened, not by when it was told", function()
    given { { "device.online", "d-1", at = "2026-01-01T09:00:00Z", timestamp = "2026-01-01T12:00:00Z" } }

    expect_row("d-1", { last_seen = "2026-01-01T09:00:00Z" })
  end)

  it("keeps the last load", function()
    given { { "device.metrics_reported", "d-1", { cpu_percent = 40 } } }
    when { { "device.metrics_reported", "d-1", { cpu_percent = 12.5 }, at = "2026-01-01T10:00:00Z" } }

    expect_row("d-1", { cpu = 12.5, last_seen = "2026-01-01T10:00:00Z" })
  end)

  it("follows changes of name, site, tags and system", function()
    when {
      { "device.renamed", "d-1", { name = "gate 8" } },
      { "device.moved", "d-1", { site = "porto" } },
      { "device.tagged", "d-1", { tags = { "stable", "indoor" } } },
      { "device.updated", "d-1", { os = "linux 6.6" } },
    }

    expect_row("d-1", { name = "gate 8", site = "porto", tags = { "stable", "indoor" }, os = "linux 6.6",
      model = "edge-mini" })
  end)

  it("counts the crashes of a device's containers", function()
    given { { "device.provisioned", "d-2", NEW } }
    when { { "container.crashed", "c-1", { device_uuid = "d-1", exit_code = 137 } } }

    expect_row("d-1", { crashes = 1 })
    expect_row("d-2", { crashes = 0 })
  end)

  it("passes over a crash that does not say on which device", function()
    when { { "container.crashed", "c-1", { exit_code = 137 } } }

    expect_row("d-1", { crashes = 0 })
    assert.equal(1, #rows())
  end)

  it("forgets a device that is gone, and begins anew with the same name", function()
    given { { "container.crashed", "c-1", { device_uuid = "d-1" } } }
    when { { "device.deprovisioned", "d-1" } }
    expect_row("d-1", absent)

    when { { "device.online", "d-1" } }
    expect_row("d-1", { online = true, crashes = 0, name = absent })
  end)

  it("refuses a name that is no text", function()
    when { { "device.renamed", "d-1", { name = 7 } } }

    expect_error "column 'name'"
    expect_row("d-1", { name = "gate 7" })
  end)
end)
