local bench_of = require "spec.support.bench_of"
local pg = require "spec.support.pg"

--- Every event of every aggregate once: what SQL counts, against what the projection counted.
local SAME = [[SELECT coalesce((SELECT string_agg(aggregate_id || ':' || n, ',' ORDER BY aggregate_id)
    FROM (SELECT aggregate_id, count(*) n FROM moonwake.events GROUP BY 1) e), '')
  = coalesce((SELECT string_agg(key || ':' || events, ',' ORDER BY key) FROM moonwake.counter), '')]]

local function owner(bench)
  return bench:psql("SELECT daemon FROM moonwake.consumers WHERE consumer = 'counter'"):match(":(%d+)")
end

describe("two daemons on one database", function()
  it("work on a consumer in one of them only", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:daemon()
    bench:daemon()
    for _ = 1, 20 do
      bench:publish_many(50)
    end

    bench:eventually(SAME, "t")
    assert.equal("1", bench:psql("SELECT count(*) FROM moonwake.consumer_groups"))
  end)

  it("one takes over at once when the other is killed", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    local first = bench:daemon { "--takeover-after", "60" }
    bench:publish_many(100)
    bench:eventually(SAME, "t")
    local second = bench:daemon { "--takeover-after", "60" }
    pg.sleep(0.5)
    assert.equal(tostring(first.pid), owner(bench))

    first:signal("KILL")
    first:wait()
    bench:publish_many(100)
    bench:eventually(SAME, "t", 10)
    assert.equal(tostring(second.pid), owner(bench))
  end)

  it("one takes over from a stopped one, which commits nothing when it goes on", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    local first = bench:daemon { "--takeover-after", "2" }
    bench:publish_many(100)
    bench:eventually(SAME, "t")
    local second = bench:daemon { "--takeover-after", "2" }
    pg.sleep(0.5)
    first:signal("STOP")
    bench:publish_many(100)

    bench:eventually(SAME, "t", 30)
    assert.equal(tostring(second.pid), owner(bench))
    first:signal("CONT")
    bench:publish_many(100)
    bench:eventually(SAME, "t")
    pg.sleep(1)
    assert.equal(tostring(second.pid), owner(bench))
    assert.equal("t", bench:psql(SAME))
  end)

  it("a commit that was stopped on its way is fenced off", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    bench:publish_many(100)
    local first = bench:daemon { "--takeover-after", "2" }
    bench:eventually(SAME, "t")
    -- The group is dissolved under the daemon, as a takeover does it; its next commit finds no row.
    bench:psql("SELECT moonwake.dissolve_groups(array_agg(group_id)) FROM moonwake.consumer_groups")
    bench:publish_many(100)

    bench:eventually(SAME, "t")
    assert.is_nil(first:code())
  end)
end)
