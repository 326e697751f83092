package.path = "runtime/?.lua;" .. package.path

local receiver = require "prelude.receiver"

describe("receiver", function()
  local made

  local statement = receiver { place = function() end, define = function(def) made = def end }

  local function of(def)
    statement "ops" (def)
    return made
  end

  local function sum(list)
    local total = 0
    for _, pause in ipairs(list) do
      total = total + pause
    end
    return total
  end

  it("is tried for 75 hours and 35 minutes, as Standard Webhooks says", function()
    local def = of { webhook = "https://example.org/hook" }

    assert.same({ 0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400 }, def.retry)
    assert.equal(75 * 3600 + 35 * 60 + 5, sum(def.retry))
    assert.same({ "webhook", "standard", 15, false }, { def.receives, def.format, def.timeout, def.allow_private })
  end)

  it("that is an Alertmanager is tried as often as it is told again", function()
    local def = of { alertmanager = { "http://a:9093", "http://b:9093" }, resend = "30s" }

    assert.same({ 0, 5, 30, 30 }, { unpack(def.retry, 1, 4) })
    assert.same({ 60, 30, true, 2 }, { #def.retry, def.resend, def.allow_private, #def.words })
  end)

  it("keeps where its secrets are, and never what they are", function()
    local def = of { webhook = { env = "OPS_URL" }, secret_file = { "old", "new" }, secret_env = "OPS_SECRET",
      headers = { Authorization = { file = "token" }, ["X-Team"] = "north" } }

    assert.same({ env = "OPS_URL" }, def.url)
    assert.same({ { file = "old" }, { file = "new" }, { env = "OPS_SECRET" } }, def.secrets)
    assert.same({ { name = "Authorization", file = "token" }, { name = "X-Team", text = "north" } }, def.headers)
  end)

  it("says what is wrong, and what to write", function()
    for _, case in ipairs {
      { { webhook = "https://x/", secret = "whsec_" }, "secret: a script is no place for it %(write secret_file" },
      { {}, "it goes nowhere %(write webhook = " },
      { { webhook = "https://x/", resend = "1m" }, "resend means something for alertmanager = … only" },
      { { webhook = "https://x/", headers = { ["webhook-id"] = "1" } }, "headers: webhook%-id is made here" },
      { { webhook = "https://x/", headers = { ["a b"] = "1" } }, "headers: 'a b' is no name of a header" },
      { { webhook = "https://x/", headers = { A = "b\nC: d" } }, "headers.A must be a text, { file" },
      { { webhook = "https://x y/" }, "webhook: 'https://x y/' is no URL" },
      { { webhook = "file:///etc/passwd" }, "webhook: 'file:///etc/passwd' is no URL" },
      { { webhook = "https://x/", timeout = "-1s" }, "timeout '%-1s' is negative" },
      { { webhook = "https://x/", retry = { 0, "soon" } }, "retry: number 2: 'soon' is no duration" },
      { { webhook = "https://x/", format = "json" }, "field 'format' is 'json', and must be one of standard, alertmanager, raw" },
      { { alertmanager = { "http://a", 7 } }, "alertmanager: number 2 is 7" },
      { { program = { "/bin/x", "a\nb" } }, "program: number 2 is " },
    } do
      local ok, err = pcall(of, case[1])
      assert.is_false(ok)
      assert.matches("_spec.lua:%d+: receiver 'ops': " .. case[2], err)
    end
  end)
end)
