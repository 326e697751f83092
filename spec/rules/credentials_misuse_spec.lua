-- Specs of rules/credentials_misuse.lua: moonwake test credentials_misuse
local function online(ip)
  return { "device.online", "d-1", { ip = ip } }
end

describe("credentials_misuse", function()
  it("fires when a device connects from three addresses within ten minutes", function()
    given { online "10.0.0.1", online "10.0.0.2", online "10.0.0.1" }
    expect_no_alert "d-1"

    advance "9m"
    when { online "10.0.0.3" }
    expect_alert("d-1", { severity = "critical", summary = "d-1 connected from 3 addresses within 10 minutes" })
  end)

  it("remembers an address for ten minutes", function()
    given { online "10.0.0.1", online "10.0.0.2" }
    advance "10m" -- after the second of them
    when { online "10.0.0.3" }
    expect_no_alert "d-1"

    given { { "device.key_rotated", "d-1" }, online "10.0.0.1", online "10.0.0.2" }
    advance "9m59s" -- ten minutes after the first
    when { online "10.0.0.3" }
    expect_alert "d-1"
  end)

  it("goes by when it happened, not by when it was told", function()
    local list = { timestamp = "2026-01-02" }
    for place, at in ipairs { "2026-01-01T06:00:00Z", "2026-01-01T12:00:00Z", "2026-01-01T09:00:00Z" } do
      list[place] = { "device.online", "d-1", { ip = "10.0.0." .. place }, at = at }
    end
    when(list)

    expect_no_alert()
  end)

  it("does not mind a device that moves", function()
    for place = 1, 10 do
      advance "6m"
      given { online("10.0.0." .. place) }
    end

    expect_no_alert()
  end)

  it("stays until the key was exchanged, and looks anew then", function()
    given { online "10.0.0.1", online "10.0.0.2", online "10.0.0.3" }
    advance "7d"
    given { online "10.0.0.1" }
    expect_alert "d-1"

    when { { "device.key_rotated", "d-1" } }
    expect_resolved "d-1"

    when { online "10.0.0.2" }
    expect_no_alert "d-1"
  end)

  it("is over when the device leaves the fleet", function()
    given { online "10.0.0.1", online "10.0.0.2", online "10.0.0.3" }
    when { { "device.deprovisioned", "d-1" } }

    expect_resolved "d-1"
  end)

  it("passes over a connection without an address", function()
    when { online "10.0.0.1", online "10.0.0.2", { "device.online", "d-1" } }

    expect_no_alert()
  end)
end)
