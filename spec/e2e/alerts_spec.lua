local effects = require "spec.support.effects"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local firing, pending, resolved = effects.firing, effects.pending, effects.resolved

describe("alerts", function()
  local server = pg.shared()
  local dsn, name

  before_each(function()
    dsn, name = moonwake.database(server)
  end)

  after_each(files.clean)

  --- Episodes whose names differ from their beginning on.
  local function id(n)
    return ("%d%d%d%d0000-0000-4000-8000-000000000000"):format(n, n, n, n)
  end

  local function raise(list)
    for _, effect in ipairs(list) do
      effect.episode = id(tonumber(effect.episode:sub(-4), 16))
    end
    effects.raise(server, name, list)
  end

  local function run(...)
    return moonwake.run({ "alerts", ... }, { db = dsn, env = { USER = "ada" } })
  end

  local function must(...)
    local r = run(...)
    assert.equal(0, r.code, r.err)
    return r.out
  end

  --- The device of each line of a list, in order.
  local function devices(...)
    local list = {}
    for device in must("--json", ...):gmatch('"device": "([^"]+)"') do
      list[#list + 1] = device
    end
    return table.concat(list, " ")
  end

  local function some()
    raise {
      firing(1, { at = -300 }),
      firing(2, { at = -200, severity = "critical", rule = "hot", key = { device = "d-2", site = "north" } }),
      pending(3, { at = -20 }), firing(4, { at = -500 }), resolved(4, { at = -100, reason = "cleared" }),
      firing(5, { at = -100, severity = "info", summary = "bell \7 \27[31m" }),
    }
  end

  it("lists what fires, the worst first, and says so where nothing does", function()
    assert.equal("nothing fires\n", must())
    some()

    local lines = {}
    for line in must():gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end

    assert.equal(5, #lines)
    assert.matches("^alert +severity +state +for +rule +key +summary$", lines[1])
    assert.matches("^22220000 +critical +firing +3m %d+s +hot +device=d%-2 site=north +d%-2 crashes$", lines[2])
    assert.matches("^11110000 +warning +firing +5m", lines[3])
    assert.matches("^55550000 +info +.*bell \\u0007 \\u001b%[31m$", lines[4])
    assert.matches("^33330000 +warning +pending", lines[5])
  end)

  it("lists what was asked for", function()
    some()

    assert.equal("d-2 d-1 d-5 d-3 d-4", devices("--all"))
    assert.equal("d-4", devices("--state", "resolved,expired"))
    assert.equal("d-2", devices("--rule", "h*"))
    assert.equal("d-1", devices("--severity", "warning", "--state", "firing"))
    assert.equal("d-2", devices("--key", "north"))
    assert.equal("d-2", devices("--key", "device=d-2 site=north"))
    assert.equal("d-2 d-1 d-5 d-3", devices("--since", "30s"))
    assert.equal("d-2 d-1", devices("-n", "2"))
    assert.matches("… and 2 more", (must("-n", "2")))
  end)

  it("tells the story of an alert, which people take care of and close", function()
    some()
    must("ack", "2222", "--note", "on it")
    must("close", "22220000-00", "--by", "bob", "--reason", "a test")

    local story = must("show", "2222")

    assert.matches("^hot  device=d%-2 site=north  critical, resolved  for 3m", story)
    assert.matches("reason +a test\n", story)
    assert.matches("acked by +ada\n", story)
    assert.matches("firing +critical d%-2 crashes  #%d+\n.* acked +critical on it  by ada  #%d+\n.* resolved +critical a test  by bob", story)
    assert.matches('^{"alert":{.*},"events":%[{.*"alert.firing".*"alert.acked".*"alert.resolved".*}%]}\n$', (must("history", "2222", "--json")))
  end)

  it("silences what matches, and lets it be heard again", function()
    some()

    assert.equal("silence 1 holds for 2h; of what fires it mutes 1\n",
      must("silence", "rule=h*", "device!~x.*", "site=south", "site=north", "--for", "2h", "--reason", "a new fan"))
    assert.matches("critical +firing, muted", (must()))
    assert.matches("1 +holds +1h 59m +1 +device=!~x%.%* rule=h%* site=south|north +ada +a new fan\n", (must("silences")))
    assert.equal("silence 1 has ended\n", must("unsilence", "1"))
    assert.not_matches("muted", (must()))
    assert.equal("no silences\n", must("silences"))
    assert.matches("1 +ended", (must("silences", "--all")))
  end)

  it("says what cannot be done, and what was meant", function()
    some()
    for _, case in ipairs {
      { 2, { "shwo", "1" }, "alerts: 'shwo' is nothing it does %(did you mean 'show'%?%)" },
      { 2, { "show" }, "show takes an episode" }, { 2, { "watch", "x" }, "watch takes no words" },
      { 2, { "show", "xyz" }, "'xyz' is no episode" }, { 1, { "show", "9" }, "no episode begins with '9'" },
      { 1, { "--rule", "crash_lop" }, "there is no rule 'crash_lop' %(did you mean 'crash_loop'%?%)" },
      { 2, { "--state", "fring" }, "'fring' is none of pending" }, { 2, { "--since", "soon" }, "%-%-since takes a time like 90s" },
      { 2, { "silence", "a=b" }, "silence takes %-%-for" }, { 2, { "silence", "a", "--for", "1h" }, "'a' says not what is meant" },
      { 2, { "silence", "a=b", "--for", "-1h" }, "%-%-for takes a time" }, { 2, { "silence", "a=b", "a!=c", "--for", "1h" }, "a is given twice" },
      { 1, { "silence", "a=~(", "--for", "1h" }, "~%( is no regular expression" }, { 1, { "unsilence", "7" }, "silence 7: there is none" },
      { 2, { "unsilence", "x" }, "'x' is no silence" }, { 1, { "close", "4444" }, "alert 4444.*: it was resolved at" },
    } do
      local r = run(unpack(case[2]))
      assert.equal(case[1], r.code, table.concat(case[2], " "))
      assert.matches(case[3], r.err)
    end
    raise { firing(6) }
    server:psql("UPDATE moonwake.alerts SET episode = '11110000-0000-4000-8000-000000000001' WHERE episode = '" .. id(6) .. "'", { db = name })
    assert.matches("several episodes begin with '1111' %(11110000%-0000%-4000%-8000%-000000000000, 11110000", run("show", "1111").err)
  end)

  it("watches what happens, until it is ended", function()
    some()
    local watch = moonwake.spawn({ "alerts", "watch", "--since", "1h", "--severity", "critical" }, { db = dsn })
    watch:expect("22220000  firing +critical +hot  device=d%-2 site=north  d%-2 crashes\n")

    must("ack", "2222", "--note", "on it")
    raise { firing(1, { n = 3, severity = "critical" }), resolved(3) }

    watch:expect("acked +critical +hot .*: on it  by ada\n")
    watch:expect("11110000  firing +critical +crash_loop  d%-1  d%-1 crashes\n")
    watch:signal("INT")
    assert.equal(0, watch:wait())
    assert.not_matches("33330000", watch:out())
  end)
end)
