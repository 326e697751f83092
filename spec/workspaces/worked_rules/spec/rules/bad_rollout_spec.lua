local UPDATE = { "device.updated", "d-1", { from = "12.4", os = "12.5" } }
local CRASH = { "container.crashed", "d-1/vision", { device_uuid = "d-1", app = "vision" } }

describe("bad_rollout", function()
  it("says a fact when a device crashes soon after its update", function()
    given { UPDATE }
    advance "15m"
    when { CRASH }

    expect_alert("d-1", { signal = true })
    expect_event("rollout.suspect", exactly { version = "12.5" })
  end)

  it("does not mind a crash that is too late, or on another device", function()
    given { UPDATE }
    given { { "container.crashed", "d-2/vision", { device_uuid = "d-2" } } }
    advance "15m1s"
    when { CRASH }

    expect_event("rollout.suspect", absent)
  end)

  it("leaves nothing to resolve", function()
    given { UPDATE, CRASH }
    advance "1h"

    expect_no_alert()
    assert.equal(1, #alerts())
  end)
end)
