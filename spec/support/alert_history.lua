--- Alerts made live, by a daemon that is killed, restarted and stopped at random, next to those of one run over the
--- same log: what both say is compared row by row.
--
--   local history = require "spec.support.alert_history"
--   local live = history.live(bench, random)        -- live:alive() starts the daemon where there is none
--   history.publish(live, events, base)             -- { at = seconds behind base, json = … } in random transactions
--   history.copy_log(bench, other)                  -- the log of people and devices, as it is
--   assert.is_nil(history.difference(bench, other))
local json = require "dkjson"
local moonwake = require "spec.support.moonwake"
local pg = require "spec.support.pg"

local history = {}
local Live = {}
Live.__index = Live

local FAULTS = { "group.before_commit", "group.after_send", "group.after_commit", "group.before_advance",
  "sink.after_raise", "session.released" }

--- What was said, key by key in the order in which it came. Where an alert's event stands in the log is its own affair,
-- and so is what is muted: that depends on when other rules spoke.
local SAID = [[SELECT data ->> 'rule', data ->> 'key', event_type, event_id, aggregate_id,
    (extract(epoch FROM occurred_at) * 1000000)::bigint, causation_id, severity,
    data #- '{subject,id}' #- '{subject,timestamp}' #- '{subject,version}' %s
  FROM moonwake.events WHERE aggregate_type = 'alert' AND event_type !~ 'muted$' ORDER BY 1, 2, id]]
--- Facts, which rules append as they fire. What is done or sent, in contrast, is not when it is long past.
local EMITTED = [[SELECT event_type, event_id, aggregate_type, aggregate_id, occurred_at, causation_id, data
  FROM moonwake.events WHERE source = 'moonwake' AND aggregate_type NOT IN ('alert', 'receiver') AND event_type <> 'command.restart'
  ORDER BY 1, 2]]
local EPISODES = [[SELECT rule, key_text, episode, state, severity, started_at, fired_at, ended_at, reason, transitions
  FROM moonwake.alerts ORDER BY rule, key_text, started_at, episode]]
local TWICE = [[SELECT event_id, count(*) FROM moonwake.events WHERE aggregate_type = 'alert' GROUP BY 1 HAVING count(*) > 1]]


--- options: faults (upper end of N in MOONWAKE_FAULT=NAME:N, 20), steady (one of so many transactions is followed by a
-- kill or a stop, 12), save = function(): saves a file of the workspace.
function history.live(bench, random, options)
  return setmetatable({ bench = bench, random = random, kills = 0, stops = 0, saves = 0, offset = 0,
    options = options or {} }, Live)
end

--- A daemon that will die at some place in its work, where none is running.
function Live:alive()
  if self.daemon and not self.daemon:code() then
    return
  end
  self.kills = self.kills + (self.daemon and not self.stopped and 1 or 0)
  self.stopped = false
  self.daemon = self.bench:daemon({ "--linger", "5" },
    { MOONWAKE_FAULT = FAULTS[self.random(1, #FAULTS)] .. ":" .. self.random(2, self.options.faults or 20) })
end

--- What may happen between two transactions.
function Live:chance()
  local random = self.random
  if random(1, 6) == 1 then
    pg.sleep(0.1) -- a quiet time: the clock goes on by itself
  end
  if random(1, self.options.steady or 12) == 1 then
    self.stopped = random(1, 3) == 1
    self.stops = self.stops + (self.stopped and 1 or 0)
    self.daemon:signal(self.stopped and "TERM" or "KILL")
    self.daemon:wait()
  end
  if self.options.save and random(1, 16) == 1 then
    self.saves = self.saves + 1
    self.options.save(self.saves)
  end
end

--- Sets the server's clock to so many seconds behind the beginning; it never goes back.
function Live:clock(at)
  self.offset = math.max(self.offset, math.ceil(at))
  self.bench.server:clock(("+%ds"):format(self.offset))
end

function Live:finish()
  self.bench:stop()
  local r = self.bench:caught_up()
  assert(r.code == 0, r.err)
end

function Live:what(seed)
  return ("seed %d, %d kills, %d stops, %d saves"):format(seed, self.kills, self.stops, self.saves)
end

local function statement(events, first, last)
  local list = {}
  for i = first, last do
    list[#list + 1] = events[i].json
  end
  return ("SELECT count(*) FROM moonwake.publish_events($json$[%s]$json$);"):format(table.concat(list, ","))
end

--- One transaction of one or two statements; some come to nothing at first.
local function transaction(session, random, events, first, last)
  local middle = random(first, last)
  local words = "BEGIN;" .. statement(events, first, middle) .. (middle < last and statement(events, middle + 1, last) or "")
  if random(1, 12) == 1 then
    session:run(words .. "ROLLBACK")
  end
  local answer = session:run(words .. "COMMIT")
  assert(not answer:find("ERROR"), answer)
end

--- Publishes events in the order of their times, at about these times; now and then one of `held` is in a transaction
-- that stays open while others go by.
function history.publish(live, events, held)
  local bench, random = live.bench, live.random
  local session, other = bench.server:session { db = bench.db }, bench.server:session { db = bench.db }
  local first, open = 1, 0
  while first <= #events do
    local last = math.min(#events, first + (random(1, 8) == 1 and random(1, 150) or random(1, 28)))
    live:alive()
    live:clock(events[last].at + (random(1, 15) == 1 and random(300, 1500) or random(0, 20)))
    transaction(session, random, events, first, last)
    if open == 0 and random(1, 10) == 1 then
      other:run("BEGIN;" .. statement({ { json = held[random(1, #held)] } }, 1, 1))
      open = random(1, 5)
    elseif open > 0 then
      open = open - 1
      if open == 0 then
        other:run("COMMIT")
      end
    end
    live:chance()
    first = last + 1
  end
  other:run(open > 0 and "COMMIT" or "SELECT")
  session:close()
  other:close()
end

--- The log of people and devices, as it is, in another database of the same server.
function history.copy_log(from, to)
  local path = from.server.dir .. "/log-" .. from.db
  from:psql(("COPY (SELECT * FROM moonwake.events WHERE source IS DISTINCT FROM 'moonwake' ORDER BY id) TO '%s'"):format(path))
  local days = from:query([[SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM moonwake.events]])
  for _, day in ipairs(days) do
    to:psql(("SELECT moonwake.create_events_partition('%s')"):format(day[1]))
  end
  to:psql(("COPY moonwake.events FROM '%s'; SELECT setval('moonwake.events_id_seq', max(id)) FROM moonwake.events"):format(path))
end

--- The first row in which the answers of two databases differ, or nil.
function history.compare(a, b, sql, other_sql)
  local left, right = a:query(sql), b:query(other_sql or sql)
  for i = 1, math.max(#left, #right) do
    local l, r = table.concat(left[i] or {}, " "), table.concat(right[i] or {}, " ")
    if l ~= r then
      return ("row %d of %d and %d\nlive: %s\nonce: %s"):format(i, #left, #right, l, r)
    end
  end
end

--- The first difference between the alerts of two databases, or nil. `without`: names of the alerts' data that may differ.
function history.difference(live, once, without)
  local cut = ""
  for _, path in ipairs(without or {}) do
    cut = ("%s #- '{%s}'"):format(cut, path)
  end
  return history.compare(live, once, SAID:format(cut)) or history.compare(live, once, EPISODES)
    or history.compare(live, once, EMITTED) or history.compare(live, once, TWICE, "SELECT 1 WHERE false")
end

--- The rules that never fired, by name.
function history.silent(bench, rules)
  local fired, silent = {}, {}
  for _, row in ipairs(bench:query("SELECT DISTINCT rule FROM moonwake.alerts WHERE fired_at IS NOT NULL")) do
    fired[row[1]] = true
  end
  for _, rule in ipairs(rules) do
    silent[#silent + 1] = not fired[rule] and rule or nil
  end
  return silent
end

--- What `backtest` finds otherwise than live, for each rule: { "hot: {…}", … }.
function history.backtests(bench, rules)
  local found = {}
  for _, rule in ipairs(rules) do
    local r = moonwake.run({ "-C", bench.workspace, "backtest", rule, "--json" }, { db = bench.dsn })
    local doc = json.decode(r.out, 1, json.null) or { summary = {}, episodes = {} }
    local s, changed = doc.summary, nil
    for _, pair in ipairs(doc.episodes) do
      changed = changed or (#pair.changes > 0 and json.encode(pair)) or nil
    end
    if r.code ~= 0 or r.err ~= "" or doc.against ~= "live" or s.same == 0 or s.episodes ~= s.same or s.before ~= s.same
      or changed then
      found[#found + 1] = ("%s: exit code %d %s %s %s"):format(rule, r.code, json.encode(s), changed or "", r.err)
    end
  end
  return found
end

return history
