-- Publishers that behave as badly as PostgreSQL lets them: seeded, each a shell loop over psql, so that a server
-- that goes away ends a script and not the publisher.
local files = require "spec.support.files"

local publishers = {}

local function event(random, aggregates)
  local n = random(1, 1000)
  return ("'torture.%s', 'torture', 'agg-%d', '{\"n\": %d, \"lane\": \"l%d\"}'"):format(
    n % 2 == 0 and "even" or "odd", random(1, aggregates), n, n % 7)
end

local function publish(random, aggregates)
  return ("SELECT 1 FROM moonwake.publish_event(%s);\n"):format(event(random, aggregates))
end

local KINDS = {
  short = function(random, aggregates)
    return publish(random, aggregates)
  end,
  slow = function(random, aggregates)
    return ("BEGIN;\n%sSELECT pg_sleep(%.3f);\n%sCOMMIT;\n"):format(
      publish(random, aggregates), random() * 0.2, publish(random, aggregates))
  end,
  rolled_back = function(random, aggregates)
    return "BEGIN;\n" .. publish(random, aggregates) .. publish(random, aggregates) .. "ROLLBACK;\n"
  end,
  savepoint = function(random, aggregates)
    return "BEGIN;\n" .. publish(random, aggregates) .. "SAVEPOINT s;\n" .. publish(random, aggregates)
      .. "ROLLBACK TO s;\n" .. publish(random, aggregates) .. "COMMIT;\n"
  end,
  early_xid = function(random, aggregates)
    return ("BEGIN;\nSELECT pg_current_xact_id();\nSELECT pg_sleep(%.3f);\n%sCOMMIT;\n"):format(
      random() * 0.1, publish(random, aggregates))
  end,
  prepared = function(random, aggregates, id)
    local ending = random() < 0.7 and "COMMIT" or "ROLLBACK"
    return ("BEGIN;\nSET LOCAL moonwake.ring = off;\n%sPREPARE TRANSACTION '%s';\nSELECT pg_sleep(%.3f);\n%s PREPARED '%s';\n")
      :format(publish(random, aggregates), id, random() * 0.1, ending, id)
  end,
  batch = function(random, aggregates)
    local rows = {}
    for i = 1, random(2, 60) do
      local n = random(1, 1000)
      rows[i] = ('{"event_type":"torture.%s","aggregate_type":"torture","aggregate_id":"agg-%d","data":{"n":%d,"lane":"l%d"}}')
        :format(n % 2 == 0 and "even" or "odd", random(1, aggregates), n, n % 7)
    end
    return ("SELECT count(*) FROM moonwake.publish_events('[%s]');\n"):format(table.concat(rows, ","))
  end,
  lazy_commit = function(random, aggregates)
    return "SET synchronous_commit = off;\n" .. publish(random, aggregates) .. publish(random, aggregates)
      .. "RESET synchronous_commit;\n"
  end,
}

local NAMES = { "short", "short", "short", "slow", "rolled_back", "savepoint", "early_xid", "prepared", "batch", "lazy_commit" }

--- A small generator of its own: math.random is shared, and differs between systems.
function publishers.random(seed)
  local state = seed % 2147483647
  if state <= 0 then
    state = state + 2147483646
  end
  local function unit()
    state = state * 16807 % 2147483647
    return (state - 1) / 2147483646
  end
  return function(low, high)
    if not low then
      return unit()
    end
    return low + math.floor(unit() * (high - low + 1))
  end
end

--- Starts `count` publishers that go on until publishers.stop(): returns a handle.
function publishers.start(dsn, count, seed, aggregates)
  local dir = files.dir()
  local go = files.write(dir .. "/go", "")
  for p = 1, count do
    local random = publishers.random(seed * 1000 + p)
    for chunk = 1, 12 do
      local text = {}
      for i = 1, 25 do
        local name = NAMES[random(1, #NAMES)]
        -- $SERIAL makes the prepared transaction's name one of this round of the loop
        text[i] = KINDS[name](random, aggregates, ("t%d_%d_%d_:serial"):format(p, chunk, i))
      end
      files.write(("%s/p%d_%d.sql"):format(dir, p, chunk), table.concat(text))
    end
    os.execute(([[( serial=0; while [ -e %s ]; do for c in 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e %s ] || break
      serial=$((serial + 1)); sed "s/:serial/$serial/" %s/p%d_$c.sql | psql -X -q '%s' >/dev/null 2>&1 || sleep 0.2
      done; done; echo done >%s/done_%d ) >/dev/null 2>&1 &]]):format(go, go, dir, p, dsn, dir, p))
  end
  return { dir = dir, go = go, count = count }
end

--- Ends them after the script that each is at. `meanwhile` is called while they are waited for.
function publishers.stop(handle, pg, meanwhile)
  os.remove(handle.go)
  for p = 1, handle.count do
    pg.eventually(function()
      meanwhile()
      return files.read(("%s/done_%d"):format(handle.dir, p))
    end, 60, "publisher " .. p)
  end
end

return publishers
