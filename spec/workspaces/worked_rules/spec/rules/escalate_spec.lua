local function alert(what, severity)
  return { "alert." .. what, "e-1", { rule = "device_silent", severity = severity or "critical", summary = "d-1 is silent" } }
end

describe("escalate", function()
  it("calls the pager when nobody has seen to a critical alert", function()
    given { alert "firing" }
    advance "15m"
    expect_no_alert "e-1"

    advance "1s"
    expect_alert "e-1"
    expect_act("webhook", { to = "pager", data = { rule = "device_silent", summary = "d-1 is silent" } })
  end)

  it("does not, when somebody has, or it is a lesser one", function()
    given { alert("firing", "warning") }
    advance "1h"
    given { alert "firing", alert "acked" }
    advance "1h"

    expect_act("webhook", absent)
  end)
end)
