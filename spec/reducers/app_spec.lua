-- Specs of scripts/reducers/app.lua: moonwake test app
local APP = "d-1/vision"

--- An event of the app's container, from schema version 2 on.
local function event(what, data)
  local full = { device_uuid = "d-1", app = "vision" }
  for name, value in pairs(data or {}) do
    full[name] = value
  end
  return { "container." .. what, APP, full, schema_version = 2 }
end

describe("app", function()
  it("knows the app, its device, and since when it is as it is", function()
    given { event "created" }
    expect_state(APP, { device = "d-1", app = "vision", status = "created", starts = 0, images = array {},
      since = "2026-01-01T00:00:00.000000Z" })

    advance "1h"
    when { event("started", { image = "vision:1" }) }
    expect_state(APP, { status = "running", image = "vision:1", starts = 1, images = { "vision:1" },
      since = "2026-01-01T01:00:00.000000Z" })

    when { event("stopped", { reason = "update" }) }
    expect_state(APP, { status = "stopped", reason = "update", image = "vision:1" })
  end)

  it("counts crashes, of the app and of the image that runs", function()
    given { event("started", { image = "vision:1" }), event("crashed", { exit_code = 1, cause = "error" }), event "restarted",
      event("crashed", { exit_code = 1, cause = "error" }) }
    expect_state(APP, { status = "crashed", starts = 2, crashes = 2, crashes_of_image = 2 })

    when { event("started", { image = "vision:2" }) }
    expect_state(APP, { image = "vision:2", previous_image = "vision:1", crashes = 2, crashes_of_image = 0 })

    when { event("crashed", { exit_code = 139, cause = "segfault", image = "vision:2" }) }
    expect_state(APP, { crashes = 3, crashes_of_image = 1, last_crash = exactly { cause = "segfault", exit_code = 139,
      image = "vision:2", at = "2026-01-01T00:00:05.000000Z" } })
  end)

  it("keeps the last five images, each once in a row", function()
    for _, n in ipairs { 1, 1, 2, 3, 4, 3, 5 } do
      given { event("started", { image = "vision:" .. n }) }
    end

    expect_state(APP, { images = { "vision:2", "vision:3", "vision:4", "vision:3", "vision:5" }, starts = 7 })
  end)

  it("is gone once the container is removed, and begins anew", function()
    given { event("started", { image = "vision:1" }) }
    when { event "removed" }
    expect_state(APP, absent)

    when { event("started", { image = "vision:1" }) }
    expect_state(APP, { starts = 1, previous_image = absent })
  end)

  it("is one state for each app of each device", function()
    given { event "created", { "container.created", "d-2/vision", { device_uuid = "d-2", app = "vision" } } }

    assert.equal(2, #rows())
    expect_state("d-2/vision", { device = "d-2" })
  end)
end)
