-- event.data and event.metadata are decoded member by member; a script must not be able to tell.
local ffi = require "ffi"
local script = require "spec.support.script"

describe("event.data", function()
  local open = {}
  local function define(fields, options)
    local s = script.define(fields, options)
    open[#open + 1] = s
    return s
  end

  after_each(function()
    for _, s in ipairs(open) do
      s:close()
    end
    open = {}
  end)
  teardown(script.clean)

  --- What a handler puts into state.out, as JSON text.
  local function out(body, data, metadata)
    local s = define(("on = { t = function(state, event) local d = event.data\n%s\nend }"):format(body))
    local fx, err = s:run { { data = data, metadata = metadata } }
    assert(fx, err and err.message)
    return (fx.text:match('"state":{"out":(.*)},"position"'))
  end

  local DOC = '{"a": 1, "b": "two", "c": {"x": [1, {"y": "}]\\""}]}, "d": null, "e": [], "f": true, "g": -1.5e2}'
  local ALL = '{"a":1,"b":"two","c":{"x":[1,{"y":"}]\\""}]},"d":null,"e":[],"f":true,"g":-150}'

  describe("reads", function()
    it("members of all types", function()
      assert.equal('[1,"two","}]\\"",true,true,true,-150]', out(
        "state.out = { d.a, d.b, d.c.x[2].y, d.d == json.null, json.is_array(d.e), d.f, d.g }", DOC))
    end)

    it("nothing for what is not there", function()
      assert.equal('"nil nil nil nil nil 0"', out([[
        state.out = table.concat({ tostring(d.z), tostring(d.aa), tostring(d[1]), tostring(d[true]), tostring(d[""]), #d }, " ")]],
        DOC))
    end)

    it("the same table each time", function()
      assert.equal("[true,true,true]", out(
        "local c = d.c state.out = { d == event.data, c == d.c, rawequal(c, event.data.c) }", DOC))
    end)

    it("the last of a repeated key", function()
      assert.equal("[3,3,4]", out("local k = d.k state.out = { k, json.decode(json.encode(d)).k, event.metadata.k }",
        '{"k":1,"x":0,"k":2,"k":3}', '{"k":1, "k": 4}'))
      assert.equal('{"k":3,"x":0}', out("state.out = d", '{"k":1,"x":0,"k":2,"k":3}'))
    end)

    it("keys with escapes, without ASCII, and empty ones", function()
      assert.equal('[1,2,3,4]', out([[state.out = { d['a"b'], d["ä"], d[""], d["\n"] }]],
        [[{"a\"b":1,"\u00e4":2,"":3,"\n":4}]]))
      assert.equal('[2,3]', out([[state.out = { d["ä€"], d[""] }]], '{"ä€":2,"":3}'))
    end)

    it("documents that are no objects", function()
      assert.equal('[3,true]', out("state.out = { d[3], json.is_array(d) }", "[1,2,3]"))
      assert.equal('"text"', out("state.out = d", '"text"'))
      assert.equal('null', out("state.out = d", 'null'))
      assert.equal('{}', out("state.out = d", '{}'))
      assert.equal('{}', out("d.x = nil state.out = d", ' { } '))
    end)

    it("documents with white space anywhere", function()
      assert.equal('[1,{"x":[2]},"b"]', out("state.out = { d.a, d.c, d.b }",
        '{ \n"a" :\t1 , "c":\r{ "x" : [ 2 ] } ,"b": "b" }\n'))
    end)

    it("a thousand members", function()
      local parts = {}
      for i = 1, 1000 do
        parts[i] = ('"k%d": %d'):format(i, i)
      end
      local text = "{" .. table.concat(parts, ", ") .. "}"

      assert.equal('[500500,1000,1000]', out([[local sum, n = 0, 0
        for i = 1, 1000 do sum = sum + d["k" .. i] assert(d["x" .. i] == nil) end
        for _ in pairs(d) do n = n + 1 end
        state.out = { sum, n, d.k1000 }]], text))
    end)

    it("as many members as are looked up one by one, and one more", function()
      for n = 63, 65 do
        local parts = {}
        for i = 1, n do
          parts[i] = ('"k%d":%d'):format(i, i)
        end
        assert.equal(("[%d,1,%d]"):format(n, n), out(([[ local n = 0 local last = d.k%d
          for _ in pairs(d) do n = n + 1 end state.out = { n, d.k1, last }]]):format(n),
          "{" .. table.concat(parts, ",") .. "}"))
      end
    end)

    it("metadata likewise", function()
      assert.equal('[1,2,"nil",{"a":2,"b":3}]', out([[
        state.out = { d.a, event.metadata.a, tostring(event.metadata.z), event.metadata }]], '{"a":1}', '{"a": 2, "b": 3}'))
    end)
  end)

  describe("as a whole", function()
    local wholes = {
      ["pairs"] = "local o = {} for k, v in pairs(d) do o[k] = v end state.out = o",
      ["next"] = "local o = {} for k, v in next, d do o[k] = v end state.out = o",
      ["json.encode"] = "state.out = json.decode(json.encode(d))",
      ["json.encode of a table around it"] = "state.out = json.decode(json.encode { { x = d } })[1].x",
      ["the state"] = "state.out = d",
      ["deep in the state"] = "local s = { y = { d } } state.out = s.y[1]",
    }
    for name, body in pairs(wholes) do
      it("comes through " .. name, function()
        assert.equal(ALL, out(body, DOC))
      end)

      it("comes through " .. name .. " after some of it was read", function()
        assert.equal(ALL, out("local x, y = d.c, d.zz " .. body, DOC))
      end)
    end

    it("is walked in order", function()
      assert.equal('["a","b","c","d"]', out([[local x, list = d.c, {}
        for k in pairs(d) do list[#list + 1] = k end state.out = list]], '{"d":1,"b":2,"c":3,"a":4}'))
    end)

    it("is an ordinary table", function()
      assert.equal('["nil","table",1,"nil",2]', out([[ local meta = tostring(getmetatable(d))
        local got = rawget(d, "a")
        local missing = tostring(rawget(d, "z"))
        setmetatable(d, { __index = function() return 2 end })
        state.out = { meta, tostring(d), got, missing, d.z }]], '{"a":1}'))
      assert.equal('{"a":1,"b":3}', out('rawset(d, "b", 3) state.out = d', '{"a":1,"b":2}'))
      assert.equal('"one"', out('state.out = string.gsub("a", "%w", d)', '{"a":"one"}'))
    end)

    it("is no array", function()
      assert.equal("false", out("local ok = pcall(array, d) state.out = ok", '{"a":1}'))
      assert.equal("false", out("state.out = json.is_array(d)", '{"a":1}'))
      assert.equal("false", out([[table.insert(d, 1) state.out = pcall(json.encode, d)]], '{"a":1}'))
    end)
  end)

  describe("when it is changed", function()
    it("has the new member and all others", function()
      assert.equal('{"a":1,"b":2,"new":3}', out("d.new = 3 state.out = d", '{"a":1,"b":2}'))
      assert.equal('{"a":9,"b":2}', out("d.a = 9 state.out = d", '{"a":1,"b":2}'))
      assert.equal('{"a":9,"b":2}', out("d.a = d.a + 8 state.out = d", '{"a":1,"b":2}'))
    end)

    it("does not bring a removed member back", function()
      assert.equal('{"b":2}', out("d.a = nil state.out = d", '{"a":1,"b":2}'))
      assert.equal('{"b":2}', out("local a = d.a d.a = nil assert(d.a == nil) state.out = d", '{"a":1,"b":2}'))
      assert.equal('["b"]', out([[local a, list = d.a, {} d.a = nil
        for k in pairs(d) do list[#list + 1] = k end state.out = list]], '{"a":1,"b":2}'))
      assert.equal('{}', out("local a = d.a d.a = nil state.out = d", '{"a":1,"a":2}'))
      assert.equal('"nil"', out('local a = d.a d.a = nil state.out = tostring(rawget(d, "a"))', '{"a":1,"b":2}'))
    end)

    it("does so through a member", function()
      assert.equal('{"c":{"n":2},"x":1}', out("d.c.n = 2 state.out = d", '{"c":{"n":1},"x":1}'))
    end)

    it("refuses nil and NaN as a key, as a table does", function()
      assert.equal('[false,false,1]', out([[state.out = { (pcall(function() d[nil] = 1 end)),
        (pcall(function() d[0/0] = 1 end)), d.a }]], '{"a":1}'))
    end)

    it("is fresh for each key of an event", function()
      local s = define [[ key = function(event) assert(event.data.by == 1) event.data.by = 7 return { "x", "y" } end,
        on = { t = function(state, event) state.d = event.data state.d.by = state.d.by + 1 end } ]]
      s:run { { data = { by = 1, o = {} } } }

      assert.same({ 2, 2 }, { s:row("x").state.d.by, s:row("y").state.d.by })
    end)
  end)

  describe("that is kept", function()
    it("in a state is the state's", function()
      local s = define [[ on = { keep = function(state, event) state.d = event.data end,
        change = function(state) state.d.b = state.d.b + 1 end } ]]
      s:run { { "keep", data = '{"a":{"x":1},"b":2}' }, { "change", data = "{}" } }
      s:run { { "change" } }

      assert.same({ a = { x = 1 }, b = 4 }, s:row().state.d)
    end)

    it("as the state, a returned one", function()
      local s = define [[ on = { t = function(state, event) local a = event.data.a return event.data end } ]]
      local fx = s:run { { data = DOC }, { data = DOC } }

      assert.matches('"state":' .. ALL, fx.text, 1, true)
    end)

    it("in a jsonb column, whole and in part", function()
      local s = define [[ columns = { whole = "jsonb", part = "jsonb", n = "bigint" },
        on = { t = function(row, event) row.whole = event.data row.part = { event.metadata } row.n = event.data.n end } ]]
      local fx = s:run { { data = '{"n": 5, "m": [1]}', metadata = '{"x": {"y": 1}}' } }

      assert.matches('"n":5,"part":[{"x":{"y":1}}],"whole":{"m":[1],"n":5}', fx.text, 1, true)
    end)

    it("as a row that is returned", function()
      local s = define [[ columns = { n = "bigint", note = "text" }, on = { t = function(_, event) return event.data end } ]]
      local fx = s:run { { data = '{"n": 5, "note": "x"}' } }

      assert.matches('"n":5,"note":"x"', fx.text, 1, true)
    end)

    it("is refused where it would be in two states", function()
      local s = define [[ on = (function() local kept return { t = function(state, event)
        kept = kept or event.data state.d = kept end } end)() ]]
      local _, err = s:run { { "t", "x", data = '{"a":1}' }, { "t", "y", data = '{"a":2}' } }

      assert.matches("state.d: a table is reached twice: it also belongs to the state of key", err.message, 1, true)
    end)

    local KEEP = [[ on = (function() local kept return {
      keep = function(_, event) kept = event.data local a = kept.a %s end,
      use = function(state, event) local new = event.data.a state.out = %s end } end)() ]]
    local function kept(before, use)
      local s = define(KEEP:format(before, use))
      local fx, err = s:run { { "keep", data = '{"a":1,"b":2}' }, { "use", data = '{"a":10,"b":20}' } }
      return fx and s:row().state.out, err and err.message
    end

    it("by a script has what was read of it", function()
      assert.equal(1, kept("", "kept.a"))
      assert.equal(1, kept("", 'rawget(kept, "a")'))
      assert.same({ 1, 2 }, kept("kept.x = 1", "{ kept.a, kept.b }"))
      assert.same({ a = 1, b = 2 }, kept("pairs(kept)", "json.decode(json.encode(kept))"))
    end)

    local over = { "kept.b", "kept.zz", 'rawget(kept, "b")', "pairs(kept)", "next(kept)", "json.encode(kept)", "kept", "{ kept }",
      'rawset(kept, "x", 1)', "(function() kept.x = 1 end)()", "setmetatable(kept, {})", "array(kept)",
      "table.insert(kept, 1)" }
    for _, use in ipairs(over) do
      it("by a script is over for " .. use, function()
        local _, message = kept("", use)

        assert.matches("event.data belongs to an event that is over", message, 1, true)
      end)
    end

    it("by a script names metadata", function()
      local s = define [[ on = (function() local kept return { t = function(state, event)
        if kept then state.x = kept.a end kept = event.metadata end } end)() ]]

      assert.matches("p.lua:%d+: projection 'p': event.metadata belongs to an event that is over",
        select(2, s:run { { metadata = '{"a":1}' }, { metadata = '{"a":1}' } }).message)
    end)

    it("by a script is not taken for a later one, whatever memory does", function()
      local s = define [[ on = (function() local kept, n = {}, 0 return { t = function(state, event)
        n = n + 1
        for i = 1, #kept do assert(kept[i].a == i and not pcall(function() return kept[i].b end)) end
        if n % 3 == 0 then assert(event.data.a == n) kept[#kept + 1] = nil end
        if #kept < 20 and #kept + 1 == event.data.a then kept[#kept + 1] = event.data end
      end } end)() ]]
      local events = {}
      for i = 1, 300 do
        events[i] = { data = ('{"a":%d,"b":%d}'):format(i, i) }
      end

      assert(s:run(events))
    end)
  end)

  describe("of a text that is no JSON", function()
    for _, text in ipairs { '{', '{"', '{"a', '{"a"', '{"a":', '{"a":1', '{"a":1,', '{"a":1,}', '{"a":1}}', '{"a":[1}', '{"a":"\\',
      '{"a":"\\"', '{"a":"x', '{"a":{"b":"}', '{a:1}', '{"a":1 2}', '{"a" 1}', '{"a":tru}', '{"a":}', '{"\255":1}', '{"a":"\255"}',
      '{"a":"\n"}', '{"a":' .. ("["):rep(600) .. ("]"):rep(600) .. '}' } do
      it(("fails: %.12q"):format(text), function()
        local message = define("on = { t = function(state, event) local a = event.data.a end }"):fails({ data = text }).message

        assert.matches("projection 'p': event.data: .*line 1, column", message)
      end)
    end
  end)

  it("stays the same while a script with sql waits", function()
    local s = define [[ sql = true, on = { t = function(db, event)
      local d, m = event.data, event.metadata
      local a = d.a
      db:query("SELECT 1")
      db:exec("SELECT 2", d.b, d.zz, event.data.c, m.x)
      local again = db:query("SELECT 1")
      db:exec("SELECT 3", d, event.metadata)
    end } ]]
    local page = s:page { { data = '{"a":1,"b":"two","c":[3]}', metadata = '{"x":4,"y":5}' },
      { data = '{"a":2,"b":"other","c":[6]}', metadata = '{"x":7,"y":8}' } }
    s:prepare(page)
    local how, at, why = s:step(page)
    local params = {}
    local function take(statements, n)
      for i = 0, n - 1 do
        params[#params + 1] = script.statement(statements[i]).params
      end
    end
    for _ = 1, 4 do
      assert.equal("query", how, why and why.message)
      local q, before = ffi.new("ScriptSql"), ffi.new("Effects")
      s.ops.query(s.handler, q, before)
      take(before.sql, tonumber(before.nsql))
      s.ops.resume(s.handler, ffi.new("Str", { "[]", 2 }), nil)
      how, at, why = s:step(page, at)
    end
    for _, statement in ipairs(s:collect().sql) do
      params[#params + 1] = statement.params
    end

    assert.equal("done", how)
    assert.same({ { n = 4, "two", nil, "[3]", "4" }, { n = 2, '{"a":1,"b":"two","c":[3]}', '{"x":4,"y":5}' },
      { n = 4, "other", nil, "[6]", "7" }, { n = 2, '{"a":2,"b":"other","c":[6]}', '{"x":7,"y":8}' } }, params)
  end)

  it("behaves as what json.decode gives, whatever is done to it", function()
    local s = define [[ on = { t = function(state, event)
      local ours, other = event.data, json.decode(event.actor_id)
      for op, key in event.source:gmatch("(%w)(%w)") do
        if op == "r" then
          assert(json.encode(ours[key] == nil and json.null or ours[key])
            == json.encode(other[key] == nil and json.null or other[key]), event.source)
        elseif op == "w" then
          ours[key], other[key] = "new", "new"
        elseif op == "n" then
          ours[key], other[key] = nil, nil
        elseif op == "g" then
          assert(type(rawget(ours, key)) == type(rawget(other, key)), event.source)
        elseif op == "p" then
          local a, b = {}, {}
          for k in pairs(ours) do a[#a + 1] = k end
          for k in pairs(other) do b[#b + 1] = k end
          assert(table.concat(a) == table.concat(b), event.source)
        else
          assert(next(ours) == next(other), event.source)
        end
      end
      assert(json.encode(ours) == json.encode(other), event.source)
    end } ]]
    local seed = 7
    local function random(n)
      seed = (seed * 16807) % 2147483647
      return seed % n + 1
    end
    local function pick(from)
      local at = random(#from)
      return from:sub(at, at)
    end
    local values, events = { "1", '"x"', "[1, 2]", '{"in": {}}', "null", "false" }, {}
    for i = 1, 500 do
      local members, ops = {}, {}
      for j = 1, random(8) - 1 do
        members[j] = ('"%s": %s'):format(pick "abcdef", values[random(#values)])
      end
      for j = 1, random(10) do
        ops[j] = (random(5) == 1 and pick "px" or pick "rrwng") .. pick "abcdefg"
      end
      local text = "{" .. table.concat(members, ", ") .. "}"
      events[i] = { data = text, actor_id = text, source = table.concat(ops, " ") }
    end

    assert(s:run(events))
  end)
end)
