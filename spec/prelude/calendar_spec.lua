local engine = require "spec.support.rule_engine"


local HOT = [[on = "t", value = "data.v", when = function(v) return v > 70 end, ]]


local function v(value, key)
  return { "t", key or "a", { v = value } }
end


describe("mute = { calendar }", function()
  local function muted(calendar, instants)
    local r = engine.open(HOT .. "kind = 'signal', mute = { calendar = 'c' }, act = webhook { to = 'x' }",
      { ["rules/calendars/c.lua"] = ("calendar \"c\" { %s }"):format(calendar) })
    local out = {}
    for i, at in ipairs(instants) do
      r:event(at, v(80))
      out[i] = r.raised[1].muted == "calendar c"
      assert.equal(r.raised[1].muted, r.raised[2].muted)
      r.raised = {}
    end
    return out
  end
  local HOUR, DAY = 3600, 86400 -- instants are seconds after Thursday, 2026-01-01 00:00 UTC

  it("is open in hours of every day, the end not included", function()
    assert.same({ false, true, true, false }, muted("open = { { from = '09:00', to = '17:30' } }", { 9 * HOUR - 1, 9 * HOUR, 17.5 * HOUR - 1, 17.5 * HOUR }))
  end)

  it("is open on days of the week", function()
    assert.same({ true, true, false, false, true }, muted("open = { { days = 'mon-fri' } }", { 0, DAY, 2 * DAY, 3 * DAY, 4 * DAY }))
    assert.same({ false, false, true, true, true }, muted("open = { { days = { 'sat', 'sun-mon' } } }", { 0, DAY, 2 * DAY, 3 * DAY, 4 * DAY }))
    assert.same({ true, false, true }, muted("open = { { days = 'sat-thu' } }", { 0, DAY, 2 * DAY }))
  end)

  it("goes over midnight from the days that it names", function()
    assert.same({ false, true, true, false, false }, muted("open = { { days = 'thu', from = '22:00', to = '06:00' } }",
      { 5 * HOUR, 22 * HOUR, DAY + 5 * HOUR, DAY + 6 * HOUR, DAY + 23 * HOUR }))
  end)

  it("has the clock of its zone", function()
    assert.same({ false, true, false }, muted("zone = 'Europe/Berlin', open = { { days = 'thu', from = '23:00', to = '24:00' } }",
      { 21 * HOUR, 22 * HOUR, 23 * HOUR }))
    assert.same({ true, false }, muted("zone = 'America/New_York', open = { { days = 'wed' } }", { 5 * HOUR - 1, 5 * HOUR }))
  end)

  it("is open on dates, the last one included, or to a minute", function()
    assert.same({ false, true, true, false }, muted("open = { { from = '2026-01-03', to = '2026-01-04' } }", { 2 * DAY - 1, 2 * DAY, 4 * DAY - 1, 4 * DAY }))
    assert.same({ false, true, false }, muted("open = { { from = '2026-02-28 12:00', to = '2026-03-01 06:30' } }",
      { 58.5 * DAY - 1, 58.5 * DAY, 59 * DAY + 6.5 * HOUR }))
  end)

  it("is not open where except says so", function()
    assert.same({ true, false, true }, muted("open = { { days = 'mon-sun' } }, except = { { from = '2026-01-02', to = '2026-01-02' } }", { DAY - 1, DAY, 2 * DAY }))
  end)

  it("says until when, as looking at every minute would find it", function()
    for calendar, from in pairs {
      ["open = { { days = 'thu', from = '22:00', to = '06:00' } }"] = 23 * HOUR,
      ["open = { { from = '09:00', to = '17:30' } }, except = { { from = '2026-01-01 12:00', to = '2026-01-01 12:10' } }"] = 10 * HOUR,
      ["open = { { days = 'mon-sun' } }, except = { { days = 'sun' } }"] = 5 * HOUR,
      ["zone = 'Europe/Berlin', open = { { from = '2026-03-28 12:00', to = '2026-03-29 12:00' } }"] = 87 * DAY, -- the clock changes
      ["open = { { days = 'mon-sun' } }"] = 0,
    } do
      local r = engine.open(HOT .. "kind = 'signal', mute = { calendar = 'c' }",
        { ["rules/calendars/c.lua"] = ("calendar \"c\" { %s }"):format(calendar) })
      r:event(from, v(80))
      local until_us, at = r.raised[1].muted_until, from
      assert.equal("calendar c", r.raised[1].muted)
      local naive
      for minute = 1, 8 * 1440 do
        r.raised = {}
        r:event(from + minute * 60, v(80))
        if not r.raised[1].muted then
          naive, at = r.raised[1].at, minute
          break
        end
      end
      assert.equal(naive, until_us, calendar .. " after minutes: " .. at)
    end
  end)

  it("mutes each transition by its own instant", function()
    local r = engine.open(HOT .. "mute = { calendar = 'c' }", { ["rules/calendars/c.lua"] = "calendar 'c' { open = { { from = '00:00', to = '01:00' } } }" })
    r:event("00:59", v(80)):event("01:00", v(1))

    assert.same({ "00:59:00 firing warning muted: calendar c", "01:00:00 resolved warning (cleared)" }, r:said())
  end)

  local wrong = {
    { "", "field 'open' is missing (a list of { days = \"mon-fri\", from = \"22:00\", to = \"06:00\" } (every week) and { from = \"2026-12-24\", to = \"2026-12-26\" } (once, the last day included))" },
    { "open = {}", "open is empty (name at least one span)" },
    { "open = { days = 'mon' }", "open is a list of spans, and has no field 'days' (write open = { { … } })" },
    { "open = { 'mon' }", "open[1] must be { days =, from =, to = }, not 'mon'" },
    { "open = { {} }", "open[1] says nothing (name days, or from and to)" },
    { "open = { { day = 'mon' } }", "open[1]: unknown field 'day' (did you mean 'days'?)" },
    { "open = { { days = 'monday' } }", "open[1]: 'monday' is no day (mon, tue, wed, thu, fri, sat, sun, or mon-fri)" },
    { "open = { { days = {} } }", "open[1]: days must be \"mon-fri\", or a list of days, not a table" },
    { "open = { { from = '9:00' } }", "open[1]: from and to go together" },
    { "open = { { from = '25:00', to = '26:00' } }", "open[1]: '25:00' is no time of the day (write 06:00 to 24:00)" },
    { "open = { { from = '24:00', to = '01:00' } }", "open[1]: '24:00' is no time of the day (write 06:00 to 24:00)" },
    { "open = { { from = '9', to = '10' } }", "open[1]: '9' is no time of the day (write 06:00 to 24:00)" },
    { "open = { { from = 9, to = 10 } }", "open[1]: from must be a text such as \"22:00\" or \"2026-12-24\", not 9" },
    { "open = { { from = '09:00', to = '09:00' } }", "open[1]: from and to are the same (write 00:00 to 24:00 for the whole day)" },
    { "open = { { from = '2026-02-30', to = '2026-03-01' } }", "open[1]: '2026-02-30' is no date (write 2026-12-24, or 2026-12-24 18:00)" },
    { "open = { { from = '2025-02-29', to = '2026-03-01' } }", "open[1]: '2025-02-29' is no date (write 2026-12-24, or 2026-12-24 18:00)" },
    { "open = { { from = '2026-03-02', to = '2026-03-01' } }", "open[1]: it ends before it begins" },
    { "open = { { days = 'mon', from = '2026-03-02', to = '2026-03-03' } }", "open[1]: days go with hours, and not with dates" },
    { "open = { { days = 'mon' } }, zone = 'Mars/Base'", "no time zone 'Mars/Base'" },
  }
  for _, case in ipairs(wrong) do
    it("is refused: " .. case[1], function()
      local _, why = engine.try(("rule 'r' { %s mute = { calendar = 'c' } }"):format(HOT), { ["rules/calendars/c.lua"] = ("calendar 'c' { %s }"):format(case[1]) })

      assert.equal("rules/r.lua:1: rule 'r': rules/calendars/c.lua:1: calendar 'c': " .. case[2], why)
    end)
  end
end)
