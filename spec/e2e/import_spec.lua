local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local DATA = "../shared/data"

local MAP = [[
return function(record)
  if record.skip then
    return nil
  end
  return { event_type = "row." .. record.kind, aggregate_type = "row", aggregate_id = record.id, data = record }
end
]]

describe("import", function()
  local server = pg.shared()
  local dsn, name, dir

  before_each(function()
    dsn, name = moonwake.database(server)
    dir = files.dir()
  end)

  after_each(files.clean)

  local function write(file, text)
    return files.write(dir .. "/" .. file, text)
  end

  local function import(...)
    return moonwake.run({ "import", "--json", ... }, { db = dsn })
  end

  --- The summary's numbers: records, appended, existing, skipped, rejected.
  local function figures(r)
    return { r.out:match('"records":(%d+),"appended":(%d+),"existing":(%d+),"skipped":(%d+),"rejected":(%d+)') }
  end

  local function query(sql)
    return server:query(sql, { db = name })
  end

  local function ask(sql)
    return (server:psql(sql, { db = name }))
  end

  local function event(n, more)
    return ('{"event_type":"a.b","aggregate_type":"x","aggregate_id":"%s"%s}\n'):format(n, more or "")
  end

  describe("of NDJSON", function()
    it("appends each line once, however often the file is imported", function()
      local lines = {}
      for i = 1, 1100 do
        lines[i] = event(i % 50, (',"data":{"n":%d}'):format(i))
      end
      local path = write("e.ndjson", table.concat(lines))

      local first, second = import(path), import(path)

      assert.same({ "1100", "1100", "0", "0", "0" }, figures(first))
      assert.same({ "1100", "0", "1100", "0", "0" }, figures(second))
      assert.same({ 0, 0 }, { first.code, second.code })
      assert.equal("1100", ask("SELECT count(DISTINCT data->>'n') FROM moonwake.events"))
      assert.equal("t", ask("SELECT array_agg((data->>'n')::int ORDER BY id) = ARRAY(SELECT generate_series(1, 1100)) "
        .. "FROM moonwake.events"))
    end)

    it("takes equal records as two, and again as the same two", function()
      local path = write("e.ndjson", event(1) .. event(1) .. event(2))

      assert.same({ "3", "3", "0", "0", "0" }, figures(import(path)))
      assert.same({ "3", "0", "3", "0", "0" }, figures(import(path)))
    end)

    it("goes on where a longer file has new lines", function()
      local path = write("e.ndjson", event(1) .. event(2))
      import(path)
      write("e.ndjson", event(1) .. event(2) .. event(1) .. event(3))

      assert.same({ "4", "2", "2", "0", "0" }, figures(import(path)))
    end)

    it("keeps an event_id that is given, and derives one where it is null", function()
      local id = "6f0c8a52-30a5-4d7e-9f3e-0d8f3e2b7a11"
      import(write("e.ndjson", event(1, (',"event_id":"%s"'):format(id)) .. event(2, ',"event_id":null')))

      assert.equal(id, ask("SELECT event_id FROM moonwake.events WHERE aggregate_id = '1'"))
      assert.equal("1", ask("SELECT count(*) FROM moonwake.event_ids WHERE event_id <> '" .. id .. "'"))
    end)

    it("reads gzip by its bytes, also several members in a row", function()
      local a, b = write("a", event(1)), write("b", event(2))
      files.gzip(a)
      files.gzip(b)
      write("both", files.read(a .. ".gz") .. files.read(b .. ".gz"))

      assert.same({ "2", "2", "0", "0", "0" }, figures(import(dir .. "/both")))
    end)

    it("says where a damaged or cut gzip file breaks, and keeps what came before", function()
      local lines = {}
      for i = 1, 20000 do
        lines[i] = event(i * 7919 % 100003)
      end
      local whole = files.read(files.gzip(write("e", table.concat(lines))))
      local cut = import(write("cut.gz", whole:sub(1, #whole / 2)))
      local damaged = import(write("bad.gz", whole:sub(1, #whole / 2) .. ("\0"):rep(64) .. whole:sub(#whole / 2 + 65)))

      assert.same({ 1, 1 }, { cut.code, damaged.code })
      assert.matches("cut.gz: the gzip data ends too soon after line %d+ %(", cut.err)
      assert.matches("bad.gz: the gzip data is damaged after line %d+ %(", damaged.err)
      assert.is_true(tonumber(ask("SELECT count(*) FROM moonwake.events")) > 1000)
    end)

    it("keeps bad lines in a reject file with number, reason and text", function()
      local path = write("e.ndjson", event(1) .. "not json\n" .. event(2, ',"no":1') .. "\255\254\n" .. event("\0")
        .. "[]\n" .. event(3))

      local r = import(path)

      assert.equal(1, r.code)
      assert.same({ "7", "2", "0", "0", "5" }, figures(r))
      local rejects = files.read(path .. ".rejects.ndjson")
      local db = { db = name }
      server:psql("CREATE TABLE rejects (j jsonb)", db)
      local n = 0
      for _, line in ipairs(files.lines(rejects)) do
        if not line:find("\\u0000", 1, true) then
          n = n + 1
          server:psql(("INSERT INTO rejects VALUES ($r$%s$r$)"):format(line), db)
        end
      end
      assert.equal(4, n)
      assert.equal("2,3,4,6", ask("SELECT string_agg(j->>'line', ',' ORDER BY (j->>'line')::int) FROM rejects"))
      assert.equal("not json", ask("SELECT j->>'raw' FROM rejects WHERE j->>'line' = '2'"))
      assert.matches("^unknown field 'no'", ask("SELECT j->>'error' FROM rejects WHERE j->>'line' = '3'"))
      assert.equal("fffe", ask("SELECT encode(decode(j->>'raw_base64', 'base64'), 'hex') FROM rejects WHERE j->>'line' = '4'"))
      assert.matches("e%.ndjson:2: invalid JSON", r.err)
    end)

    it("makes no reject file where nothing was rejected, and another where it is told", function()
      local path = write("e.ndjson", event(1))
      import(path)
      assert.falsy(files.exists(path .. ".rejects.ndjson"))

      import("--rejects", dir .. "/mine", write("f.ndjson", "{}\n"))
      assert.matches('^{"line":1,"error":"event_type: is missing"', files.read(dir .. "/mine"))
      assert.falsy(files.exists(dir .. "/f.ndjson.rejects.ndjson"))
    end)

    it("shows some rejected lines and counts all", function()
      local path = write("e.ndjson", ("oops\n"):rep(500))

      local r = import(path)

      assert.same({ "500", "0", "0", "0", "500" }, figures(r))
      assert.equal(21, #files.lines(r.err))
      assert.equal(500, #files.lines(files.read(path .. ".rejects.ndjson")))
    end)

    it("stops when rejected lines cannot be kept", function()
      local r = import("--rejects", dir .. "/no/such/folder", write("e.ndjson", "oops\n" .. event(1)))

      assert.equal(1, r.code)
      assert.matches("/no/such/folder: No such file or directory %(", r.err)
    end)

    it("passes over a line of 1 GB in bounded memory", function()
      local command = ("%s; (printf '%s'; head -c 1000000000 /dev/zero | tr '\\0' x; echo; printf '%s') | "
        .. "%s import --json --rejects %s/r -"):format(moonwake.limit_memory(700000), event(1):gsub("\n", "\\n"), event(2):gsub("\n", "\\n"), moonwake.bin, dir)

      local r = moonwake.run({ "-c", command }, { program = "/bin/bash", db = dsn, timeout = 100 })

      assert.same({ "3", "2", "0", "0", "1" }, figures(r))
      assert.matches('^{"line":2,"error":"the line is longer than 16 MB","raw":"xxxx', files.read(dir .. "/r"))
      assert.is_true(#files.read(dir .. "/r") < 8192)
    end)

    it("says what is wrong with the file itself", function()
      local missing, folder = import(dir .. "/none"), import(dir)

      assert.equal(("moonwake: %s/none: No such file or directory\n"):format(dir), missing.err)
      assert.equal(("moonwake: %s: is a folder (name a file)\n"):format(dir), folder.err)
      assert.same({ 1, 1 }, { missing.code, folder.code })
    end)

    it("prints the events of a dry run and appends none", function()
      local r = moonwake.run({ "import", "--dry-run", write("e.ndjson", event(1) .. event(2)) })

      assert.equal(0, r.code)
      assert.equal(2, #files.lines(r.out))
      assert.matches('^{"event_type":"a.b".*,"event_id":"[%x-]+"}\n', r.out)
    end)

    it("stops at a signal, says where, and goes on with the same command", function()
      local lines = {}
      for i = 1, 60000 do
        lines[i] = event(i % 1000, (',"data":{"n":%d}'):format(i))
      end
      local path = write("e.ndjson", table.concat(lines))
      local process = moonwake.spawn({ "import", path }, { db = dsn })
      pg.eventually(function() return ask("SELECT count(*) > 0 FROM moonwake.events") == "t" end, 20, "the first batch")

      process:signal("INT")

      assert.equal(1, process:wait(20))
      assert.matches("stopped behind line %d+ %(the same command goes on from there%)", process:err())
      local line = tonumber(process:err():match("behind line (%d+)"))
      assert.equal(tostring(line), ask("SELECT count(*) FROM moonwake.events"))
      assert.is_true(line < 60000)
      assert.same({ "60000", tostring(60000 - line), tostring(line), "0", "0" }, figures(import(path)))
    end)

    it("waits for a server that is restarted meanwhile", function()
      local own = pg.start()
      finally(function() own:stop() end)
      own:createdb("t")
      moonwake.must({ "migrate" }, { db = own.dsn("t") })
      local lines = {}
      for i = 1, 40000 do
        lines[i] = event(i % 1000, (',"data":{"n":%d}'):format(i))
      end
      local process = moonwake.spawn({ "import", "--json", write("e.ndjson", table.concat(lines)) }, { db = own.dsn("t") })
      local function done() return tonumber((own:psql("SELECT count(*) FROM moonwake.events", { db = "t" }))) end
      pg.eventually(function() return done() > 0 end, 20, "the first batch")

      own:restart("immediate")
      local between = done()

      assert.equal(0, process:wait(60))
      assert.is_true(between < 40000)
      assert.equal(40000, done())
      assert.equal("t", own:psql("SELECT array_agg((data->>'n')::int ORDER BY id) = ARRAY(SELECT generate_series(1, 40000)) "
        .. "FROM moonwake.events", { db = "t" }))
    end)
  end)

  describe("with a map", function()
    it("makes the events that the script returns, and skips nil", function()
      local path = write("r.ndjson", '{"id":"1","kind":"a"}\n{"skip":true}\n{"id":"2","kind":"b"}\n')

      local r = import("--map", write("map.lua", MAP), path)

      assert.same({ "3", "2", "0", "1", "0" }, figures(r))
      assert.same({ { "row.a", "1", '{"id": "1", "kind": "a"}' }, { "row.b", "2", '{"id": "2", "kind": "b"}' } },
        query("SELECT event_type, aggregate_id, data FROM moonwake.events ORDER BY id"))
    end)

    it("rejects a record that the script fails on, with file and line", function()
      local path = write("r.ndjson", '{"id":"1","kind":"a"}\n{"id":"2"}\n')

      local r = import("--map", write("map.lua", MAP), path)

      assert.equal(1, r.code)
      assert.same({ "2", "1", "0", "0", "1" }, figures(r))
      assert.matches("r%.ndjson:2: .*map%.lua:5: ", r.err)
    end)

    it("refuses a script that cannot be loaded", function()
      local r = import("--map", write("map.lua", "return 7"), write("r.ndjson", "{}\n"))

      assert.equal(1, r.code)
      assert.matches("^moonwake: map.lua: a mapping script returns a function", r.err)
    end)

    it("finds the script from the workspace and from the current folder", function()
      write("ws/maps/m.lua", MAP)
      write("m2.lua", MAP)
      local path = write("r.ndjson", '{"id":"1","kind":"a"}\n')

      local inside = moonwake.run({ "-C", dir .. "/ws", "import", "--map", "maps/m.lua", path }, { db = dsn })
      local beside = moonwake.run({ "-C", dir .. "/ws", "import", "--map", "m2.lua", path }, { db = dsn, cwd = dir })

      assert.same({ 0, 0 }, { inside.code, beside.code })
    end)

    it("gives a script from elsewhere the modules of its own workspace", function()
      write("ws/scripts/lib/kinds.lua", "return { x = 'from the module' }")
      local map = write("ws/scripts/import/m.lua", [[local kinds = require "kinds"
        return function() return { event_type = "t", aggregate_type = "a", aggregate_id = kinds.x } end]])

      local r = import("--map", map, write("r.ndjson", "{}\n"))

      assert.equal(0, r.code, r.err)
      assert.equal("from the module", ask("SELECT aggregate_id FROM moonwake.events"))
    end)

    it("says which script is not there", function()
      local r = import("--map", "no/such.lua", write("r.ndjson", "{}\n"))

      assert.equal(2, r.code)
      assert.equal("moonwake: no/such.lua: No such file or directory (--map names a Lua script)\n", r.err)
    end)
  end)

  describe("of CSV", function()
    local function import_csv(text, ...)
      return import("--map", write("map.lua", MAP), write("t.csv", text), ...)
    end

    local function rows()
      return query("SELECT data->>'id', data->>'note' FROM moonwake.events ORDER BY id")
    end

    it("makes a record of each row by the names in the first", function()
      local r = import_csv("id,kind,note\n1,a,x\r\n2,b, y \n\n3,c,\n")

      assert.same({ "3", "3", "0", "0", "0" }, figures(r))
      assert.same({ { "1", "x" }, { "2", " y " }, { "3", "" } }, rows())
    end)

    it("reads quoted fields with delimiters, quotes and newlines", function()
      local r = import_csv('id,kind,note\n1,a,"x,""y"",\nz"\n2,b,"\n\n"\n3,c,last')

      assert.equal(0, r.code)
      assert.same({ { "1", 'x,"y",\nz' }, { "2", "\n\n" }, { "3", "last" } }, rows())
    end)

    it("rejects a row with another number of fields, with its line", function()
      local r = import_csv('id,kind,note\n1,a,"two\nlines"\n2,b\n3,c,x,y\n4,d,ok\n')

      assert.equal(1, r.code)
      assert.same({ "4", "2", "0", "0", "2" }, figures(r))
      assert.matches("t%.csv:4: 2 fields where the first row has 3", r.err)
      assert.matches("t%.csv:5: 4 fields where the first row has 3", r.err)
      assert.matches('"line":4,"error":"[^"]+","raw":"2,b"', files.read(dir .. "/t.csv.rejects.ndjson"))
    end)

    it("loses one line only to a quote that is never closed, or stands where none may", function()
      local r = import_csv('id,kind,note\n1,a,"never closed\n2,b,x\n3,c,q"q\n4,d,y\n')

      assert.same({ "4", "2", "0", "0", "2" }, figures(r))
      assert.same({ { "2", "x" }, { "4", "y" } }, rows())
      assert.matches("t%.csv:2: ", r.err)
      assert.matches("t%.csv:4: ", r.err)
    end)

    it("rejects bytes that are no UTF-8 and keeps them", function()
      local r = import_csv("id,kind,note\n1,a,caf\233\n2,b,x\n")

      assert.same({ "2", "1", "0", "0", "1" }, figures(r))
      assert.matches('t%.csv:2: column "note":', r.err)
      assert.matches('"raw_base64":"MSxhLGNhZuk="', files.read(dir .. "/t.csv.rejects.ndjson"))
    end)

    it("takes other delimiters, and tabs in .tsv", function()
      assert.equal(0, import_csv("id;kind;note\n1;a;x,y\n", "--delimiter", ";").code)
      assert.equal(0, import("--map", dir .. "/map.lua", write("t.tsv", "id\tkind\tnote\n2\tb\tz\n")).code)
      assert.same({ { "1", "x,y" }, { "2", "z" } }, rows())
    end)

    it("refuses a head with one name twice, an empty file, and a CSV without a map", function()
      assert.matches("csv: first row: column 3: the name is taken", import_csv("id,kind,id\n1,a,x\n").err)
      assert.matches("csv: the file is empty", import_csv("").err)
      local r = import(dir .. "/t.csv", "--format", "csv")
      assert.equal(1, r.code)
      write("t.csv", "a,b\n1,2\n")
      r = import(dir .. "/t.csv")
      assert.equal(2, r.code)
      assert.matches("a CSV file needs %-%-map FILE.lua", r.err)
    end)
  end)

  describe("of CloudEvents", function()
    local FULL = [[{ "specversion": "1.0", "id": "A-1", "source": "/fleet", "type": "device.seen", "subject": "dev-1",
      "time": "2018-04-05T17:31:00.25+02:00", "datacontenttype": "application/json", "correlationid": "c-9",
      "partitionkey": "p", "sampledrate": 5, "secure": true, "data": { "n": [] } }]]

    it("maps the attributes", function()
      assert.equal(0, import(write("e.json", FULL)).code)

      assert.equal("t", ask([[SELECT event_type = 'device.seen' AND source = '/fleet' AND aggregate_type = 'cloudevent'
        AND aggregate_id = 'dev-1' AND occurred_at = '2018-04-05T15:31:00.25Z' AND correlation_id = 'c-9'
        AND data = '{"n":[]}' AND metadata = '{"specversion":"1.0","id":"A-1","datacontenttype":"application/json",
          "partitionkey":"p","sampledrate":5,"secure":true}' FROM moonwake.events]]))
    end)

    it("takes one, a batch in any layout, and one a line, as the same events", function()
      local line = FULL:gsub("\n", " ")
      local other = line:gsub("A%-1", "A-2")
      import(write("one.json", FULL))

      assert.same({ "2", "1", "1", "0", "0" }, figures(import(write("batch.json", "[\n" .. FULL .. "\n,\n" .. other .. "\n]\n"))))
      assert.same({ "2", "0", "2", "0", "0" }, figures(import(write("tight.json", "[" .. line .. "," .. other .. "]"))))
      assert.same({ "2", "0", "2", "0", "0" }, figures(import(write("lines", line .. "\n" .. other .. "\n"))))
      assert.same({ "0", "0", "0", "0", "0" }, figures(import("--format", "cloudevents", write("none.json", "[]"))))
    end)

    it("uses the source where there is no subject, and keeps data_base64", function()
      import("--aggregate-type", "sensor",
        write("e.json", '{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":"AAEC"}'))

      assert.same({ { "sensor", "/s", '{"data_base64": "AAEC"}' } },
        query("SELECT aggregate_type, aggregate_id, data FROM moonwake.events"))
    end)

    it("refuses what the specification does not allow", function()
      local BASE = { specversion = '"1.0"', id = '"1"', source = '"/s"', type = '"t"' }
      local cases = {
        { { specversion = '"0.3"' }, 'specversion "0.3" is not "1.0"' },
        { { id = '""' }, "'id' is not a string with something in it" },
        { { id = "7" }, "'id' is not a string" },
        { { source = "null" }, "'source' is missing" },
        { { time = '"yesterday"' }, "is not a time of RFC 3339" },
        { { ext = "4247483647" }, "'ext' is no string, boolean or integer of 32 bits" },
        { { ext = "1.5" }, "'ext' is no string, boolean or integer" },
        { { ext = "{}" }, "'ext' is no string, boolean or integer" },
        { { ["a-b"] = "1" }, "other characters than letters and digits" },
        { { data = "1", data_base64 = '"AA=="' }, "both 'data' and 'data_base64'" },
      }
      for i, case in ipairs(cases) do
        local members = {}
        for key, value in pairs(BASE) do
          members[key] = value
        end
        for key, value in pairs(case[1]) do
          members[key] = value
        end
        local text = {}
        for key, value in pairs(members) do
          text[#text + 1] = ('"%s":%s'):format(key, value)
        end
        local r = import("--format", "cloudevents", write(i .. ".json", "{" .. table.concat(text, ",") .. "}"))
        assert.equal(1, r.code)
        assert.truthy(r.err:find(case[2], 1, true), case[2] .. " in " .. r.err)
      end
      assert.equal("0", ask("SELECT count(*) FROM moonwake.events"))
    end)

    it("loses one event only to a wrong one in a batch, and says where an open one begins", function()
      local good = '{"specversion":"1.0","id":"%d","source":"/s","type":"t"}'
      local r = import(write("b.json", "[" .. good:format(1) .. ',\n{"specversion" "1.0"},\n7,\n' .. good:format(2) .. ",\n{\"a\":"))

      assert.same({ "5", "2", "0", "0", "3" }, figures(r))
      for _, line in ipairs { 2, 3, 5 } do
        assert.matches(("b%%.json:%d: "):format(line), r.err)
      end
    end)

    it("takes the specification's own examples and the Java SDK's files", function()
      local taken, refused = 0, 0
      for _, path in ipairs(files.lines(files.command("ls " .. DATA .. "/cloudevents/sdk-java-json/v1/*.json"))) do
        local r = import("--dry-run", "--rejects", dir .. "/r", path)
        local fails = path:find("fail_", 1, true) ~= nil
        assert.equal(fails and 1 or 0, r.code, path .. r.err)
        refused = refused + (fails and 1 or 0)
        taken = taken + (fails and 0 or 1)
      end
      assert.is_true(taken >= 8 and refused >= 1)

      local whole = {}
      for line in io.lines(DATA .. "/cloudevents/spec-json-examples.ndjson") do
        if line:find('"valid_json": true, "cloudevent": true', 1, true) then
          whole[#whole + 1] = line
        end
      end
      write("examples.map.lua", [[return function(r)
        local e = json.decode(r.text)
        return { event_type = e.type, aggregate_type = "x", aggregate_id = e.id, data = e } end]])
      server:psql("CREATE TABLE examples (j jsonb)", { db = name })
      local batch = {}
      for _, line in ipairs(whole) do
        server:psql(("INSERT INTO examples SELECT ($x$%s$x$::jsonb->>'text')::jsonb"):format(line), { db = name })
        batch[#batch + 1] = ask("SELECT j FROM examples OFFSET " .. #batch)
      end
      assert.same({ tostring(#whole), tostring(#whole), "0", "0", "0" },
        figures(import(write("examples.json", "[" .. table.concat(batch, ",\n") .. "]"))))
      assert.equal("0", ask([[SELECT count(*) FROM examples x WHERE NOT EXISTS (SELECT FROM moonwake.events e
        WHERE e.event_type = x.j->>'type' AND e.source = x.j->>'source' AND e.metadata->>'id' = x.j->>'id'
          AND (x.j->'data' IS NULL OR e.data = x.j->'data'))]]))
    end)
  end)
end)
