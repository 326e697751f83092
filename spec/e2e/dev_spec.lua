local files = require "spec.support.files"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

describe("dev", function()
  local dir

  before_each(function()
    dir = files.dir()
  end)

  after_each(function()
    files.clean()
  end)

  local function dev(...)
    return moonwake.run({ "dev", ... }, { cwd = dir })
  end

  local function servers()
    return tonumber(files.command(("pgrep -fc '[p]ostgres -D %s/.moonwake/pg' || true"):format(dir)))
  end

  it("makes a cluster, migrates it, runs a command in it and stops it", function()
    local r = dev("--", "psql", "-Atc", "SELECT count(*) FROM moonwake.events")

    assert.equal(0, r.code)
    assert.equal("0\n", r.out)
    assert.matches("DATABASE_URL='postgresql://", r.err)
    assert.equal(0, servers())
    local socket = r.err:match("host=(/tmp/moonwake%-dev%.%w+)")
    assert.equal("gone", files.command(("test -e %s || echo gone"):format(socket)))
    assert.falsy(files.exists(dir .. "/.moonwake/dsn"))
  end)

  it("keeps what was written from one time to the next", function()
    assert.equal(0, dev("--", moonwake.bin, "publish", "a.b", "x", "1").code)

    local r = dev("-q", "--shell", moonwake.bin .. " tail --no-follow --json")

    assert.matches('"event_type" : "a.b"', r.out)
  end)

  it("ends with the command's exit code", function()
    assert.equal(7, dev("--", "sh", "-c", "exit 7").code)
    assert.equal(3, dev("--shell", "exit 3").code)
    assert.equal(127, dev("--", "no-such-program").code)
    assert.equal(128 + 9, dev("--shell", "kill -9 $$").code)
  end)

  it("refuses two ways of naming the command", function()
    local r = dev("--shell", "true", "--", "true")

    assert.equal(2, r.code)
    assert.matches("^moonwake: dev: takes %-%-shell CMD or %-%- CMD, not both", r.err)
  end)

  it("lends its database to other commands in the workspace", function()
    local process = moonwake.spawn({ "dev", "--shell", "sleep 60" }, { cwd = dir })
    process:expect("DATABASE_URL", "err")

    moonwake.must({ "publish", "a.b", "x", "1" }, { cwd = dir })
    local guest = dev("--", "psql", "-Atc", "SELECT event_type FROM moonwake.events")
    local alive = servers()
    process:signal("TERM")

    assert.equal("a.b\n", guest.out)
    assert.equal(1, alive)
    process:wait(20)
    assert.equal(0, servers())
    assert.equal(1, moonwake.run({ "tail", "--no-follow" }, { cwd = dir }).code)
  end)

  it("stops the server and the command on a signal", function()
    local process = moonwake.spawn({ "dev", "--shell", "trap 'echo told; exit 5' TERM; while :; do sleep 0.1; done" },
      { cwd = dir })
    process:expect("DATABASE_URL", "err")
    pg.sleep(0.3)

    process:signal("TERM")

    assert.equal(5, process:wait(20))
    assert.equal("told\n", process:out())
    assert.equal(0, servers())
  end)

  it("leaves no server behind when it is killed, and starts again", function()
    local process = moonwake.spawn({ "dev", "--shell", "sleep 5" }, { cwd = dir })
    process:expect("DATABASE_URL", "err")
    moonwake.must({ "publish", "a.b", "x", "1" }, { cwd = dir })

    process:signal("KILL")

    pg.eventually(function() return servers() == 0 end, 15, "the server's end")
    local r = dev("--", "psql", "-Atc", "SELECT event_type FROM moonwake.events")
    assert.equal("a.b\n", r.out)
  end)

  it("stops a server that was left running", function()
    assert.equal(0, dev("--", "true").code)
    local user = files.command("stat -c %U " .. dir .. "/.moonwake/pg")
    local as = files.command("id -u") == "0" and ("runuser -u %s -- "):format(user) or ""
    local bin = files.command("ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1")
    local log = files.command("mktemp /tmp/mwspec-XXXXXX")
    os.execute(("chmod 666 %s; cd / && %s%s/pg_ctl -w -D %s/.moonwake/pg -o '-k /tmp -p 54399 -c listen_addresses=' "
      .. "-l %s start >/dev/null"):format(log, as, bin, dir, log))
    assert.equal(1, servers())

    local r = dev("--", "psql", "-Atc", "SELECT 1")
    os.remove(log)

    assert.equal("1\n", r.out)
    assert.equal(0, servers())
  end)

  it("is not confused by a pid file of the dead or of others", function()
    assert.equal(0, dev("--", "true").code)
    for _, pid in ipairs { "999999", "1", files.command("sh -c 'echo $PPID'") } do
      files.write(dir .. "/.moonwake/pg/postmaster.pid", pid .. "\n" .. dir .. "/.moonwake/pg\n1\n5432\n/tmp\n\n")

      local r = dev("--", "psql", "-Atc", "SELECT 1")

      assert.equal("1\n", r.out)
    end
  end)

  it("makes the cluster anew when making it was interrupted", function()
    files.write(dir .. "/.moonwake/pg.new/PG_VERSION", "half")

    assert.equal("1\n", dev("--", "psql", "-Atc", "SELECT 1").out)
  end)

  it("works in a folder with a long path, spaces and quotes", function()
    dir = dir .. "/it's a \"folder\"/" .. ("long/"):rep(30) .. "end"
    files.write(dir .. "/x", "")

    assert.equal("1\n", dev("--", "psql", "-Atc", "SELECT 1").out)
  end)

  it("says which server is missing for a cluster of another version", function()
    assert.equal(0, dev("--", "true").code)
    files.write(dir .. "/.moonwake/pg/PG_VERSION", "9\n")

    local r = dev("--", "true")

    assert.equal(1, r.code)
    assert.matches("^moonwake: cluster: it was made by PostgreSQL 9, whose server is not installed %(", r.err)
  end)

  it("says why the server does not start", function()
    assert.equal(0, dev("--", "true").code)
    os.execute(("echo 'shared_buffers = nonsense' >>%s/.moonwake/pg/postgresql.conf"):format(dir))

    local r = dev("--", "true")

    assert.equal(1, r.code)
    assert.matches("^moonwake: cluster: the server did not start: .*shared_buffers.*%(see .*server.log%)", r.err)
  end)

  if files.command("id -u") == "0" then
    it("puts the cluster elsewhere where its user cannot reach the workspace", function()
      os.execute("chmod 700 " .. dir)

      local r = dev("--", "psql", "-Atc", "SHOW data_directory")

      assert.matches("^/var/lib/moonwake/%x+/pg\n$", r.out)
      os.execute("rm -rf " .. r.out:match("^(/var/lib/moonwake/%x+)/pg"))
    end)
  end

  it("runs the workspace's projections", function()
    moonwake.must({ "init" }, { cwd = dir })
    assert.equal(0, dev("-q", "--shell", ("for i in 1 2 3; do %s publish a.b x $i; done"):format(moonwake.bin)).code)

    local r = moonwake.run({ "dev", "--until-caught-up" }, { cwd = dir })

    assert.equal(0, r.code)
    assert.equal("x|1|1\nx|2|1\nx|3|1\n", dev("-q", "--", "psql", "-Atc",
      "SELECT aggregate_type, aggregate_id, events FROM moonwake.activity ORDER BY 2").out)
  end)
end)
