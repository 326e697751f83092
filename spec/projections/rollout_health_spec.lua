-- Specs of projections/rollout_health.lua: moonwake test rollout_health
local RELEASE = { "agent:2", "edge-mini" }

--- `count` events of a type about the release.
local function events(count, type, more)
  local list = {}
  for i = 1, count do
    local data = { image = RELEASE[1], model = RELEASE[2] }
    for name, value in pairs(more or {}) do
      data[name] = value
    end
    list[i] = { type, "c-" .. i, data }
  end
  return list
end

describe("rollout_health", function()
  it("counts pulls and starts", function()
    given(events(2, "image.pulled"))
    given(events(1, "image.pull_failed"))
    advance "1m"
    given(events(2, "container.started"))
    given(events(1, "container.restarted"))

    expect_row(RELEASE, { pulls = 2, failed_pulls = 1, started = 3, crashed = 0, verdict = "good",
      first_start = "2026-01-01T00:01:02Z", last_crash = absent, exit_codes = absent })
  end)

  it("keeps one row for each image on each model", function()
    given {
      { "container.started", "c-1", { image = "agent:2", model = "edge-mini" } },
      { "container.started", "c-2", { image = "agent:2", model = "edge-max" } },
    }

    expect_row({ "agent:2", "edge-mini" }, { started = 1 })
    expect_row({ "agent:2", "edge-max" }, { started = 1 })
    expect_row({ "agent:1", "edge-mini" }, absent)
  end)

  it("tells exit codes apart, and those that were not told", function()
    given(events(2, "container.crashed", { exit_code = 137 }))
    given(events(1, "container.crashed", { exit_code = 1 }))
    when(events(1, "container.crashed"))

    expect_row(RELEASE, { crashed = 4, exit_codes = exactly { ["137"] = 2, ["1"] = 1, unknown = 1 },
      last_crash = "2026-01-01T00:00:03Z" })
  end)

  it("watches an image from two crashes in less than twenty starts on", function()
    given(events(19, "container.started"))
    given(events(1, "container.crashed"))
    expect_row(RELEASE, { verdict = "good" })

    when(events(1, "container.crashed"))
    expect_row(RELEASE, { verdict = "watch" })
  end)

  it("calls an image bad from three crashes in less than twelve starts on, and good again when it does better", function()
    given(events(11, "container.started"))
    given(events(3, "container.crashed"))
    expect_row(RELEASE, { verdict = "bad" })

    given(events(1, "container.restarted"))
    expect_row(RELEASE, { started = 12, verdict = "watch" })

    given(events(18, "container.restarted"))
    expect_row(RELEASE, { started = 30, verdict = "good" })
  end)

  it("passes over what does not say which image it was, or on what", function()
    when {
      { "container.started", "c-1", { image = "agent:2" } },
      { "container.crashed", "c-1", { model = "edge-mini" } },
    }

    assert.same({}, rows())
  end)
end)
