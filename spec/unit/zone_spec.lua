local ffi = require "ffi"
local c = require "spec.support.c"
local C = c.load { "base/zone.h", "base/zone_rule.h" }

local err, out = ffi.new("Err"), ffi.new("int[1]")

local function offset(zone, seconds)
  if not C.zone_offset(zone, seconds, out, err) then
    return nil, ffi.string(err.message)
  end
  return out[0]
end

--- What `date` (the C library's reading of the same tables) says of many instants at once.
local function by_date(zone, instants)
  local name = os.tmpname()
  local file = assert(io.open(name, "w"))
  for _, seconds in ipairs(instants) do
    file:write(("@%d\n"):format(seconds))
  end
  file:close()
  local offsets, pipe = {}, assert(io.popen(("TZ=%s date -f %s +%%::z"):format(zone, name)))
  for line in pipe:lines() do
    local sign, h, m, s = line:match("^([+-])(%d+):(%d+):(%d+)$")
    offsets[#offsets + 1] = (sign == "-" and -1 or 1) * (h * 3600 + m * 60 + s)
  end
  pipe:close()
  os.remove(name)
  return offsets
end

--- Instants of 1850 to 2100, and the seconds around each change of the clocks among them.
local function instants_of(zone)
  local list = {}
  for seconds = -3786825600, 4102444800, 11 * 86400 + 3571 do
    list[#list + 1] = seconds
  end
  local offsets, around = by_date(zone, list), {}
  for i = 2, #list do
    if offsets[i] ~= offsets[i - 1] then
      local low, high = list[i - 1], list[i]
      while high - low > 1 do
        local middle = math.floor((low + high) / 2)
        if offset(zone, middle) == offsets[i - 1] then
          low = middle
        else
          high = middle
        end
      end
      for s = low - 1, high + 1 do
        around[#around + 1] = s
      end
    end
  end
  for _, seconds in ipairs(around) do
    list[#list + 1] = seconds
  end
  return list
end

describe("zone_offset", function()
  -- Summer in the north and south, none, half hours, half an hour of summer, days that were left out, a rule with
  -- negative times, a winter time that is "summer" backwards, and rules behind 2037.
  for _, zone in ipairs { "Europe/Lisbon", "Europe/Berlin", "America/New_York", "America/Sao_Paulo", "Asia/Kolkata",
    "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Auckland", "Pacific/Apia", "America/Nuuk", "Europe/Dublin",
    "Africa/Casablanca", "Asia/Gaza", "Etc/GMT+5", "EST5EDT" } do
    it("is what the C library says for " .. zone, function()
      local list = instants_of(zone)
      local expected = by_date(zone, list)

      assert.equal(#list, #expected)
      for i, seconds in ipairs(list) do
        if offset(zone, seconds) ~= expected[i] then
          assert.same({ seconds, expected[i] }, { seconds, (offset(zone, seconds)) })
        end
      end
    end)
  end

  it("changes in the second in which the clocks do", function()
    -- Lisbon, 2026-03-29 and 2026-10-25, 01:00 UTC
    assert.same({ 0, 3600, 3600, 0 }, { offset("Europe/Lisbon", 1774745999), offset("Europe/Lisbon", 1774746000),
      offset("Europe/Lisbon", 1792889999), offset("Europe/Lisbon", 1792890000) })
  end)

  it("knows UTC", function()
    assert.equal(0, offset("UTC", 1774746000))
  end)

  for _, name in ipairs { "Europe/Lissabon", "", "/etc/passwd", "../../../etc/passwd", "Europe/../Europe/Lisbon",
    "Europe", "localtime", "Europe/Lisbon ", ("x"):rep(300) } do
    it(("refuses %q"):format(name:sub(1, 30)), function()
      local value, message = offset(name, 0)

      assert.is_nil(value)
      assert.matches("^time zone '" .. name:sub(1, 80):gsub("%p", "%%%0") .. "': there is none of that name "
        .. "%(names are those below .*Europe/Lisbon%)$", message)
    end)
  end

  it("refuses what lies there and is no table", function()
    local _, text = offset("zone1970.tab", 0)
    assert.matches("there is none of that name", text)
    _, text = offset("leapseconds", 0)
    assert.matches("leapseconds: no table of a time zone$", text)
    _, text = offset("right/Europe/Lisbon", 0)
    assert.matches("counts leap seconds", text)
  end)
end)

describe("zone_rule_parse", function()
  local rule = ffi.new("ZoneRule")

  local function parse(text)
    return C.zone_rule_parse(text, #text, rule)
  end

  for text, expected in pairs { ["UTC0"] = { 0 }, ["<+0330>-3:30"] = { 12600 }, ["EST5EDT,M3.2.0,M11.1.0"] = { -18000, -14400 },
    ["IST-1GMT0,M10.5.0,M3.5.0/1"] = { 3600, 0 }, ["<-02>2<-01>,M3.5.0/-1,M10.5.0/0"] = { -7200, -3600 },
    ["AAA3BBB,J60/0,364/25"] = { -10800, -7200 } } do
    it("reads " .. text, function()
      assert.is_true(parse(text))
      assert.equal(expected[1], rule.standard)
      assert.equal(expected[2], rule.has_summer and rule.summer or nil)
    end)
  end

  for _, text in ipairs { "", "CET", "-1", "C-1", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "CET-1CEST,M3.6.0,M10.5.0",
    "CET-1CEST,M3.5.0,M10.5.0x", "CET-999", "<CET-1", "CET-1:60", "CET-1CEST,J0,J5" } do
    it(("refuses %q"):format(text), function()
      assert.is_false(parse(text))
    end)
  end

  it("counts days with and without leap days", function()
    local DAY = 86400
    parse "AAA0BBB,J60/0,J61/0" -- March 1 only, in every year
    local begin_2024, begin_2026 = 1709251200, 1772323200
    for _, begin in ipairs { begin_2024, begin_2026 } do
      assert.same({ 0, 3600, 3600, 0 }, { C.zone_rule_offset(rule, begin - 1), C.zone_rule_offset(rule, begin),
        C.zone_rule_offset(rule, begin + DAY - 3601), C.zone_rule_offset(rule, begin + DAY - 3600) })
    end
    parse "AAA0BBB,59/0,60/0" -- the 60th day: February 29 where there is one
    assert.equal(3600, C.zone_rule_offset(rule, begin_2024 - DAY))
    assert.equal(3600, C.zone_rule_offset(rule, begin_2026))
  end)
end)
