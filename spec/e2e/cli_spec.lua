local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"

local COMMANDS = { "init", "dev", "migrate", "check", "test", "run", "publish", "import", "tail", "status", "rebuild",
  "dead-letters", "audit", "state", "history", "diff", "blame", "replay", "bisect", "shrink", "version" }

describe("the command line", function()
  after_each(files.clean)

  it("lists every command in its help", function()
    local r = moonwake.run { "--help" }

    assert.equal(0, r.code)
    for _, name in ipairs(COMMANDS) do
      assert.matches("\n  " .. name:gsub("%-", "%%-") .. " +%l", r.out)
    end
  end)

  it("explains each command with examples, in both ways of asking", function()
    for _, name in ipairs(COMMANDS) do
      local asked = moonwake.must { name, "--help" }

      assert.equal(asked, moonwake.must { "help", name })
      assert.matches("^moonwake " .. name:gsub("%-", "%%-") .. ": ", asked)
      assert.matches("\nexamples\n  moonwake ", asked)
    end
  end)

  it("tells its version with every command that means nothing else by it", function()
    local version = moonwake.must { "version" }

    assert.equal(version, moonwake.must { "--version" })
    for _, name in ipairs { "dev", "run", "status", "replay", "audit" } do
      assert.equal(version, moonwake.must { name, "--version" }, name)
    end
  end)

  it("shows the help and fails without a command", function()
    local r = moonwake.run {}

    assert.equal(2, r.code)
    assert.matches("usage: moonwake", r.out)
  end)

  it("names the nearest command", function()
    local r = moonwake.run { "pubish" }

    assert.equal(2, r.code)
    assert.equal("moonwake: 'pubish': no such command (did you mean 'publish'?)\n", r.err)
  end)

  it("names the nearest option, of the command and of all", function()
    local own = moonwake.run { "tail", "--no-folow" }
    local general = moonwake.run { "tail", "--shema", "x" }

    assert.equal(2, own.code)
    assert.equal("moonwake: tail: unknown option '--no-folow' (did you mean '--no-follow'?)\n", own.err)
    assert.equal(2, general.code)
    assert.equal("moonwake: tail: unknown option '--shema' (did you mean '--schema'?)\n", general.err)
  end)

  it("guesses nothing where nothing is near", function()
    local r = moonwake.run { "xylophone" }

    assert.equal(2, r.code)
    assert.equal("moonwake: 'xylophone': no such command (see moonwake --help)\n", r.err)
  end)

  it("takes options before and after the command", function()
    local after = moonwake.must { "version", "--json" }
    local before = moonwake.must { "--json", "version" }

    assert.equal(after, before)
    assert.matches('^{"version":"[^"]+","migrations":%d+,', after)
  end)

  it("takes an option's value before the command", function()
    local r = moonwake.run { "--format", "xml", "import", "nowhere" }

    assert.equal(2, r.code)
    assert.matches("unknown format 'xml'", r.err)
  end)

  it("refuses a value for a flag, a missing value, and a number that is none", function()
    local flag = moonwake.run { "version", "--json=yes" }
    local missing = moonwake.run { "tail", "--types" }
    local number = moonwake.run { "tail", "-n", "ten" }

    assert.equal("moonwake: version: option '--json' takes no value (see moonwake help version)\n", flag.err)
    assert.equal("moonwake: tail: option '--types' needs a value (--types LIST)\n", missing.err)
    assert.matches("^moonwake: tail: option '%-%-lines': 'ten' is not a whole number", number.err)
    assert.same({ 2, 2, 2 }, { flag.code, missing.code, number.code })
  end)

  it("refuses words that a command does not take", function()
    local r = moonwake.run { "version", "please" }

    assert.equal(2, r.code)
    assert.matches("^moonwake: version: takes no words %(see moonwake help version%)", r.err)
  end)

  it("refuses a workspace that is not there", function()
    local r = moonwake.run { "-C", "/nonexistent", "version" }

    assert.equal(2, r.code)
    assert.equal("moonwake: /nonexistent: no such folder (-C names the workspace)\n", r.err)
  end)

  it("says what to do when the server is down", function()
    local dir = files.dir()
    local r = moonwake.run({ "tail", "--no-follow" }, { db = "host=" .. dir .. " dbname=x" })

    assert.equal(1, r.code)
    assert.matches("^moonwake: database: .+%(is the server running%?", r.err)
    assert.equal("", r.out)
  end)

  it("says what is wrong with a conninfo that cannot be read", function()
    local r = moonwake.run({ "tail", "--no-follow", "--db", "postgresql://[bad" }, {})

    assert.equal(1, r.code)
    assert.matches("^moonwake: database: ", r.err)
  end)

  it("fails when the output cannot be written", function()
    local r = moonwake.run({ "-c", moonwake.bin .. " --help >/dev/full" }, { program = "/bin/sh" })

    assert.equal(1, r.code)
    assert.matches("^moonwake: stdout: not everything could be written", r.err)
  end)

  it("uses no colour where there is no terminal", function()
    local r = moonwake.run({ "--help" }, { env = { NO_COLOR = "" } })

    assert.is_nil(r.out:find("\27", 1, true))
  end)

  it("uses colour on a terminal unless NO_COLOR is set", function()
    local script = "script -qec %s /dev/null"
    local coloured = files.command("env -u NO_COLOR TERM=xterm "
      .. script:format(files.quote(moonwake.bin .. " --help")))
    local plain = files.command("NO_COLOR=1 TERM=xterm " .. script:format(files.quote(moonwake.bin .. " --help")))

    assert.truthy(coloured:find("\27[1m", 1, true))
    assert.is_nil(plain:find("\27[1m", 1, true))
  end)
end)
