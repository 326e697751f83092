local bench_of = require "spec.support.bench_of"
local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local SAME = [[SELECT (SELECT count(*) FROM moonwake.events) = (SELECT sum(events) FROM moonwake.counter)]]

--- A proxy in front of the server's socket, with a process of its own for each connection: a network that can be cut.
local function proxy(server)
  local dir = files.dir()
  files.command(("setsid socat UNIX-LISTEN:%s/.s.PGSQL.5432,fork,mode=777 UNIX-CONNECT:%s/.s.PGSQL.5432 >/dev/null 2>&1 & echo $! >%s/pid")
    :format(dir, server.dir, dir))
  pg.eventually(function() return files.command("test -S " .. dir .. "/.s.PGSQL.5432 && echo y") == "y" end)
  local self = { dir = dir }
  local group = files.command(("ps -o pgid= -p $(cat %s/pid)"):format(dir)):match("%d+")
  function self.signal(name)
    os.execute(("/bin/kill -%s -- -%s"):format(name, group))
  end
  return self
end

describe("a daemon whose network is cut", function()
  it("is replaced within takeover_after, and commits nothing when the network is back", function()
    local bench = bench_of { counter = true }
    local net = proxy(bench.server)
    finally(function()
      net.signal("CONT")
      bench:stop()
      net.signal("KILL")
    end)
    local far = moonwake.spawn({ "run", "-C", bench.workspace, "--no-supervisor", "--takeover-after", "2" },
      { db = ("host=%s dbname=%s user=moonwake_run"):format(net.dir, bench.db) })
    bench.daemons[1] = far
    bench:publish_many(50)
    bench:eventually(SAME, "t")
    local near = bench:daemon { "--takeover-after", "2" }
    pg.sleep(0.5)
    net.signal("STOP")
    bench:publish_many(50)

    bench:eventually(SAME, "t", 20)
    assert.equal(tostring(near.pid), bench:psql("SELECT daemon FROM moonwake.consumers"):match(":(%d+)"))
    net.signal("CONT")
    bench:publish_many(50)
    bench:eventually(SAME, "t")
    pg.sleep(1)
    assert.equal("t", bench:psql(SAME))
    assert.is_nil(far:code())
  end)

  it("goes on by itself when the server was away for a while", function()
    local server = pg.start()
    finally(function() server:stop() end)
    local bench = bench_of({ counter = true }, server)
    bench:daemon()
    bench:publish_many(50)
    bench:eventually(SAME, "t")
    server:halt("fast")
    pg.sleep(1.5)
    server:start()
    bench:publish_many(50)

    bench:eventually(SAME, "t")
    bench:stop()
  end)
end)

describe("a daemon that was asked to stop", function()
  it("ends at a batch boundary and gives its consumers up", function()
    local bench = bench_of { counter = true }
    finally(function() bench:stop() end)
    local daemon = bench:daemon()
    bench:publish_many(50)
    bench:eventually(SAME, "t")
    daemon:signal("TERM")

    assert.equal(0, daemon:wait())
    assert.equal("running||50", bench:psql("SELECT state, daemon, position FROM moonwake.consumers"))
    assert.matches("no daemon", moonwake.must({ "status" }, { db = bench.run_dsn }))
  end)
end)
