-- `replay` on a terminal: a session as a person has it, and the terminal as it was afterwards.
local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local terminal = require "spec.support.terminal"

local COUNTER = [[projection "counter" {
  on = {
    ["tick"] = function(row, event)
      row.n = (row.n or 0) + 1
      row.half = row.n - row.n % 2
      print("tick", row.n)
    end,
  },
}
]]

-- Some milliseconds for each event, for whoever wants to interrupt it.
local SLOW = [[projection "slow" {
  on = {
    ["tick"] = function(row)
      for i = 1, 150000 do
        row.n = i
      end
    end,
  },
}
]]

local PROMPT = "%(replay%)$"
local bench
local opened = {}

local function open(args, opts)
  local t = terminal.open(args, opts)
  opened[#opened + 1] = t
  return t
end

--- A session between two `stty -g`, whose outputs must be equal.
local function session(script, opts)
  opts = opts or {}
  local b = opts.bench or bench
  local words = { files.quote(moonwake.bin), "replay", script, "-C", files.quote(b.workspace), opts.args or "" }
  local command = ("stty -g >%s/before; %s %s; echo code $?; stty -g >%s/after; echo over"):format(
    b.workspace, opts.before or "", table.concat(words, " "), b.workspace)
  local t = open({ "-c", command }, { program = "bash", db = b.run_dsn, rows = 60 })
  t:expect(PROMPT)
  return t
end

local function assert_terminal_as_before(workspace)
  local before = files.read((workspace or bench.workspace) .. "/before")
  assert.truthy(before and #before > 20)
  assert.equal(before, files.read((workspace or bench.workspace) .. "/after"))
end

--- Types a line and returns what came of it.
local function say(t, line, pattern)
  local lines = #t:text()
  t:type(line .. "\r")
  local answer
  pg.eventually(function()
    t:pump(10)
    answer = t:text():sub(lines + 1)
    return answer:match(PROMPT) and (not pattern or answer:match(pattern))
  end, 20, ("an answer to '%s' like '%s'"):format(line, pattern or ""))
  return answer
end

describe("replay on a terminal", function()
  after_each(function()
    for _, t in ipairs(opened) do
      t:close()
    end
    opened = {}
  end)

  setup(function()
    bench = bench_of { counter = COUNTER, slow = SLOW }
    bench:publish_many(3000, 2, "tick")
  end)

  it("steps, steps back, repeats on Enter, breaks, watches, prints and ends with Ctrl-D", function()
    local t = session "counter"

    assert.matches("projection projections/counter.lua; `help` lists the commands", t:text())
    assert.matches('#1  .*  tick  thing/a1 v1\n  projections/counter.lua:4 .*  "a1"  new row\n.*%+ n +1\n  | tick    1\n',
      say(t, "step"))
    say(t, "", "thing/a0 v1")
    assert.matches("#3 .* n +1 %-> 2\n", say(t, "", "thing/a1 v2"))
    local again = say(t, "back", "thing/a0 v1")
    assert.matches('"a0"  new row\n', again)
    assert.matches("%-%- the start", say(t, "b 2", "start"))
    assert.matches("break 1: state.n == 7", say(t, "break state.n == 7"))
    assert.matches("#13 .* n +6 %-> 7\n.*break 1: state.n == 7\n", say(t, "run", "#13"))
    assert.matches("#14 .*break 1", say(t, "", "#14"))
    assert.matches("watch 2: half", say(t, "watch half"))
    say(t, "delete 1")
    assert.matches("#15 .*watch 2: half  6 %-> 8\n", say(t, "c", "watch 2"))
    assert.matches("#12 .*watch 2: half  4 %-> 6\n", say(t, "rc", "#12"):gsub("#1[34]", "later"))
    assert.matches('  "a0"\n  6\n', say(t, "p half", "6\n"))
    assert.matches("  18\n", say(t, "e state.n * 3", "18"))
    assert.matches("> +4 +row%.n", say(t, "list", "row.half"))
    assert.matches("counter.lua:5  row.half = row.n %- row.n %% 2\n +~ half  4 %-> 6\n", say(t, "lines", "half"))
    assert.matches("did you mean 'step'", say(t, "setp", "setp'"))
    t:type("\4")
    t:expect("code 0\nover")
    assert_terminal_as_before()
  end)

  it("lets a line be edited, and brings earlier ones back", function()
    local t = session "counter"

    assert.matches("#1 ", say(t, "xx\127\127stp\2e\27[C", "new row"))
    assert.matches("#2 ", say(t, "\27[A", "a0"))
    assert.matches('  "äß€"\n', say(t, "eval 'äß€x'\2\27[D\27[C\127'\4", '"äß'))
    t:type("some words that nobody wants")
    t:expect("nobody wants$")
    t:type("\3")
    t:expect("wants%^C\n%(replay%)$")
    assert.matches("#3 ", say(t, "s", "a1"))
    t:type("quit\r")
    t:expect("code 0\nover")
    assert_terminal_as_before()
  end)

  it("Ctrl-C interrupts a run, a long way and a comparison, and the session goes on", function()
    local t = session("slow", { args = "--drop 1" })
    t:type("run\r")
    pg.sleep(0.5)
    t:type("\3")
    local at = tonumber(t:expect("%-%- interrupted behind event (%d+)\n%(replay%)$"))
    assert.truthy(at > 0 and at < 2999, at)
    assert.matches('  "a%d"\n  150000\n', say(t, "print n", "150000"))
    t:type("goto end\r")
    pg.sleep(0.5)
    t:type("\3")
    t:expect("interrupted.*interrupted behind event %d+\n%(replay%)$", 60)
    t:type("compare end\r")
    pg.sleep(0.5)
    t:type("\3")
    t:expect("error: compare: stopped\n%(replay%)$", 60)
    assert.matches("events: %d+ taken", say(t, "summary", "taken"))
    assert.matches("#2 ", say(t, "goto 2", "#2 "))
    t:type("q\r")
    t:expect("code 0\nover")
    assert_terminal_as_before()
  end)

  it("SIGTERM and SIGHUP end it in the middle of a line, with the terminal as it was", function()
    for _, signal in ipairs { "TERM", "HUP" } do
      -- The program's own id, so that the shell around it lives on.
      local t = session("counter", { before = ("(sleep 1; pkill -%s -P $$ moonwake) &"):format(signal) })
      t:type("half a li")
      t:expect("half a li\n.*replay: stopped\n.*code 1\nover", 30)
      assert_terminal_as_before()
    end
  end)

  it("Ctrl-Z stops it with the terminal as it was, and fg brings the line back", function()
    local t = open({ "--norc", "--noprofile", "-i" }, { program = "bash", db = bench.run_dsn, env = { PS1 = "shell> " } })
    t:expect("shell>$")
    t:type(("stty -g >%s/before; %s replay counter -C %s\r"):format(bench.workspace, moonwake.bin, bench.workspace))
    t:expect(PROMPT)
    t:type("st")
    t:expect("%(replay%) st$")
    t:type("\26")
    t:expect("Stopped.*shell>$")
    t:type(("stty -g >%s/after\r"):format(bench.workspace))
    pg.eventually(function() t:pump(10) return files.exists(bench.workspace .. "/after") end, 10, "stty")
    t:type("fg\r")
    t:expect("fg\n.*%(replay%) st$")
    t:type("ep\r")
    t:expect("#1 .*%(replay%)$")
    t:type("\4")
    t:expect("shell>$")
    pg.eventually(function() return (files.read(bench.workspace .. "/after") or "") ~= "" end)
    assert_terminal_as_before()
  end)

  it("goes on with what it has where the database goes away", function()
    local server = pg.start()
    finally(function() server:stop() end)
    local b = bench_of({ counter = COUNTER }, server)
    b:publish_many(20000, 2, "tick")
    local t = session("counter", { bench = b })
    say(t, "step 2", "#2")
    server:halt("immediate")
    assert.matches("error: .*connection", say(t, "goto end", "error"))
    assert.matches('  "a0"\n  {', say(t, "state a0", "half"))
    say(t, "goto 2", "#2 ")
    t:type("quit\r")
    t:expect("code 0\nover")
    assert_terminal_as_before(b.workspace)
  end)
end)

describe("replay without a terminal", function()
  it("stops at SIGINT with the summary so far", function()
    for _, args in ipairs { { "--quiet" }, { "--break", "false" }, { "--drop", "1" } } do
      local p = moonwake.spawn({ "replay", "slow", "-C", bench.workspace, unpack(args) }, { db = bench.run_dsn })
      pg.sleep(1)
      p:signal("INT")
      assert.equal(1, p:wait(20))
      assert.matches("stopped\n$", (p:err():gsub("interrupted", "stopped")))
      if args[1] ~= "--drop" then
        assert.matches("%d+ events in .*%(interrupted%)\n", p:out())
      end
    end
  end)

  it("says so where the database goes away in the middle", function()
    local server = pg.start()
    finally(function() server:stop() end)
    local b = bench_of({ slow = SLOW }, server)
    b:publish_many(20000, 2, "tick")
    local p = moonwake.spawn({ "replay", "slow", "-C", b.workspace, "--quiet" }, { db = b.run_dsn })
    pg.sleep(1)
    server:halt("immediate")
    assert.equal(1, p:wait(200))
    assert.matches("moonwake: .*connection", p:err())
  end)
end)
