-- Specs of rules/bad_rollout.lua: moonwake test bad_rollout
local RELEASE = { image = "acme/vision:1.0.0", model = "edge-mini" }

local function crash(device, data)
  data = data or {}
  data.device_uuid, data.app = device, "vision"
  data.image, data.model = data.image or RELEASE.image, data.model or RELEASE.model
  return { "container.crashed", device .. "/vision", data }
end

describe("bad_rollout", function()
  it("fires when an image crashes on three devices of a model", function()
    given { crash "d-1", crash "d-2" }
    expect_no_alert(RELEASE)

    when { crash "d-3" }
    expect_alert(RELEASE, { severity = "critical", subject = { distinct = 3 },
      summary = "acme/vision:1.0.0 crashes on 3 devices of model edge-mini" })
  end)

  it("leaves one device that crashes all the time to crash_loop", function()
    when { crash "d-1", crash "d-1", crash "d-1", crash "d-1" }

    expect_no_alert()
  end)

  it("tells images and models apart", function()
    given { crash "d-1", crash "d-2" }
    when { crash("d-3", { model = "cam-4" }), crash("d-4", { image = "acme/vision:0.9.4" }) }

    expect_no_alert()
  end)

  it("is over when there was no crash for an hour", function()
    given { crash "d-1", crash "d-2", crash "d-3" }
    advance "1h"
    expect_alert(RELEASE)

    advance "1s"
    expect_resolved(RELEASE)
  end)
end)
