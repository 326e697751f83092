-- Specs of rules/job_stuck.lua: moonwake test job_stuck
local VISION = { device = "d-1", app = "vision" }

local function job(what, data)
  data = data or {}
  data.app = data.app or "vision"
  return { "reconciliation." .. what, "d-1", data }
end

describe("job_stuck", function()
  it("fires when a job has not ended after a quarter of an hour", function()
    given { job "started" }
    advance "15m"
    expect_no_alert(VISION)

    advance "1s"
    expect_alert(VISION, { severity = "warning", since = "2026-01-01T00:15:00Z" })
  end)

  for _, ending in ipairs { "completed", "failed", "cancelled" } do
    it("is content with a job that " .. ending, function()
      given { job "started" }
      advance "15m"
      given { job(ending) }
      advance "1h"

      expect_no_alert()
      assert.same({}, alerts())
    end)
  end

  it("is over when the job ends after all", function()
    given { job "started" }
    advance "20m"
    when { job "failed" }

    expect_resolved(VISION, { reason = "late" })
  end)

  it("gives a job the time that it asks for", function()
    given { job("started", { timeout = "2h" }) }
    advance "2h"
    expect_no_alert(VISION)

    advance "1s"
    expect_alert(VISION)
  end)

  it("is about one app", function()
    given { job "started", job("started", { app = "agent" }) }
    given { job("completed", { app = "agent" }) }
    advance "16m"

    expect_alert(VISION)
    expect_no_alert { device = "d-1", app = "agent" }
  end)
end)
