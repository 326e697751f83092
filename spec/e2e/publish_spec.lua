local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local GOOD = '{"event_type":"a.b","aggregate_type":"x","aggregate_id":"%d"}'

describe("publish", function()
  local server = pg.shared()
  local dsn, name

  before_each(function()
    dsn, name = moonwake.database(server)
  end)

  after_each(files.clean)

  local function count()
    return tonumber((server:psql("SELECT count(*) FROM moonwake.events", { db = name })))
  end

  local function refused(args, opts)
    opts = opts or {}
    opts.db = dsn
    local r = moonwake.run(args, opts)
    assert.equal(1, r.code)
    return r.err
  end

  it("appends one event from words and says which", function()
    local out = moonwake.must({ "publish", "device.online", "device", "dev-1", '{"ip":"10.0.0.7","n":1.10}' },
      { db = dsn })

    local row = server:query("SELECT id, event_id, event_type, aggregate_type, aggregate_id, version, data "
      .. "FROM moonwake.events", { db = name })[1]
    assert.equal(("event %s (event_id %s, version 1)\n"):format(row[1], row[2]), out)
    assert.same({ "device.online", "device", "dev-1", "1", '{"n": 1.10, "ip": "10.0.0.7"}' },
      { row[3], row[4], row[5], row[6], row[7] })
  end)

  it("hands every option to the event", function()
    local id = "6f0c8a52-30a5-4d7e-9f3e-0d8f3e2b7a11"
    moonwake.must({ "publish", "a.b", "x", "1", "--event-id", id, "--expected-version", "0", "--correlation", "c-1",
      "--causation", id, "--source", "spec", "--occurred-at", "2020-01-02T03:04:05Z", "--metadata", '{"m":1}',
      "--actor-type", "user", "--actor-id", "u-1", "--severity", "high", "--impact", "low", "--schema-version", "3" },
      { db = dsn })

    local row = server:query("SELECT event_id, correlation_id, causation_id, source, extract(epoch FROM occurred_at)::int, "
      .. "metadata, actor_type, actor_id, severity, impact, schema_version FROM moonwake.events", { db = name })[1]
    assert.same({ id, "c-1", id, "spec", "1577934245", '{"m": 1}', "user", "u-1", "high", "low", "3" }, row)
  end)

  it("appends nothing when the event_id is there already", function()
    local args = { "publish", "a.b", "x", "1", "--event-id", "6f0c8a52-30a5-4d7e-9f3e-0d8f3e2b7a11" }
    moonwake.must(args, { db = dsn })

    local out = moonwake.must(args, { db = dsn })

    assert.matches("^already there: event %d+ ", out)
    assert.equal(1, count())
  end)

  it("refuses another version than expected, with what to do", function()
    local err = refused { "publish", "a.b", "x", "1", "--expected-version", "5" }

    assert.equal("moonwake: publish: expected_version: x 1 has version 0, not 5 (read the aggregate again and decide anew)\n",
      err)
    assert.equal(0, count())
  end)

  it("refuses words that are no event", function()
    local long = ("x"):rep(9000)
    assert.equal("moonwake: publish: event_type: 9000 bytes are too many (at most 200)\n",
      refused { "publish", long, "x", "1" })
    assert.matches("^moonwake: publish: data: invalid JSON at line 1, column 7", refused { "publish", "a", "x", "1", '{"a": }' })
    assert.matches("^moonwake: publish: aggregate_id: .*UTF%-8", refused { "publish", "a", "x", "\255" })
    assert.matches("^moonwake: publish: event_id: .* is not a uuid",
      refused { "publish", "a", "x", "1", "--event-id", "seven" })
    assert.equal(0, count())
  end)

  it("needs three words", function()
    local r = moonwake.run({ "publish", "a", "b" }, { db = dsn })

    assert.equal(2, r.code)
    assert.matches("^moonwake: publish: needs TYPE AGGREGATE_TYPE AGGREGATE_ID", r.err)
  end)

  it("appends lines in their order, over several batches", function()
    local lines = {}
    for i = 1, 1203 do
      lines[i] = ('{"event_type":"a.b","aggregate_type":"x","aggregate_id":"%d","data":{"n":%d}}'):format(i % 7, i)
    end

    local out = moonwake.must({ "publish", "-" }, { db = dsn, stdin = table.concat(lines, "\n") })

    assert.equal("published 1,203 events, 0 already there, 0 refused\n", out)
    assert.equal("t", server:psql("SELECT array_agg((data->>'n')::int ORDER BY id) = "
      .. "ARRAY(SELECT generate_series(1, 1203)) FROM moonwake.events", { db = name }))
  end)

  it("reports what is refused with its line and goes on", function()
    local stdin = table.concat({
      GOOD:format(1), "not json", "", '{"event_type":"","aggregate_type":"x","aggregate_id":"1"}', "[1]",
      '{"event_typ":"a","aggregate_type":"x","aggregate_id":"1"}',
      '{"event_type":"a","aggregate_type":"x","aggregate_id":"1","data":"\\u0000"}',
      '{"event_type":"a\0b","aggregate_type":"x","aggregate_id":"1"}',
      ('{"event_type":"%s","aggregate_type":"x","aggregate_id":"1"}'):format(("t"):rep(9000)),
      '{"event_type":"a","aggregate_type":"x","aggregate_id":"\255"}',
      GOOD:format(2),
    }, "\n")

    local r = moonwake.run({ "publish", "-" }, { db = dsn, stdin = stdin })

    assert.equal(1, r.code)
    assert.equal("published 2 events, 0 already there, 8 refused\n", r.out)
    for _, line in ipairs { 2, 4, 5, 6, 7, 8, 9, 10 } do
      assert.matches(("moonwake: stdin:%d: %%l"):format(line), r.err)
    end
    assert.matches("stdin:6: unknown field 'event_typ' %(did you mean 'event_type'%?%)", r.err)
    assert.matches("stdin:9: event_type: 9000 bytes are too many", r.err)
    assert.equal(2, count())
  end)

  it("finds each of many bad events in one batch", function()
    local lines, bad = {}, 0
    for i = 1, 400 do
      local fails = i % 3 == 0
      bad = bad + (fails and 1 or 0)
      lines[i] = ('{"event_type":"%s","aggregate_type":"x","aggregate_id":"%d"}'):format(fails and "" or "a", i)
    end

    local r = moonwake.run({ "publish", "-" }, { db = dsn, stdin = table.concat(lines, "\n") })

    assert.equal(1, r.code)
    assert.equal(400 - bad, count())
    assert.equal("t", server:psql("SELECT bool_and(aggregate_id::int % 3 <> 0) FROM moonwake.events", { db = name }))
    for line in r.err:gmatch("stdin:(%d+):") do
      assert.equal(0, tonumber(line) % 3)
      bad = bad - 1
    end
    assert.equal(0, bad)
  end)

  it("appends all or nothing with --atomic", function()
    local with_bad = GOOD:format(1) .. "\n{}\n" .. GOOD:format(2)

    local r = moonwake.run({ "publish", "--atomic", "-" }, { db = dsn, stdin = with_bad })

    assert.equal(1, r.code)
    assert.matches("moonwake: stdin:2: ", r.err)
    assert.matches("nothing was appended", r.out)
    assert.equal(0, count())
    moonwake.must({ "publish", "--atomic", "-" }, { db = dsn, stdin = GOOD:format(1) .. "\n" .. GOOD:format(2) })
    assert.equal(2, count())
  end)

  it("takes nothing with --atomic when a line is no JSON", function()
    local r = moonwake.run({ "publish", "--atomic", "-" }, { db = dsn, stdin = GOOD:format(1) .. "\n{oops" })

    assert.equal(1, r.code)
    assert.equal(0, count())
  end)

  it("speaks JSON, one object an event", function()
    local lines = files.lines(moonwake.must({ "publish", "--json", "-" },
      { db = dsn, stdin = GOOD:format(1) .. "\n\n" .. GOOD:format(1) }))

    assert.equal(2, #lines)
    assert.matches('^{"line":1,"id":%d+,"event_id":"[%x-]+","version":1,"appended":true}$', lines[1])
    assert.matches('^{"line":3,"id":%d+,"event_id":"[%x-]+","version":2,"appended":true}$', lines[2])
  end)

  it("reads gzip, byte order marks and Windows line ends", function()
    local path = files.write(files.dir() .. "/in", "\239\187\191" .. GOOD:format(1) .. "\r\n" .. GOOD:format(2) .. "\r\n")

    moonwake.must({ "publish", "-" }, { db = dsn, stdin = files.read(files.gzip(path)) })

    assert.equal(2, count())
  end)

  it("passes over a line of 1 GB in bounded memory", function()
    local pipe = ("(printf '%%s\\n' '%s'; head -c 1000000000 /dev/zero | tr '\\0' x; printf '\\n%%s\\n' '%s')")
      :format(GOOD:format(1), GOOD:format(2))
    local r = moonwake.run({ "-c", ("%s; %s | %s publish -"):format(moonwake.limit_memory(700000), pipe, moonwake.bin) },
      { program = "/bin/bash", db = dsn, timeout = 100 })

    assert.equal(1, r.code)
    assert.equal("moonwake: stdin:2: the line is longer than 16 MB\n", r.err)
    assert.equal("published 2 events, 0 already there, 1 refused\n", r.out)
  end)

  it("does not let a slow writer's events wait for a full batch", function()
    local dir = files.dir()
    os.execute("mkfifo " .. dir .. "/fifo")
    os.execute(("(printf '%%s\\n' '%s'; while [ ! -e %s/go ]; do sleep 0.05; done; printf '%%s\\n' '%s') >%s/fifo 2>/dev/null &")
      :format(GOOD:format(1), dir, GOOD:format(2), dir))

    local process = moonwake.spawn({ "publish", "-" }, { db = dsn, fifo = dir .. "/fifo" })
    pg.eventually(function() return count() == 1 end, 10, "the first event while the pipe is open")
    files.write(dir .. "/go", "")

    assert.equal(0, process:wait())
    assert.equal(2, count())
  end)

  it("publishes as a role that may do nothing else", function()
    server:psql("DROP ROLE IF EXISTS spec_publisher; CREATE ROLE spec_publisher LOGIN; "
      .. "GRANT moonwake_publish TO spec_publisher", { db = name })

    moonwake.must({ "publish", "a", "x", "1" }, { db = server.dsn(name, "spec_publisher") })

    assert.equal(1, count())
  end)

  it("says so when the role has no rights", function()
    server:psql("DROP ROLE IF EXISTS spec_stranger; CREATE ROLE spec_stranger LOGIN", { db = name })

    local r = moonwake.run({ "publish", "a", "x", "1" }, { db = server.dsn(name, "spec_stranger") })

    assert.equal(1, r.code)
    assert.equal("moonwake: schema: role spec_stranger may not use moonwake "
      .. "(grant it one of moonwake_run, moonwake_publish, moonwake_read)\n", r.err)
  end)
end)
