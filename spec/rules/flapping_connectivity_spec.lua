-- Specs of rules/flapping_connectivity.lua: moonwake test flapping_connectivity
local function loss(at, timestamp)
  return { "device.offline", "d-1", { reason = "timeout" }, at = at, timestamp = timestamp }
end

local function losses(count, pause)
  for _ = 1, count do
    advance(pause)
    given { loss() }
  end
end

--- What was told is judged when nothing older can come any more, five minutes later.
local function judged()
  advance "5m1s"
end

describe("flapping_connectivity", function()
  it("warns at the fourth loss within an hour", function()
    losses(3, "10m")
    judged()
    expect_no_alert "d-1"

    losses(1, "5m")
    judged()
    expect_alert("d-1", { severity = "warning", summary = "d-1 lost its connection 4 times within an hour" })
  end)

  it("does not mind a loss every twenty minutes", function()
    losses(12, "20m1s")
    judged()

    expect_no_alert()
  end)

  it("is an error from eight on, and a warning again when it gets better", function()
    losses(7, "6m")
    judged()
    expect_alert("d-1", { severity = "warning" })

    losses(1, "30s")
    judged()
    expect_alert("d-1", { severity = "error" })

    advance "35m" -- it is 01:22:32 for the rule: three of them were more than an hour ago
    expect_alert("d-1", { severity = "error" })

    advance "2m" -- the one of 00:24, too
    expect_alert("d-1", { severity = "warning", from = "error" })
  end)

  it("is over when there was at most one within the last hour", function()
    losses(4, "1m") -- 00:01 to 00:04
    advance "2h"

    expect_resolved("d-1", { at = "2026-01-01T01:03:00Z" })
  end)

  it("counts by when it happened, not by when it was told", function()
    when { loss("2026-01-01T00:00:00Z", "2026-01-01T12:00:00Z"), loss("2026-01-01T03:00:00Z", "2026-01-01T12:00:00Z"),
      loss("2026-01-01T06:00:00Z", "2026-01-01T12:00:00Z"), loss("2026-01-01T09:00:00Z", "2026-01-01T12:00:00Z") }
    judged()

    expect_no_alert()
  end)

  it("waits five minutes for what comes late", function()
    losses(4, "10m")
    advance "5m"
    expect_no_alert "d-1"

    advance "1s"
    expect_alert "d-1"
  end)

  it("puts what comes even later into its place", function()
    losses(3, "10m") -- 00:10, 00:20, 00:30
    judged()
    advance "10m"
    given { loss "2026-01-01T00:05:00Z" }
    expect_alert "d-1"

    given { { "device.offline", "d-2" } } -- events come as they happen again
    advance "2h"
    expect_resolved("d-1", { at = "2026-01-01T01:20:00Z" }) -- it left at 01:05, and was not the last to leave
  end)
end)
