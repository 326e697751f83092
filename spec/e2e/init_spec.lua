local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"

local MADE = { "projections/activity.lua", "rules/unpaid_order.lua", "scripts/lib/.gitkeep", "spec/activity_spec.lua",
  "spec/unpaid_order_spec.lua", ".gitignore", "README.md", ".luarc.json" }

describe("init", function()
  after_each(files.clean)

  it("makes a workspace and lists what it made", function()
    local dir = files.dir()

    local out = moonwake.must({ "init" }, { cwd = dir })

    for _, path in ipairs(MADE) do
      assert.truthy(out:find("made " .. path .. "\n", 1, true), path)
      assert.truthy(files.exists(dir .. "/" .. path), path)
    end
  end)

  it("makes scripts that load", function()
    local dir = files.dir()
    moonwake.must({ "init", "ws" }, { cwd = dir })

    local out = moonwake.must({ "check" }, { cwd = dir .. "/ws" })

    assert.matches("projections/activity.lua", out)
    assert.matches("rules/unpaid_order.lua", out)
  end)

  it("makes specs that pass", function()
    local dir = files.dir()
    local said = moonwake.must({ "init" }, { cwd = dir })

    local out = moonwake.must({ "test" }, { cwd = dir })

    assert.matches("moonwake test", said)
    assert.matches("moonwake test", files.read(dir .. "/README.md"))
    assert.matches("spec/activity_spec.lua\n", out)
    assert.matches("spec/unpaid_order_spec.lua\n", out)
    assert.matches("\n6 passed, 0 failed\n$", out)
  end)

  it("never overwrites a file", function()
    local dir = files.dir()
    files.write(dir .. "/README.md", "mine")
    files.write(dir .. "/projections/activity.lua", "-- mine")

    local out = moonwake.must({ "-C", dir, "init" })

    assert.equal("mine", files.read(dir .. "/README.md"))
    assert.equal("-- mine", files.read(dir .. "/projections/activity.lua"))
    assert.matches("kept README.md\n", out)
    assert.matches("made .gitignore\n", out)
  end)

  it("does nothing the second time", function()
    local dir = files.dir()
    moonwake.must({ "init" }, { cwd = dir })

    local out = moonwake.must({ "init", "--json" }, { cwd = dir })

    assert.equal(#MADE, #files.lines(out))
    for _, line in ipairs(files.lines(out)) do
      assert.matches('^{"path":"[^"]+","made":false}$', line)
    end
  end)

  it("points the editor at the stubs", function()
    local dir = files.dir()
    moonwake.must({ "init" }, { cwd = dir })

    local folder = files.read(dir .. "/.luarc.json"):match('"workspace.library": %["([^"]+)"%]')

    assert.truthy(folder)
    assert.equal("/", folder:sub(1, 1))
  end)

  it("says why a folder cannot be made", function()
    local dir = files.dir()
    files.write(dir .. "/file", "")

    local r = moonwake.run({ "init", dir .. "/file/ws" })

    assert.equal(1, r.code)
    assert.equal(("moonwake: %s/file/ws: Not a directory\n"):format(dir), r.err)
  end)
end)
