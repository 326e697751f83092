-- Specs of rules/failed_job.lua: moonwake test failed_job
local VISION = { device = "d-1", app = "vision" }

local function job(what, app)
  return { "reconciliation." .. what, "d-1", { app = app or "vision", error = what == "failed" and "no space" or nil } }
end

describe("failed_job", function()
  it("fires when a job failed, and says why", function()
    when { job "failed" }

    expect_alert(VISION, { severity = "error", summary = "d-1 could not bring vision up to date: no space" })
  end)

  it("goes on while the next ones fail, too", function()
    given { job "failed" }
    advance "1d"
    when { job "failed" }

    expect_alert(VISION, { since = "2026-01-01T00:00:00Z" })
    assert.equal(1, #alerts())
  end)

  it("is over when one succeeded", function()
    given { job "failed" }
    when { job "completed" }

    expect_resolved(VISION)
  end)

  it("is about one app", function()
    given { job "failed" }
    when { job("completed", "agent") }

    expect_alert(VISION)
    expect_no_alert { device = "d-1", app = "agent" }
  end)
end)
