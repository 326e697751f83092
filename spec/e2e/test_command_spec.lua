local dkjson = require "dkjson"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"
local terminal = require "spec.support.terminal"
local trial = require "spec.support.trial"
local workspace, test, COUNTER = trial.workspace, trial.test, trial.COUNTER

describe("moonwake test", function()
  after_each(files.clean)

  describe("coverage", function()
    local SHARED = "local m = {}\nfunction m.twice(n)\n  if n > 100 then\n    return 0\n  end\n  return n * 2\nend\nreturn m\n"
    local SCRIPT = [[
local shared = require "shared"

local function touch(state, event)
  state.at = iso(event.occurred_at)
end

projection "covered" {
  key = function(event)
    if event.data.nobody then
      return nil
    end
    return event.aggregate_id
  end,
  on = {
    ["a.one"] = touch,
    ["a.two"] = touch,
    ["a.*"] = function(state, event)
      if event.data.n then
        state.n = shared.twice(event.data.n)
      else
        state.none =
          true
      end
    end,
    ["b"] = function() return delete end,
  },
}
]]

    local function covered(body, args)
      local dir = workspace { ["scripts/lib/shared.lua"] = SHARED, ["projections/covered.lua"] = SCRIPT,
        ["spec/covered_spec.lua"] = body }
      return test(dir, args)
    end

    it("names the lines that no event reached, with their text, and the types that never came", function()
      local r = covered([[
        it("x", function() given { { "a.one", "x" }, { "a.three", "x", { n = 2 } } } end)
        it("y", function() given { { "a.three", "y", { n = 3 } } } end)]], { "--coverage" })

      assert.equal(0, r.code)
      assert.truthy(r.out:find([[

coverage
  projections/covered.lua  5 of 8 handler lines, 2 of 4 event types
      10      return nil
      22          true
      25    ["b"] = function() return delete end,
  never called: on["a.two"]
  never called: on["b"]
  scripts/lib/shared.lua   2 of 3 handler lines
       4    return 0
]], 1, true), r.out)
    end)

    it("counts an event that has no row as not handled", function()
      local r = covered([[it("x", function() given { { "b", "x", { nobody = true } } } end)]], { "--coverage" })

      assert.truthy(r.out:find('never called: on["b"]', 1, true), r.out)
    end)

    it("is for programs too", function()
      local r = covered([[
        it("x", function()
          given { { "a.one", "x" }, { "a.two", "x" }, { "a.three", "x", { n = 2 } }, { "a.b", "x", { n = 200 } }, { "a.", "x" } }
          given { { "b", "x", { nobody = true } }, { "b", "x" } }
        end)]], { "--coverage", "--json" })

      local lines = files.lines(r.out)
      assert.equal(3, #lines)
      assert.equal("passed", dkjson.decode(lines[1]).status)
      for i, file in ipairs { "projections/covered.lua", "scripts/lib/shared.lua" } do
        local entry = dkjson.decode(lines[i + 1])
        assert.equal(file, entry.file)
        assert.equal(entry.lines, entry.reached)
        assert.same({}, entry.missed)
      end
      assert.equal(4, dkjson.decode(lines[2]).types)
      assert.same({}, dkjson.decode(lines[2]).uncalled)
    end)

    it("is complete for every script of this repository", function()
      local r = moonwake.run({ "test", "--coverage", "--json" })

      assert.equal("", r.err)
      local covered_files = {}
      for _, line in ipairs(files.lines(r.out)) do
        local entry = dkjson.decode(line)
        if entry.lines then
          covered_files[entry.file] = true
          assert.same({}, entry.missed, entry.file)
          assert.same({}, entry.uncalled or {}, entry.file)
        else
          assert.equal("passed", entry.status, entry.name)
        end
      end
      local shipped = files.lines(files.command("ls projections/*.lua rules/*.lua scripts/reducers/*.lua scripts/upcasters/*.lua 2>/dev/null"))
      assert.is_true(#shipped >= 3)
      for _, path in ipairs(shipped) do
        assert.truthy(covered_files[path], path .. " has no spec")
      end
    end)
  end)

  describe("reports", function()
    local HOSTILE = [=[
      describe("a <b> & \"c\" # d", function()
        it("passes", function() end)
        it("has a name with a\nline end, \27[31mcolour, \255 and \1", function() error("bad \27[2J \0 <![CDATA[ ]]> \255 & \"end\"") end)
        it("is skipped", function() pending("not <yet> # here") end)
        pending("is # planned")
        it("is slow", function() local stop = os.clock() + 0.6 while os.clock() < stop do end end)
      end)
      it("compares", function() assert.equal(1, 2) end)
    ]=]

    local function hostile(args)
      local dir = workspace { ["spec/hostile_spec.lua"] = HOSTILE, ["spec/syntax_spec.lua"] = "it(", ["spec/fine_spec.lua"] = 'it("is", function() end)' }
      return test(dir, args), dir
    end

    it("are for people: file, name, what failed where, how long slow ones took", function()
      local r = hostile()

      assert.equal(1, r.code)
      assert.equal("", r.err)
      assert.truthy(r.out:find('\nspec/hostile_spec.lua\n  ok      a <b> & "c" # d passes\n  FAILED  a <b>', 1, true), r.out)
      assert.matches("spec/hostile_spec.lua:3: bad %?%[2J", r.out)
      assert.matches("pending a <b> & \"c\" # d is skipped  %(not <yet> # here%)", r.out)
      assert.matches("ok      [^\n]+ is slow  %(%d+%.%d s%)\n", r.out)
      assert.matches("FAILED  the file\n      spec/syntax_spec.lua:1: ", r.out)
      assert.matches("FAILED  compares\n      spec/hostile_spec.lua:8: Expected objects to be equal.", r.out)
      assert.matches("\n3 passed, 3 failed, 2 pending\n$", r.out)
      assert.truthy(r.out:find('# d has a name with a line end, ?[31mcolour, ? and ?\n', 1, true), r.out)
      assert.falsy(r.out:find("[%z\1-\9\11-\31]"), "a control character reached the terminal")
    end)

    it("are TAP, with a plan, one line for each test, and no directive by accident", function()
      local r = hostile { "--tap" }

      local ok, not_ok, skipped, plan = 0, 0, 0, nil
      for _, line in ipairs(files.lines(r.out)) do
        local word, number = line:match("^(n?o?t? ?ok) (%d+) %- ")
        if word then
          ok, not_ok = ok + (word == "ok" and 1 or 0), not_ok + (word == "not ok" and 1 or 0)
          assert.equal(ok + not_ok, tonumber(number))
          skipped = skipped + (line:match("[^\\]# SKIP") and 1 or 0)
        else
          plan = plan or line:match("^1%.%.(%d+)$")
          assert.truthy(line:match("^#") or line:match("^1%.%."), line)
        end
      end
      assert.same({ 5, 3, 2, "8" }, { ok, not_ok, skipped, plan })
      assert.equal(1, r.code)
    end)

    it("are JUnit's XML, which xmllint reads", function()
      local r, dir = hostile { "--junit", "out.xml" }

      local xml = files.read(dir .. "/out.xml")
      assert.equal("", files.command("xmllint --noout " .. dir .. "/out.xml 2>&1"))
      assert.equal("8 3 2", files.command(("xmllint --xpath 'concat(count(//testcase), \" \", count(//testcase[failure]), \" \", "
        .. "count(//testcase[skipped]))' %s/out.xml"):format(dir)))
      assert.equal("8 3 2", files.command(("xmllint --xpath 'concat(sum(//testsuite/@tests), \" \", sum(//testsuite/@failures), "
        .. "\" \", /testsuites/@skipped)' %s/out.xml"):format(dir)))
      assert.truthy(xml:find('name="a &lt;b&gt; &amp; &quot;c&quot; # d passes" file="spec/hostile_spec.lua" line="2"', 1, true), xml)
      assert.matches("3 passed, 3 failed", r.out)
    end)

    it("say when the XML cannot be written, though all passed", function()
      local dir = workspace { ["spec/fine_spec.lua"] = 'it("is", function() end)' }

      local r = test(dir, { "--junit", "no/such/folder.xml" })

      assert.equal(1, r.code)
      assert.matches("^moonwake: test: [^\n]+/no/such/folder.xml: No such file or directory\n$", r.err)
    end)

    it("put the XML where the caller said, not in the workspace", function()
      local dir, other = workspace { ["spec/fine_spec.lua"] = 'it("is", function() end)' }, files.dir()

      moonwake.must({ "-C", dir, "test", "--junit", "x.xml" }, { cwd = other })

      assert.truthy(files.exists(other .. "/x.xml"))
      assert.falsy(files.exists(dir .. "/x.xml"))
    end)

    it("are JSON, a line for each test", function()
      local r = hostile { "--json" }

      local by_name = {}
      for _, line in ipairs(files.lines(r.out)) do
        local entry = dkjson.decode(line)
        by_name[entry.name] = entry
      end
      assert.equal("failed", by_name["compares"].status)
      assert.equal(8, by_name["compares"].line)
      assert.matches("Expected objects to be equal", by_name["compares"].problems[1])
      assert.equal("not <yet> # here", by_name['a <b> & "c" # d is skipped'].note)
    end)

    it("are a list of names, and nothing is run", function()
      local r = hostile { "--list" }

      assert.matches("spec/fine_spec.lua:1: is\n", r.out)
      assert.matches("spec/hostile_spec.lua:8: compares\n", r.out)
      assert.falsy(r.out:find("FAILED  compares", 1, true))
    end)
  end)

  describe("choosing", function()
    local dir
    before_each(function()
      dir = workspace { ["projections/counter.lua"] = COUNTER,
        ["spec/counter_spec.lua"] = 'it("one", function() end) it("two", function() end)',
        ["spec/projections/counter_spec.lua"] = 'it("three", function() end)',
        ["spec/other/x_spec.lua"] = 'it("four", function() end)',
        ["spec/helper.lua"] = "error('not a spec')" }
    end)

    local function passed(args)
      local r = test(dir, args)
      assert.equal("", r.err)
      return tonumber(r.out:match("\n(%d+) passed, 0 failed\n")), r.out
    end

    it("takes spec/ and the folders of scripts, and says what it left out", function()
      local count, out = passed {}

      assert.equal(3, count)
      assert.matches("\n1 spec files in other folders of spec/ were not run", out)
    end)

    it("takes files, folders and scripts' names", function()
      assert.equal(2, (passed { "spec/counter_spec.lua" }))
      assert.equal(2, (passed { "./spec/counter_spec.lua", "spec/counter_spec.lua" }))
      assert.equal(1, (passed { "spec/other" }))
      assert.equal(4, (passed { "spec/" }))
      assert.equal(3, (passed { "counter" }))
      assert.equal(1, (passed { "--filter", "^t.*e$" }))
    end)

    it("says what there is not", function()
      local function refused(args, message)
        local r = test(dir, args)
        assert.equal("moonwake: test: " .. message .. "\n", r.err)
        assert.equal(2, r.code)
        assert.equal("", r.out)
      end

      refused({ "conter" }, "conter: no such spec file, folder or script with a spec (did you mean 'counter'?)")
      refused({ "spec/conter_spec.lua" }, "spec/conter_spec.lua: no such spec file, folder or script with a spec (did you mean 'spec/counter_spec.lua'?)")
      refused({ "projections" }, "projections: no spec files in it (their names end with _spec.lua)")
      refused({ "--filter", "five" }, "no test is named like 'five' (--list shows their names)")
      refused({ "--filter", "(" }, "option '--filter': '(' is no Lua pattern (write % before a magic character)")
      refused({ "--seed", "x" }, "option '--seed': 'x' is not a whole number from 0 to 2147483647")
      refused({ "--tap", "--json" }, "--tap and --json do not go together (see moonwake help test)")
      dir = workspace { ["spec/empty_spec.lua"] = "" }
      refused({}, 'the spec files hold no test (a test is it("does something", function() … end))')
      dir = workspace {}
      refused({}, "there is no spec/*_spec.lua here (name the workspace with -C; `moonwake init` makes a first spec)")
    end)

    it("needs no database, and busted", function()
      local r = test(dir, {}, { db = "host=/nonexistent", env = { LUA_PATH = "/nonexistent/?.lua" } })

      assert.equal("moonwake: test: busted is not installed (apt-get install lua-busted; or luarocks --lua-version 5.1 install busted)\n", r.err)
      assert.equal(1, r.code)
      assert.equal(0, test(dir, {}, { db = "host=/nonexistent" }).code)
    end)
  end)

  describe("a spec", function()
    it("that does not end is ended by Ctrl-C", function()
      local dir = workspace { ["spec/slow_spec.lua"] = 'it("first", function() end) it("hangs", function() while true do end end)' }

      local t = terminal.open({ "test" }, { cwd = dir })
      t:expect("ok      first")
      t:type("\3")
      local code = t:wait(20)
      t:close()

      assert.is_true(code ~= 0)
    end)

    it("cannot end the program and look as if all had passed", function()
      local r = test(workspace { ["spec/exit_spec.lua"] = 'it("x", function() os.exit(0) end)' })

      assert.matches("spec/exit_spec.lua:1: os.exit: a spec does not end the program", r.out)
      assert.equal(1, r.code)
    end)
  end)

  it("shows colours on a terminal", function()
    local dir = workspace { ["projections/counter.lua"] = COUNTER, ["spec/counter_spec.lua"] = [[
      it("adds", function() given { "thing.added", "a" } expect_row("a", { n = 1 }) end)
      it("fails", function() given { "thing.added", "a" } expect_row("a", { n = 2 }) end)]] }

    local r = terminal.run({ "test", "--coverage" }, { cwd = dir })

    assert.equal(1, r.code)
    assert.matches("\27%[32mok     \27%[0m adds", r.raw)
    assert.matches("\27%[31m1 passed, 1 failed\27%[0m", r.raw)
    assert.matches('row "a" of counter is not what was expected:\n +n  expected 2, is 1\n', (r.screen:gsub(" +\n", "\n")))
    assert.matches("projections/counter.lua  4 of 6 handler lines, 1 of 2 event types", r.screen)
  end)

  it("gives a script the rows that the daemon gives it", function()
    local server = pg.shared()
    local dsn, db = moonwake.database(server)
    local history = files.command("luajit scripts/demo/fleet.lua --devices 12 --events 900 --end 2026-01-31T12:00:00Z --seed 5 2>&1")
    moonwake.must({ "publish", "-" }, { db = dsn, stdin = history .. "\n" })
    moonwake.must({ "run", "--until-caught-up" }, { db = dsn })
    local dir = workspace { ["history.ndjson"] = history }
    os.execute(("cp -r projections scripts %s"):format(files.quote(dir)))
    for _, name in ipairs { "device_summary", "device_state", "rollout_health" } do
      files.write(dir .. "/spec/" .. name .. "_spec.lua", ([[
        it("runs", function()
          local list = {}
          for line in io.lines("history.ndjson") do
            list[#list + 1] = json.decode(line)
          end
          given(list)
          local out = assert(io.open("%s.json", "wb"))
          for _, row in ipairs(rows()) do
            out:write(json.encode({ key = row.key, row = row.row }), "\n")
          end
          out:close()
        end)]]):format(name))
    end

    local out = moonwake.must({ "-C", dir, "test" })

    assert.matches("3 passed, 0 failed", out)
    local queries = {
      device_summary = "SELECT jsonb_build_object('key', device_uuid, 'row', jsonb_strip_nulls(to_jsonb(t) - "
        .. "'{device_uuid,position,updated_at,last_seen}'::text[] || jsonb_build_object('last_seen', extract(epoch FROM last_seen)))) "
        .. "FROM moonwake.device_summary t",
      device_state = "SELECT jsonb_build_object('key', key, 'row', state) FROM moonwake.device_state",
      rollout_health = "SELECT jsonb_build_object('key', jsonb_build_array(image, model), 'row', jsonb_strip_nulls(to_jsonb(t) - "
        .. "'{image,model,position,updated_at,first_start,last_crash}'::text[] || jsonb_build_object('first_start', "
        .. "extract(epoch FROM first_start), 'last_crash', extract(epoch FROM last_crash)))) FROM moonwake.rollout_health t",
    }
    for name, query in pairs(queries) do
      server:psql("CREATE TABLE public.mine_" .. name .. " (line jsonb)", { db = db })
      local lines = files.lines(files.read(dir .. "/" .. name .. ".json"))
      local values = {}
      for i, line in ipairs(lines) do
        values[i] = ("('%s')"):format((line:gsub("'", "''")))
      end
      server:psql(("INSERT INTO public.mine_%s VALUES %s"):format(name, table.concat(values, ",")), { db = db })
      assert.is_true(#lines > 5)
      assert.equal("", server:psql(("SELECT 'spec only: ' || d FROM (SELECT line FROM public.mine_%s EXCEPT ALL %s) d UNION ALL "
        .. "SELECT 'daemon only: ' || d FROM (%s EXCEPT ALL SELECT line FROM public.mine_%s) d"):format(name, query, query, name),
        { db = db }))
    end
  end)
end)
