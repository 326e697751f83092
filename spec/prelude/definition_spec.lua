local script = require "spec.support.script"

--- The problem of a definition "p" with these fields, without its place.
local function problem(fields)
  local s, err = script.open("p", ("\nprojection \"p\" { %s }\n"):format(fields))
  if s then
    s:close()
    return nil
  end
  return err.message:match("^projections/p.lua:2: projection 'p': (.*)$") or "elsewhere: " .. err.message
end

describe("a definition", function()
  teardown(script.clean)

  it("knows the names of all tables that the schema has", function()
    local reserved, missing = {}, {}
    for _, name in ipairs(dofile("runtime/prelude/api.lua").reserved_tables) do
      reserved[name] = true
    end
    for name in io.popen("grep -ohE 'CREATE (TABLE|VIEW|SEQUENCE) moonwake\\.[a-z_]+' sql/*.sql"):read("*a"):gmatch("moonwake%.([a-z_]+)") do
      missing[#missing + 1] = not reserved[name] and not name:match("^events_") and name or nil
    end
    assert.same({}, missing)
    assert.is_true(reserved.events)
  end)

  local ON = "on = { t = function() end }"

  local wrong = {
    { ON .. ", colums = {}", "unknown field 'colums' (did you mean 'columns'?)" },
    { ON .. ", zebra = 1", "unknown field 'zebra'" },
    { ON .. ", 'x'", "a field without a name: 'x'" },
    { "", "field 'on' is missing (event type or glob -> handler(row, event); an exact type wins over a glob, a longer glob over a shorter)" },
    { "on = {}", "on is empty (name at least one event type, or \"*\")" },
    { "on = { t = 1 }", "on['t'] must be a function(row, event), not 1" },
    { "on = { print }", "on: 1 is no event type (write [\"type\"] = function(row, event) … end)" },
    { "on = 'x'", "field 'on' must be a table, not 'x'" },
    { ON .. ", version = '1'", "field 'version' must be an integer, not '1'" },
    { ON .. ", version = 0", "field 'version' is 0, and must be from 1 to 2147483647" },
    { ON .. ", version = 1.5", "field 'version' must be an integer, not 1.5" },
    { ON .. ", on_error = 'skipp'", "field 'on_error' is 'skipp', and must be one of stop, skip, park_key (did you mean 'skip'?)" },
    { ON .. ", budget = 1", "field 'budget' is 1, and must be from 1000 to 1000000000000 instructions" },
    { ON .. ", key = 'agregate_id'", "key 'agregate_id' is no path of the event (did you mean 'aggregate_id'?)" },
    { ON .. ", key = 'data'", "key 'data' must name a member (such as data.site)" },
    { ON .. ", key = 'data.'", "key 'data.' must name a member (such as data.site)" },
    { ON .. ", key = 'type.x'", "key 'type.x': 'type' has no members (only data and metadata have)" },
    { ON .. ", key = {}", "key is an empty list (name at least one path)" },
    { ON .. ", key = { 1 }", "key must be a path, a list of paths or a function, not a list with 1" },
    { ON .. ", key = 1", "field 'key' must be a string or a table or a function, not 1" },
    { ON .. ", key = { 'data.a', 'metadata.a' }", "two key columns are named 'a' (set key_column)" },
    { ON .. ", key = { 'type', 'id' }, key_column = 'x'", "key_column names 1 columns for a key of 2" },
    { ON .. ", key_column = 'n'", "a key column cannot be named 'n' (set key_column)" },
    { ON .. ", key_column = 'state'", "a key column cannot be named 'state' (set key_column)" },
    { ON .. ", columns = {}", "columns is empty (leave it out for a JSON document per key)" },
    { ON .. ", columns = { A = 'text' }", "column 'A': a name is lower-case letters, digits and _, and begins with a letter" },
    { ON .. ", columns = { position = 'text' }", "column 'position' is there already (the last event that changed the row)" },
    { ON .. ", columns = { xmin = 'text' }", "column 'xmin' is there already (PostgreSQL's own)" },
    { ON .. ", columns = { a = 1 }", "column 'a': a text such as \"bigint default 0\" is expected, not 1" },
    { ON .. ", columns = { a = 'bigin' }", "column 'a': unknown type 'bigin' (did you mean 'bigint'?)" },
    { ON .. ", columns = { a = 'varchar(10)' }", "column 'a': the type 'varchar(10)' is not available (use text)" },
    { ON .. ", columns = { a = 'numeric(10,2)' }", "column 'a': the type 'numeric(10,2)' is not available (use numeric)" },
    { ON .. ", columns = { a = 'timestamp' }", "column 'a': the type 'timestamp' is not available (use timestamptz)" },
    { ON .. ", columns = { a = 'timestamp without time zone' }", "column 'a': the type 'timestamp without time zone' is not available (use timestamptz)" },
    { ON .. ", columns = { a = 'real' }", "column 'a': the type 'real' is not available (use double precision)" },
    { ON .. ", columns = { a = 'json' }", "column 'a': the type 'json' is not available (use jsonb)" },
    { ON .. ", columns = { a = 'text[]' }", "column 'a': the type 'text[]' is not available (use jsonb)" },
    { ON .. ", columns = { a = 'serial' }", "column 'a': the type 'serial' is not available (use bigint)" },
    { ON .. ", columns = { a = 'bigint default' }", "column 'a': 'default' is not followed by a value" },
    { ON .. ", columns = { a = 'bigint default x' }", "column 'a': default x is not a bigint literal" },
    { ON .. ", columns = { a = 'text default now()' }", "column 'a': default now() is not a text literal" },
    { ON .. ", columns = { a = [[jsonb default '{']] }", "column 'a': default '{' is not a jsonb literal" },
    { ON .. ", columns = { a = 'bigint primary key' }", "column 'a': 'bigint primary key' has a constraint; only 'not null' and 'default' are known (use sql = true for more)" },
    { ON .. ", columns = { key = 'jsonb' }", "column 'key': a key cannot be of type jsonb" },
    { ON .. ", columns = { key = 'text default 1' }", "column 'key': default 1 is not a text literal" },
    { ON .. ", columns = { key = 'bigint default 1' }", "column 'key' is the key and can have no default" },
    { ON .. ", columns = { a = 'text' }, indexes = { 'b' }", "indexes: unknown column 'b' (did you mean 'a'?)" },
    { ON .. ", columns = { a = 'text' }, indexes = { a = 'a' }", "indexes is a list of columns, and has no field 'a'" },
    { ON .. ", columns = { a = 'text' }, indexes = { {} }", "indexes must be a list of columns, or of lists of columns" },
    { ON .. ", indexes = { 'state' }", "indexes: unknown column 'state'" },
    { ON .. ", tables = { x = 'a int' }", "field 'tables' needs sql = true (or say columns = { … })" },
    { ON .. ", sql = true, columns = { a = 'text' }", "field 'columns' does not go with sql = true (use tables)" },
    { ON .. ", sql = true, tables = { events = 'a int' }", "tables: 'events' cannot be a table's name" },
    { ON .. ", sql = true, tables = { x = '' }", "tables['x'] must be a text: what stands between the brackets of CREATE TABLE" },
  }
  for _, case in ipairs(wrong) do
    it("is refused: " .. case[1], function()
      assert.equal(case[2], problem(case[1]))
    end)
  end

  it("is refused where a default does not fit its column", function()
    for column, text in pairs { ["smallint default 40000"] = "out of range", ["date default 'now'"] = "date expected",
      ["uuid default 'x'"] = "uuid expected", ["timestamptz default 'soon'"] = "timestamptz expected", ["bigint default 1.5"] = "bigint expected" } do
      local _, err = script.open("p", ('projection "p" { on = { t = function() end }, columns = { a = [[%s]] } }'):format(column))
      assert.matches("^projections/p.lua: projection 'p': the default of column 'a': .*" .. text, err.message)
    end
  end)

  it("is refused under a name that is not its own or not free", function()
    for name, text in pairs { other = "the file's name is not the definition's %(rename the file to other.lua, or write projection \"p\"%)",
      events = "belongs to moonwake's own table", events_2026 = "own table", P = "lower%-case letters", ["1p"] = "lower%-case letters" } do
      local _, err = script.open("p", ('projection "%s" { on = { t = function() end } }'):format(name))
      assert.matches("^projections/p.lua:1: projection '" .. name .. "': .*" .. text, err.message)
    end
  end)

  it("is one per file", function()
    local _, err = script.open("p", 'projection "p" { on = { t = print } }\nprojection "p" { on = { t = print } }')
    assert.matches("^projections/p.lua:2: .*'p' is defined in this file already", err.message)
    _, err = script.open("p", "local x = 1")
    assert.matches("nothing is defined in it %(write projection \"name\"", err.message)
  end)

  it("names file and line of what Lua refuses", function()
    local _, err = script.open("p", "projection 'p' {\n  on = { t = function( end }\n}")
    assert.matches("^projections/p.lua:2: ", err.message)
    _, err = script.open("p", "\n\nprojektion 'p' {}")
    assert.matches("^projections/p.lua:3: unknown word 'projektion' %(did you mean 'projection'%?%)", err.message)
    _, err = script.open("p", "projection {}")
    assert.matches("^projections/p.lua:1: projection: a name is expected, not a table", err.message)
    _, err = script.open("missing", {})
    assert.equal("projections/missing.lua: No such file or directory", err.message)
  end)

  local function spec(fields)
    local s = script.define(fields)
    local text = script.text(s:definition().spec)
    s:close()
    return text
  end

  it("gives SQL its columns by name, with canonical types", function()
    assert.equal('{"columns":[{"default":0,"name":"a","not_null":true,"type":"bigint"},{"default":1.5,"name":"b","not_null":false,"type":"numeric"},'
      .. '{"name":"c","not_null":true,"type":"timestamptz"},{"default":{"x":[]},"name":"d","not_null":false,"type":"jsonb"},'
      .. '{"default":"it\'s","name":"e","not_null":true,"type":"text"}],"form":"columns","indexes":[["a"],["b","c"],["updated_at"]],'
      .. '"key":[{"name":"id","type":"uuid"}],"name":"p","tables":[],"version":3}', spec [[ version = 3, key_column = "id",
        columns = { id = "uuid", e = "TEXT  DEFAULT 'it''s' NOT NULL", d = "jsonb default '{\"x\":[]}'", c = "timestamp with time zone not null",
          b = "decimal default 1.50", a = "int8 not null default 0" },
        indexes = { "a", { "b", "c" }, "updated_at" }, on = { t = function() end } ]])
  end)

  it("gives SQL a document, and tables", function()
    assert.equal('{"columns":[],"form":"document","indexes":[],"key":[{"name":"aggregate_id","type":"text"},{"name":"site","type":"text"}],'
      .. '"name":"p","tables":[],"version":1}', spec 'key = { "aggregate_id", "data.site" }, on = { t = function() end }')
    assert.equal('{"columns":[],"form":"sql","indexes":[],"key":[],"name":"p","tables":[{"body":"a int","name":"q"}],"version":1}',
      spec 'sql = true, tables = { q = "a int" }, on = { t = function() end }')
  end)

  it("tells the program its types, version and on_error", function()
    local s = script.define 'version = 7, on_error = "park_key", on = { b = function() end, ["a.*"] = function() end }'
    local def = s:definition()
    local types = { script.text(def.types[0]), script.text(def.types[1]) }

    assert.same({ { "a.*", "b" }, 7, 2, 2, false }, { types, def.version, tonumber(def.ntypes), tonumber(def.on_error), def.sql })
    s:close()
  end)
end)

describe("the prelude's data", function()
  package.path = "runtime/?.lua;" .. package.path
  local api, nearest = require "prelude.api", require "prelude.nearest"

  it("describes every word, field and event field", function()
    for _, word in ipairs(api.words) do
      assert.is_string(word.doc, word.name)
    end
    for name, field in pairs(api.definitions.projection.fields) do
      assert.is_true(#field.doc > 0 and field.since ~= nil, name)
    end
    for _, field in ipairs(api.event) do
      assert.is_string(field.doc, field.name)
    end
  end)

  it("knows the word that was meant, and is silent where none is near", function()
    assert.equal(" (did you mean 'columns'?)", nearest("colunms", { "on", "columns", "key" }))
    assert.equal(" (did you mean 'key'?)", nearest("kye", { "on", "columns", "key" }))
    assert.equal("", nearest("weather", { "on", "columns", "key" }))
    assert.equal("", nearest(12, { "on" }))
  end)
end)
