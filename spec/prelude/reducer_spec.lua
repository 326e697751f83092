local script = require "spec.support.script"

--- The problem of a reducer "r" with these fields, without its place.
local function problem(fields)
  local s, err = script.open("scripts/reducers/r", ("\nreducer \"r\" { %s }\n"):format(fields))
  if s then
    s:close()
    return nil
  end
  return err.message:match("^scripts/reducers/r.lua:2: reducer 'r': (.*)$") or "elsewhere: " .. err.message
end

describe("a reducer's definition", function()
  teardown(script.clean)
  local ON = "aggregate = 'order', on = { t = function() end }"

  local wrong = {
    { "on = { t = function() end }", "field 'aggregate' is missing (the aggregate type whose events it folds; each aggregate has a state of its own)" },
    { "aggregate = 'order'", "field 'on' is missing (event type or glob -> handler(state, event); an exact type wins over a glob, a longer glob over a shorter)" },
    { "aggregate = '', on = { t = function() end }", "field 'aggregate' is empty (name the aggregate type of the events)" },
    { "aggregate = 1, on = { t = function() end }", "field 'aggregate' must be a string, not 1" },
    { ON .. ", agregate = 'x'", "unknown field 'agregate' (did you mean 'aggregate'?)" },
    { ON .. ", columns = {}", "unknown field 'columns'" },
    { ON .. ", key = 'type'", "unknown field 'key'" },
    { ON .. ", sql = true", "unknown field 'sql'" },
    { ON .. ", snapshot_every = 0", "field 'snapshot_every' is 0, and must be from 1 to 1000000 versions" },
    { ON .. ", snapshot_every = 2.5", "field 'snapshot_every' must be an integer, not 2.5" },
    { ON .. ", initial = {}", "field 'initial' must be a function, not a table" },
    { ON .. ", version = 0", "field 'version' is 0, and must be from 1 to 2147483647" },
    { ON .. ", on_error = 'skipp'", "field 'on_error' is 'skipp', and must be one of stop, skip, park_key (did you mean 'skip'?)" },
    { "aggregate = 'order', on = {}", "on is empty (name at least one event type, or \"*\")" },
    { "aggregate = 'order', on = { t = 1 }", "on['t'] must be a function(state, event), not 1" },
    { "aggregate = 'order', on = { print }", "on: 1 is no event type (write [\"type\"] = function(state, event) … end)" },
  }
  for _, case in ipairs(wrong) do
    it(("%s: %s"):format(case[1], case[2]:sub(1, 60)), function()
      assert.equal(case[2], problem(case[1]))
    end)
  end

  it("has a name like its file's, in its folder", function()
    local function message(name, source)
      local s, err = script.open(name, source)
      return s and "opened" or err.message
    end

    assert.equal("scripts/reducers/r.lua:1: reducer 'x': the file's name is not the definition's (rename the file to x.lua, or write reducer \"r\")",
      message("scripts/reducers/r", "reducer 'x' { " .. ON .. " }"))
    assert.equal("scripts/reducers/r.lua:1: projection 'r': scripts/reducers/ is for reducers (move the file to projections/, or write reducer \"r\" { … })",
      message("scripts/reducers/r", "projection 'r' { colour = 1 }"))
    assert.equal("projections/r.lua:1: reducer 'r': projections/ is for projections (move the file to scripts/reducers/, or write projection \"r\" { … })",
      message("projections/r", "reducer 'r' {}"))
    assert.equal("projections/r.lua:1: upcaster 'r': projections/ is for projections (move the file to scripts/upcasters/, or write projection \"r\" { … })",
      message("projections/r", "upcaster 'r' {}"))
    assert.equal("scripts/reducers/r.lua: nothing is defined in it (write reducer \"name\" { … })", message("scripts/reducers/r", ""))
    assert.equal("scripts/reducers/r.lua:1: reducer: a name is expected, not a table (write reducer \"name\" { … })",
      message("scripts/reducers/r", "reducer {}"))
    assert.matches("a name is lower%-case letters", message("scripts/reducers/Bad", "reducer 'Bad' { " .. ON .. " }"))
  end)

  it("may have the name of one of moonwake's own tables: it makes none", function()
    local s = script.open("scripts/reducers/events", "reducer 'events' { " .. ON .. " }")
    assert.is_table(s)
    s:close()
  end)
end)

describe("transitions", function()
  teardown(script.clean)
  local function transitions(text)
    return problem("aggregate = 'order', on = { t = function() end }, transitions = " .. text)
  end

  local wrong = {
    { "{}", "transitions: field 'initial' is missing (what a new aggregate begins with)" },
    { "'x'", "field 'transitions' must be a table, not 'x'" },
    { "{ initial = 'a', stats = { a = {} } }", "transitions: unknown field 'stats' (did you mean 'states'?)" },
    { "{ initial = 'a', draft = { 'b' } }", "transitions: unknown field 'draft'" },
    { "{ initial = 'a', states = {} }", "transitions: states is empty (write states = { name = { the states that may follow it } })" },
    { "{ initial = 'dratf', states = { draft = {} } }", "transitions: initial is 'dratf', which is not among the states (did you mean 'draft'?)" },
    { "{ initial = 'draft', states = { draft = { 'submited' }, submitted = {} } }",
      "transitions: 'draft' may become 'submited', which is not among the states (did you mean 'submitted'?)" },
    { "{ initial = 'draft', states = { draft = { 'gone' } } }",
      "transitions: 'draft' may become 'gone', which is not among the states (add gone = {})" },
    { "{ initial = 'a', states = { a = 'b', b = {} } }",
      "transitions: 'a' must be a list of the states that may follow it ({} for none), not 'b'" },
    { "{ initial = 'a', states = { a = { b = true }, b = {} } }", "transitions: 'a' must be a list of names of states" },
    { "{ initial = 'a', states = { a = { 1 } } }", "transitions: 'a' must be a list of names of states" },
    { "{ initial = 'a', states = { 'a' } }", "transitions: a state's name is a text, not 1 (write states = { name = { … } })" },
    { "{ initial = 'a', states = { a = {}, b = { 'a' } } }",
      "transitions: 'b' is never reached from 'a' (name it in another state's list, or remove it)" },
    { "{ initial = 'a', states = { a = { 'a' }, b = { 'c' }, c = { 'b' } } }",
      "transitions: 'b' is never reached from 'a' (name it in another state's list, or remove it)" },
    { "{ field = 1, initial = 'a', states = { a = {} } }", "transitions: field 'field' must be a string, not 1" },
  }
  for _, case in ipairs(wrong) do
    it(("%s: %s"):format(case[1], case[2]:sub(1, 60)), function()
      assert.equal(case[2], transitions(case[1]))
    end)
  end

  it("may be one state, or a ring, or a tree", function()
    assert.is_nil(transitions "{ initial = 'a', states = { a = {} } }")
    assert.is_nil(transitions "{ initial = 'a', states = { a = { 'b' }, b = { 'c' }, c = { 'a' } } }")
    assert.is_nil(transitions "{ field = 'phase', initial = 'a', states = { a = { 'b', 'c' }, b = {}, c = { 'd' }, d = {} } }")
  end)
end)
