-- Specs of rules/escalate.lua: moonwake test escalate
local function alert(what, data)
  data = data or {}
  data.rule, data.severity = data.rule or "silent_device", data.severity or "critical"
  data.summary = "d-1 has been silent for an hour"
  return { "alert." .. what, "e-1", data }
end

describe("escalate", function()
  it("fires when nobody has seen to a critical alert for a quarter of an hour", function()
    given { alert "firing" }
    advance "15m"
    expect_no_alert "e-1"

    advance "1s"
    expect_alert("e-1", { severity = "critical", labels = { about = "silent_device" },
      summary = "nobody has seen to it for 15 minutes: d-1 has been silent for an hour" })
  end)

  for _, what in ipairs { "acked", "resolved", "expired" } do
    it("is content with an alert that was " .. what, function()
      given { alert "firing" }
      advance "14m"
      given { alert(what) }
      advance "1h"

      assert.same({}, alerts())
    end)
  end

  it("is over when somebody sees to it late", function()
    given { alert "firing" }
    advance "20m"
    when { alert "acked" }

    expect_resolved("e-1", { reason = "late" })
  end)

  it("leaves lesser alerts alone, and its own", function()
    given { alert("firing", { severity = "warning" }), alert("firing", { rule = "escalate" }) }
    advance "1h"

    expect_no_alert()
  end)

  it("counts from when an alert became critical", function()
    given { alert("firing", { severity = "warning" }) }
    advance "10m"
    given { alert "firing" }
    advance "10m"
    expect_no_alert "e-1"

    advance "6m"
    expect_alert "e-1"
  end)
end)
