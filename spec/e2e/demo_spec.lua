local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"

describe("the demo", function()
  after_each(files.clean)

  local function demo(workspace, options)
    local args = { "runtime/tools/demo.sh", "--workspace", workspace, "--devices", "20", "--events", "2500", "--live", "4" }
    for _, word in ipairs(options or {}) do
      args[#args + 1] = word
    end
    return moonwake.run(args, { program = "/bin/sh", env = { CI = "true", MOONWAKE_BIN = moonwake.bin }, timeout = 180 })
  end

  it("shows a history, live events and every projection, twice, and leaves nothing running", function()
    local workspace = files.dir() .. "/demo"

    for _ = 1, 2 do -- the second one begins anew, on the same folder
      local r = demo(workspace)

      assert.equal(0, r.code, r.err)
      assert.equal("", r.err)
      assert.matches("20 devices, two days: 2,500 events in [%d.]+ s: [%d,]+ events/s", r.out)
      assert.matches("after 2 s: %d+ new events, %d+ of them not yet in the tables", r.out)
      assert.matches("half of the events within %d+%.%d ms, all within %d+%.%d ms", r.out)
      assert.matches("\n   acme/vision:1.0.0 | edge%-mini [^\n]+ bad\n", r.out)
      for _, path in ipairs(files.lines(files.command("ls projections/*.lua"))) do
        local name = path:match("([^/]+)%.lua$")
        assert.matches("moonwake." .. name .. "\n", r.out)
        assert.matches("\n  " .. name .. " +running +[%d,]+ +%d+ ", r.out) -- the line of `status`
      end
      for _, path in ipairs(files.lines(files.command("ls rules/*.lua"))) do
        assert.matches("\n  " .. path:match("([^/]+)%.lua$") .. " +running +[%d,]+ +%d+ ", r.out)
      end
      assert.matches("\n  %x+ +critical +firing +[%d.]+s +bad_rollout +image=acme/vision:1.0.0 model=edge%-mini ", r.out)
      assert.matches("against try/crash_loop.lua\n  %d+ episodes?", r.out)
      assert.is_nil(r.out:find("\27", 1, true))
    end
    assert.equal("", files.command(("pgrep -f '%s/[d]emo' || true"):format(workspace:match("^(.*)/"))))
  end)

  it("refuses an option that it does not know", function()
    local r = demo(files.dir() .. "/demo", { "--device", "3" })

    assert.equal(2, r.code)
    assert.equal("demo: '--device': no such option\n", r.err)
  end)
end)
