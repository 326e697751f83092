-- Specs of scripts/upcasters/container_crashed_v2.lua, as the reducer `app` sees its work.
local function crash(data, version)
  data.device_uuid, data.app = "d-1", "vision"
  return { "container.crashed", "d-1/vision", data, schema_version = version }
end

describe("container_crashed_v2", function()
  script "app"

  for _, pair in ipairs { { 134, "aborted" }, { 137, "killed" }, { 139, "segfault" }, { 143, "stopped" }, { 1, "error" } } do
    local code, cause = unpack(pair)

    it(("calls exit code %d %s"):format(code, cause), function()
      when { crash({ exit_code = code }, 1) }

      expect_state("d-1/vision", { last_crash = { cause = cause, exit_code = code } })
    end)
  end

  it("calls it an error where no code was told", function()
    when { crash({}, 1) }

    expect_state("d-1/vision", { last_crash = { cause = "error", exit_code = absent } })
  end)

  it("leaves newer events as they are", function()
    when { crash({ exit_code = 137, cause = "operator" }, 2) }
    expect_state("d-1/vision", { last_crash = { cause = "operator" } })

    when { crash({ exit_code = 137, cause = "operator" }, 3) }
    expect_state("d-1/vision", { crashes = 2, last_crash = { cause = "operator" } })
  end)
end)
