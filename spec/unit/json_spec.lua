local ffi = require "ffi"
local lua_state = require "spec.support.lua_state"
local pg = require "spec.support.pg"
local suite = require "spec.support.json_suite"

local lib, str = lua_state.lib, lua_state.str
local err = ffi.new("Err")
local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

local function check(text, depth)
  local ok = lib.json_check(str(text), depth or 0, err)
  return ok, not ok and ffi.string(err.message) or nil
end

local function with_buf(fill)
  local buf = ffi.new("Buf")
  local ok = fill(buf)
  local text = buf.s ~= nil and ffi.string(buf.s, buf.len) or ""
  lib.buf_free(buf)
  return text, ok
end

local function quote(text)
  return "'" .. text:gsub("'", "''") .. "'"
end

--- What is left to the parser, by kind of file:
--   i_number_*                     JSON by the grammar, whatever the size; decoded where PostgreSQL's
--                                  numeric can hold it
--   i_structure_500_nested_arrays  accepted: the limit is 512
--   i_string_*, i_object_key_*     refused: lone surrogates, what is not UTF-8, UTF-16
--   i_structure_UTF-8_BOM_*        refused
local function may_be_accepted(name)
  return name:match("^i_number") or name:match("^i_structure_500_nested")
end

local function out_of_range(text)
  local digits, exponent = text:match("(%d+)[eE]([+-]?%d+)")
  return digits and (tonumber(exponent) > 131071 or tonumber(exponent) < -16383)
end

describe("the JSON test suite", function()
  local files = suite.files("test_parsing")
  local state

  setup(function() state = lua_state.new() end)
  teardown(function() state:close() end)

  it("has its three kinds of files", function()
    local count = { y = 0, n = 0, i = 0 }
    for _, file in ipairs(files) do
      count[file.name:sub(1, 1)] = count[file.name:sub(1, 1)] + 1
    end

    assert.is_true(count.y > 40 and count.n > 80 and count.i > 10)
  end)

  for _, file in ipairs(files) do
    local kind = file.name:sub(1, 1)
    local good = kind == "y" or (kind == "i" and may_be_accepted(file.name)) and true or false

    it((good and "accepts " or "refuses ") .. file.name, function()
      local ok, message = check(file.text)
      local decoded = state:run("json.decode(...)", file.text)

      assert.equal(good, ok, message)
      assert.equal(good and not (kind == "i" and out_of_range(file.text)), decoded)
      if not good then
        assert.matches("^invalid JSON at line %d+, column %d+ %(byte %d+%): .", message)
      end
    end)
  end

  it("is judged as PostgreSQL judges it", function()
    local server = pg.shared()
    local sql, ours = { [[CREATE OR REPLACE FUNCTION pg_temp.is_jsonb(t text) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN PERFORM t::jsonb; RETURN 't'; EXCEPTION WHEN others THEN RETURN 'f'; END $$;]] }, {}
    for _, file in ipairs(files) do
      -- what is no text in a UTF-8 database never reaches jsonb
      if lib.json_storable(str(file.text)) then
        sql[#sql + 1] = ("SELECT %s, pg_temp.is_jsonb(%s);"):format(quote(file.name), quote(file.text))
        ours[#ours + 1] = file.name .. "|" .. (lib.json_check_jsonb(str(file.text), 0, nil) and "t" or "f")
      end
    end

    assert.is_true(#ours > 130)
    assert.equal(table.concat(ours, "\n"), server:psql(table.concat(sql, "\n")))
  end)

  it("keeps the value of every file that jsonb takes", function()
    local sql, n = {}, 0
    for _, file in ipairs(files) do
      if lib.json_storable(str(file.text)) and lib.json_check_jsonb(str(file.text), 0, nil) then
        local ours = state:eval("return json.encode(json.decode(...))", file.text)
        sql[#sql + 1] = ("SELECT %s WHERE %s::jsonb IS DISTINCT FROM %s::jsonb;"):format(
          quote(file.name), quote(ours), quote(file.text))
        n = n + 1
      end
    end

    assert.is_true(n > 40)
    assert.equal("", pg.shared():psql(table.concat(sql, "\n")))
  end)

  it("shows how values change", function()
    local changed = {
      ["number_-9223372036854775808"] = "[-9223372036854775808]",
      ["number_1.0"] = "[1]",
      ["number_1000000000000000"] = "[1000000000000000]",
      ["number_1e-999"] = "[1e-999]",
      ["number_9223372036854775807"] = "[9223372036854775807]",
      ["object_key_nfc_nfd"] = '{"e\204\129":"NFD","\195\169":"NFC"}',
      ["object_same_key_different_values"] = '{"a":2}',
      ["object_same_key_unclear_values"] = '{"a":0}',
      ["string_1_invalid_codepoint"] = false,
      ["string_2_invalid_codepoints"] = false,
      ["string_3_invalid_codepoints"] = false,
    }
    for _, file in ipairs(suite.files("test_transform")) do
      local ok, text = state:run("return json.encode(json.decode(...))", file.text)
      if changed[file.name] == false then
        assert.is_false(ok, file.name)
      elseif changed[file.name] then
        assert.equal(changed[file.name], text, file.name)
      else
        assert.is_true(ok == check(file.text), file.name)
      end
    end
  end)
end)


describe("json_check", function()
  it("names line, column and byte", function()
    local _, message = check('{\n  "a": 1,\n  "b": tru\n}')

    assert.equal("invalid JSON at line 3, column 8 (byte 19): a value is expected", message)
  end)

  local refused = {
    { "a lone surrogate", [["\ud800"]], "surrogate" },
    { "surrogates in the wrong order", [["\udd1e\ud834"]], "surrogate" },
    { "a control character", '"a\1b"', "control character" },
    { "a NUL byte", '"a\0b"', "NUL byte" },
    { "invalid UTF-8", '"\255"', "invalid UTF%-8" },
    { "an overlong form", '"\192\175"', "invalid UTF%-8" },
    { "a surrogate in UTF-8", '"\237\160\128"', "invalid UTF%-8" },
    { "a code point above U+10FFFF", '"\244\144\128\128"', "invalid UTF%-8" },
    { "a truncated sequence", '"\226\130', "invalid UTF%-8" },
    { "an unknown escape", [["\x41"]], "unknown escape" },
    { "an open string", '["abc', "byte 1%): a string is not closed" },
    { "NaN", "[NaN]", "NaN is no JSON value" },
    { "Infinity", "[Infinity]", "Infinity is no JSON value" },
    { "-Infinity", "[-Infinity]", "%-Infinity is no JSON value" },
    { "a leading zero", "[012]", "begins with 0" },
    { "a leading plus", "[+1]", "a value is expected" },
    { "a bare point", "[1.]", "malformed" },
    { "trailing bytes", "{} x", "byte 3%): something follows" },
    { "two values", "1 2", "something follows" },
    { "a trailing comma", "[1,]", "a value is expected" },
    { "a trailing comma in an object", '{"a":1,}', "key" },
    { "a byte order mark", "\239\187\191{}", "byte order mark" },
    { "nothing", "", "ends where a value is expected" },
    { "white space only", " \n\t ", "ends where a value is expected" },
    { "an open array", "[1, 2", "inside of an array" },
    { "an open object", '{"a": 1', "inside of an object" },
    { "a wrong bracket", "[1}", "',' or '%]' is expected" },
    { "a key that is no string", "{a: 1}", "key" },
    { "a missing colon", '{"a" 1}', "':'" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function()
      local ok, message = check(case[2])

      assert.is_false(ok)
      assert.matches(case[3], message)
    end)
  end

  it("stops at the depth that it is given", function()
    local function nest(n)
      return ("["):rep(n) .. ("]"):rep(n)
    end

    assert.is_true(check(nest(512)))
    assert.matches("nested deeper than 512 levels", select(2, check(nest(513))))
    assert.is_true(check(nest(3), 3))
    assert.matches("byte 3%): nested deeper than 3", select(2, check(nest(4), 3)))
  end)

  it("survives a hundred thousand brackets", function()
    for _, bomb in ipairs { ("["):rep(100000), ('{"a":'):rep(100000), ('[{"a":'):rep(50000) } do
      assert.matches("nested deeper", select(2, check(bomb)))
      assert.matches("nested deeper than 4096", select(2, check(bomb, 1000000)))
    end
  end)

  it("for jsonb refuses what jsonb cannot hold", function()
    local function jsonb(text)
      return lib.json_check_jsonb(str(text), 0, err), ffi.string(err.message)
    end

    assert.is_true(check([["\u0000"]]))
    assert.matches("jsonb cannot hold \\u0000", select(2, jsonb([["\u0000"]])))
    assert.matches("numeric can hold", select(2, jsonb("[1e131072]")))
    assert.matches("numeric can hold", select(2, jsonb("[1e-16384]")))
    assert.is_true((jsonb("[1e131071, 1e-16383]")))
  end)

  it("reads no byte behind the text", function()
    local text = [[{"a": [1.5e3, "x\u00e9\ud834\udd1e", true, null]}]]
    for n = 0, #text - 1 do
      local exact = ffi.new("char[?]", n) -- under ASan a byte more is an error
      ffi.copy(exact, text, n)
      assert.is_false(lib.json_check(ffi.new("Str", exact, n), 0, err))
    end
  end)
end)


describe("json_path", function()
  local function path(text, dotted)
    local raw = ffi.new("Str")
    text = str(text)
    return lib.json_path(text, dotted, raw) and ffi.string(raw.s, raw.len) or nil
  end

  it("finds a member without decoding it", function()
    local text = [[ { "site" : "berlin", "tenant": {"id" : 12.50 , "x": [1, {"id": 2}]}, "e": {} , "n":null} ]]

    assert.equal('"berlin"', path(text, "site"))
    assert.equal("12.50", path(text, "tenant.id"))
    assert.equal('[1, {"id": 2}]', path(text, "tenant.x"))
    assert.equal("{}", path(text, "e"))
    assert.equal("null", path(text, "n"))
  end)

  it("finds nothing where there is nothing", function()
    for _, dotted in ipairs { "b", "a.b", "x.y", "", "a.", ".a", "x.y.z" } do
      assert.is_nil(path([[{"a": 1, "x": [{"y": 1}]}]], dotted), dotted)
    end
    assert.is_nil(path("[1]", "a"))
    assert.is_nil(path("", "a"))
  end)

  it("takes the last of repeated keys, as jsonb does", function()
    assert.equal("3", path([[{"a": 1, "a": {"b": 2}, "a": 3}]], "a"))
    assert.is_nil(path([[{"a": {"b": 2}, "a": 3}]], "a.b"))
  end)

  it("knows a key by its value, and is not misled by what strings hold", function()
    assert.equal("1", path([[{"\u0061b": 1}]], "ab"))
    assert.equal("2", path([[{"x": "\"ab\": 3, }{", "y\\": "]", "ab": 2}]], "ab"))
  end)
end)


describe("strings", function()
  local function literal(text)
    return (with_buf(function(buf) lib.json_add_string(buf, str(text)) end))
  end
  local function unescape(text)
    local bytes, ok = with_buf(function(buf) return lib.json_unescape(buf, str(text)) end)
    return ok and bytes or nil
  end

  it("are written with the escapes that JSON demands", function()
    assert.equal([["\"\\\b\f\n\r\t\u0000\u000b\u001f/é"]], literal('"\\\b\f\n\r\t\0\11\31/é'))
  end)

  it("come back as they were, whatever their length", function()
    for n = 0, 70 do
      for _, odd in ipairs { "", '"', "\\", "\n", "\1", "é", "𝄞", "\127" } do
        local text = ("x"):rep(n) .. odd .. ("y"):rep(n % 17)
        assert.equal(text, unescape(literal(text)))
        assert.is_true(check(literal(text)))
      end
    end
  end)

  it("are refused where jsonb cannot hold them", function()
    local function problem(text)
      local bytes, ok = with_buf(function(buf) return lib.json_add_string_checked(buf, str(text), err) end)
      assert.is_false(ok)
      assert.equal("", bytes)
      return ffi.string(err.message)
    end

    assert.matches("NUL %(byte 2%)", problem("ab\0cd"))
    assert.matches("not UTF%-8 %(byte 9%)", problem("123456789\255"))
    assert.matches("not UTF%-8 %(byte 0%)", problem("\237\160\128"))
  end)

  it("are not unescaped where the literal is broken", function()
    for _, text in ipairs { "", '"', "abc", '"abc', [["\"]], [["\ud800"]], '"\1"', '"\255"', '"a"b"' } do
      assert.is_nil(unescape(text), text)
    end
    assert.equal("é\0𝄞/", unescape([["\u00e9\u0000\ud834\udd1e\/"]]))
  end)
end)


describe("numbers", function()
  local state

  setup(function() state = lua_state.new() end)
  teardown(function() state:close() end)

  local function print_double(v)
    return (with_buf(function(buf) lib.json_add_double(buf, v) end))
  end

  local function random_numeral()
    local digits = {}
    for i = 1, math.random(1, math.random(1, 24)) do
      digits[i] = math.random(0, 9)
    end
    local text = table.concat(digits):gsub("^0+(%d)", "%1")
    if math.random() < 0.5 then
      text = text .. "." .. math.random(0, 9) .. (math.random() < 0.5 and math.random(0, 99999999) or "")
    end
    if math.random() < 0.4 then
      local signs = { "", "+", "-" }
      text = text .. "e" .. signs[math.random(3)] .. math.random(0, ({ 3, 30, 330 })[math.random(3)])
    end
    return (math.random() < 0.3 and "-" or "") .. text
  end

  --- The plain way: the first precision that reads back.
  local function shortest(v)
    for precision = 1, 17 do
      local text = ("%." .. precision .. "g"):format(v)
      if tonumber(text) == v then
        return text == "inf" and "Infinity" or text == "-inf" and "-Infinity" or text
      end
    end
  end

  it("are printed in their shortest form", function()
    local forms = {
      { 0, "0" }, { -0.0, "0" }, { 1, "1" }, { -1, "-1" }, { 0.1, "0.1" }, { 1.10, "1.1" }, { 2 ^ 53, "9007199254740992" },
      { 2 ^ 60, "1152921504606847000" }, { 2 ^ 63, "9223372036854776000" },
      { 1e300, "1e+300" }, { 5e-324, "5e-324" }, { 1.7976931348623157e308, "1.7976931348623157e+308" },
      { 1 / 3, "0.3333333333333333" }, { 1e-5, "0.00001" }, { 1e-7, "1e-7" }, { 123456.789, "123456.789" },
      { 1731942123.481516, "1731942123.481516" }, { 9007199254740993, "9007199254740992" },
      { 2.2250738585072014e-308, "2.2250738585072014e-308" }, { 9.5e-5, "0.000095" },
    }
    for _, form in ipairs(forms) do
      assert.equal(form[2], print_double(form[1]))
    end
  end)

  it("read back the same, and are as short as PostgreSQL prints them", function()
    local sql = { "SELECT ours FROM (VALUES" }
    local bits = ffi.new("union { double d; uint32_t u[2]; }")
    math.randomseed(20240611)
    for i = 1, 4000 * SOAK do
      do
        bits.u[0] = math.random(0, 2 ^ 32 - 1)
        bits.u[1] = math.random(0, 0x7fefffff) -- a finite one
        if i % 4 == 1 then
          bits.d = 2 ^ math.random(-1074, 1023) -- gaps differ on its two sides
        elseif i % 4 == 2 then
          bits.d = math.random(1, 2 ^ 31) * 10 ^ math.random(-12, 6) + math.random()
        end
      end
      local text = print_double(bits.d)
      assert.equal(bits.d, tonumber(text))
      assert.is_true(check(text))
      sql[#sql + 1] = ("%s('%s', '%.17g'::float8)"):format(i > 1 and "," or "", text, bits.d)
    end
    -- PostgreSQL's digits never lie on the border to the next double, where reading rounds to even
    sql[#sql + 1] = [[) v(ours, d) WHERE ours::numeric <> d::text::numeric
      AND length(trim_scale(ours::numeric)::text) >= length(trim_scale(d::text::numeric)::text)]]

    assert.equal("", pg.shared():psql(table.concat(sql, " ")))
  end)

  it("are Lua numbers exactly where the shortest decimal of a double has their value", function()
    local sql, ours = {}, {}
    math.randomseed(53)
    for i = 1, 3000 * SOAK do
      local text = random_numeral()
      local kind, shown = state:eval("local v = json.decode(...) return type(v), json.encode(v)", text)
      ours[i] = ("%s|%s|t"):format(text, kind == "number" and "t" or "f")
      sql[i] = ("SELECT '%s', '%s'::numeric = '%s'::numeric, '%s'::numeric = '%s'::numeric;"):format(
        text, text, shortest(tonumber(text)), text, shown)
    end
    local i = 0
    for line in pg.shared():psql(table.concat(sql, "\n")):gmatch("[^\n]+") do
      i = i + 1
      assert.equal(line, ours[i])
    end

    assert.equal(#ours, i)
  end)

  it("that are no Lua numbers keep their digits as decimals", function()
    local function show(text)
      return state:eval("local v = json.decode(...) return type(v), tostring(v), json.encode(v)", text)
    end

    assert.same({ "userdata", "12345678901234567890", "12345678901234567890" }, { show("12345678901234567890") })
    assert.same({ "userdata", "9007199254740993", "9007199254740993" }, { show("9007199254740993") })
    assert.same({ "userdata", "1152921504606846976", "1152921504606846976" }, { show("1152921504606846976") })
    assert.same({ "userdata", "0.10000000000000000001", "0.10000000000000000001" }, { show("0.10000000000000000001") })
    assert.same({ "userdata", "1.5e+400", "1.5e+400" }, { show("150e398") })
    assert.same({ "userdata", "1e-999", "1e-999" }, { show("0.1E-998") })
    assert.same({ "number", "1.1", "1.1" }, { show("1.10") })
    assert.same({ "number", "0", "0" }, { show("-0.0e7") })
  end)

  it("outside of PostgreSQL's numeric are a clear error", function()
    local ok, message = state:run("return json.decode('[1e999999]')")

    assert.is_false(ok)
    assert.matches("byte 1%): a number is outside of what PostgreSQL's numeric can hold", message)
  end)

  it("as decimals are one object per value", function()
    assert.is_true(state:eval [[
      local a, b = json.decode "9007199254740993.50", json.decode "900719925474099350e-2"
      local c = decimal "9007199254740993.5"
      collectgarbage() collectgarbage()
      local t = { [a] = "here" }
      return a == b and b == c and t[c] == "here" and a ~= decimal "9007199254740993.6"
    ]])
    assert.is_true(state:eval [[
      local weak = setmetatable({ decimal "9007199254740993" }, { __mode = "v" })
      collectgarbage() collectgarbage()
      return weak[1] == nil
    ]])
  end)

  it("as decimals compute as doubles", function()
    assert.same({ 9007199254740994, -9007199254740996, 2 ^ 54, "<9007199254740995>" }, { state:eval [[
      local d = decimal "9007199254740995"
      return d - 2, -d, d * 2 - 8, "<" .. d .. ">"
    ]] })
    assert.same({ true, false, true, false }, { state:eval [[
      local a, b = decimal "-9007199254740993", decimal "9007199254740993.1"
      return a < b, b < a, a <= a, decimal "1e400" <= decimal "99999999999999999999"
    ]] })
    assert.same({ 2 ^ 53, 1, 3 }, { state:eval "return tonumber(decimal '9007199254740993'), tonumber '1', tonumber('11', 2)" })
    assert.is_false(state:run "return decimal '9007199254740993' + {}")
    assert.is_false(state:run "return getmetatable(decimal '9007199254740993').__add")
  end)

  it("are made by the word decimal under the same rule", function()
    assert.same({ "number", "userdata" }, { state:eval "return type(decimal '12.50'), type(decimal '0.1000000000000000055')" })
    for _, text in ipairs { "", "x", " 1", "1 ", "+1", ".5", "1.", "0x10", "NaN", "1e999999" } do
      assert.is_false(state:run("return decimal(...)", text), text)
    end
  end)
end)


describe("decoding", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  it("keeps [] and {} apart, also when they were emptied", function()
    assert.equal('{"a":[],"b":{},"c":[],"d":{}}', state:eval [[
      local t = json.decode '{"a": [], "b": {}, "c": [1], "d": {"x": 1}}'
      t.c[1], t.d.x = nil, nil
      return json.encode(t)
    ]])
  end)

  it("makes null one value that says its name", function()
    assert.same({ true, "null" }, { state:eval "return json.decode('[null]')[1] == json.null, tostring(json.null)" })
    assert.matches("attempt to index null %(field 'name'%)", select(2, state:run "return json.null.name"))
  end)

  it("takes the last of repeated keys", function()
    assert.same({ 3 }, { state:eval [[return json.decode('{"a": 1, "b": 2, "\\u0061": 3}').a]] })
  end)

  it("fails on a depth bomb without using the stack", function()
    for _, bomb in ipairs { ("["):rep(100000), ('{"a":'):rep(100000) } do
      local ok, message = state:run("return json.decode(...)", bomb)

      assert.is_false(ok)
      assert.matches("nested deeper than 512 levels", message)
    end
    assert.is_true(state:run("return json.encode(json.decode(...))", ("["):rep(512) .. ("]"):rep(512)))
  end)

  it("leaves the stack as it was when it fails", function()
    local L = state.L
    for _, text in ipairs { '{"a": [1, {"b": x}]}', "[1, 2", '"\\x"', "[1e999999]", "" } do
      ffi.C.lua_settop(L, 3)
      assert.is_false(lib.lua_json_decode(L, str(text), err))
      assert.equal(3, ffi.C.lua_gettop(L))
    end
    assert.is_true(lib.lua_json_decode(L, str("[1]"), err))
    assert.equal(4, ffi.C.lua_gettop(L))
  end)
end)


describe("encoding", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  it("orders members by the bytes of their keys", function()
    local keys = { "b", "a", "ab", "", "Z", "aaaaaaaaab", "aaaaaaaaaa", "aaaaaaaa", "é", "10", "9", "~" }
    for i = 1, 40 do
      keys[#keys + 1] = ("k%d"):format(i)
    end
    local parts = {}
    for i, key in ipairs(keys) do
      parts[i] = ('"%s":1'):format(key)
    end
    local text = "{" .. table.concat(parts, ",") .. "}"
    table.sort(keys)
    for i, key in ipairs(keys) do
      parts[i] = ('"%s":1'):format(key)
    end

    assert.equal("{" .. table.concat(parts, ",") .. "}", state:eval("return json.encode(json.decode(...))", text))
    assert.equal('{"a":1,"b":2}', state:eval "return json.encode { b = 2, a = 1 }")
  end)

  it("tells arrays from objects", function()
    assert.equal('[[],{},[1,2],{"1":1},[null,true]]', state:eval [[
      local back = {} back[3] = 1 back[2] = 1 back[1] = 1
      assert(json.encode(back) == "[1,1,1]")
      return json.encode { array(), {}, { 1, 2 }, { ["1"] = 1 }, array { json.null, true } }
    ]])
    assert.same({ true, false, true, false }, { state:eval [[
      return json.is_array(array()), json.is_array({}), json.is_array(json.decode "[]"), json.is_array(3)
    ]] })
  end)

  local refused = {
    { "local t = { 1 } return { a = { x = t, y = t } }", "%.a%.[xy]: a table is reached twice" },
    { "local t = {} t.a = { b = t } return t", "value%.a%.b: a cycle" },
    { "return { a = { b = { 1, 2, print } } }", "value%.a%.b%[3%]: a function is no JSON value" },
    { "return { a = { 1, 2, x = 3 } }", "value%.a: a table has both positions and names" },
    { "return { a = { [1] = 1, [3] = 3 } }", "value%.a: the positions up to 3 have holes" },
    { "return { a = { [0] = 1 } }", "value%.a: the key 0 is no position" },
    { "return { a = { [1.5] = 1 } }", "value%.a: the key 1%.5 is no position" },
    { "return { a = { [-1] = 1 } }", "value%.a: the key %-1 is no position" },
    { "return { [1/0] = 1 }", "value: the key inf is no position" },
    { "return { a = { [true] = 1 } }", "value%.a: a key is a boolean" },
    { "return { a = { [json.null] = 1 } }", "value%.a: a key is a userdata" },
    { "return { a = { [{}] = 1 } }", "value%.a: a key is a table" },
    { "return { ['odd key'] = { 0/0 } }", 'value%["odd key"%]%[1%]: NaN is no JSON value' },
    { "return { 1/0 }", "value%[1%]: infinity is no JSON value" },
    { "return { -1/0 }", "value%[1%]: %-infinity is no JSON value" },
    { "return { coroutine.create(print) }", "value%[1%]: a thread is no JSON value" },
    { "return { io.stdout }", "value%[1%]: an object of type userdata is no JSON value" },
    { "return { newproxy() }", "value%[1%]: an object of type userdata is no JSON value" },
    { "return { 'a\\0b' }", "value%[1%]: a string holds a NUL %(byte 1%)" },
    { "return { '\\255' }", "value%[1%]: a string is not UTF%-8 %(byte 0%)" },
    { "return { ['\\255'] = 1 }", "value: a string is not UTF%-8" },
    { "return { ['a\\0'] = 1 }", "value: a string holds a NUL" },
    { "return { setmetatable({}, {}) }", "value%[1%]: a table with a metatable" },
    { "local t = {} for i = 1, 600 do t = { t } end return t", "nested deeper than 512 levels" },
    { "local t = array() t.x = 1 return t", "value: an array cannot have names" },
    { "local s, t = ('x'):rep(2^20), {} for i = 1, 20 do t[i] = s end return t", "value%[16%]: more than 16777216 bytes" },
    { "return print", "value: a function is no JSON value" },
  }
  for _, case in ipairs(refused) do
    it("refuses " .. case[1], function()
      local ok, message = state:run(("local f = function() %s end json.encode(f())"):format(case[1]))

      assert.is_false(ok)
      assert.matches(case[2], message)
    end)
  end

  it("leaves what was written before as it was when it fails", function()
    local buf = ffi.new("Buf")
    lib.buf_adds(buf, "before")
    state:eval "bad = { a = 1, b = print }"
    ffi.C.lua_getfield(state.L, -10002, "bad")

    assert.is_false(lib.lua_json_encode(state.L, -1, buf, "state", err))
    assert.equal("before", ffi.string(buf.s))
    assert.matches("^state%.b: ", ffi.string(err.message))
    assert.equal(1, ffi.C.lua_gettop(state.L))
    lib.buf_free(buf)
  end)

  it("writes -0 as 0 and every length of string", function()
    assert.equal("[0,0]", state:eval "return json.encode { -0, 0 * -1 }")
    assert.is_true(state:eval [[
      for n = 0, 40 do
        for _, odd in ipairs { "", '"', "\\", "\n", "\194\128", "\226\130\172" } do
          local s = ("x"):rep(n) .. odd
          assert(json.decode(json.encode { s })[1] == s)
        end
      end
      return true
    ]])
  end)
end)


describe("a round trip", function()
  local state

  setup(function() state = lua_state.new() end)
  teardown(function() state:close() end)

  local PIECES = { "a", "id", "é", "€", "𝄞", [[\"]], [[\\]], [[\/]], [[\n]], [[\u0001]], [[\u00e9]], [[\ud834\udd1e]],
    " ", "0", "key", ("long"):rep(9), "'", "\127" }
  local NUMBERS = { "0", "-0", "1", "-17", "2.50", "1e3", "1E-2", "123456789012345678901", "0.1", "1e400", "1e-300",
    "9007199254740993", "1.0", "3.14159265358979323846", "18446744073709551616", "0.000001" }

  local function text_of(pieces)
    local out = {}
    for i = 1, math.random(0, pieces) do
      out[i] = PIECES[math.random(#PIECES)]
    end
    return '"' .. table.concat(out) .. '"'
  end

  local function value(depth)
    local space = ({ "", " ", "\n\t" })[math.random(3)]
    local kind = math.random(depth > 0 and 7 or 5)
    if kind <= 2 then
      return text_of(5)
    elseif kind == 3 then
      return NUMBERS[math.random(#NUMBERS)]
    elseif kind <= 5 then
      return ({ "true", "false", "null" })[math.random(3)]
    end
    local parts = {}
    for i = 1, math.random(0, 6) do
      parts[i] = space .. (kind == 7 and text_of(3) .. space .. ":" or "") .. value(depth - 1) .. space
    end
    return (kind == 6 and "[" or "{") .. table.concat(parts, ",") .. space .. (kind == 6 and "]" or "}")
  end

  it("keeps every value, as PostgreSQL reads it", function()
    local sql = {}
    math.randomseed(8259)
    for _ = 1, 800 * SOAK do
      local text = value(5)
      local once, twice = state:eval([[
        local once = json.encode(json.decode(...))
        return once, json.encode(json.decode(once))
      ]], text)
      assert.equal(once, twice)
      assert.is_true(check(once))
      sql[#sql + 1] = ("SELECT %s WHERE %s::jsonb IS DISTINCT FROM %s::jsonb;"):format(quote(text), quote(text), quote(once))
      -- and the text as jsonb writes it
      sql[#sql + 1] = ("SELECT %s::jsonb;"):format(quote(text))
    end
    local n = 0
    for line in pg.shared():psql(table.concat(sql, "\n")):gmatch("[^\n]+") do
      n = n + 1
      assert.is_true(check(line), line)
    end

    assert.equal(800 * SOAK, n) -- a difference would have added a line
  end)

  it("survives every mutation of a text with a value or a clear error", function()
    math.randomseed(4627)
    local accepted, refused = 0, 0
    for _ = 1, 4000 * SOAK do
      local text = value(4)
      for _ = 1, math.random(1, 3) do
        local at = math.random(0, #text)
        text = text:sub(1, at) .. string.char(math.random(0, 255)) .. text:sub(at + 1 + math.random(0, 2))
      end
      local ok, message = check(text)
      local decoded = state:run("json.decode(...)", text)
      assert.equal(ok, decoded, text)
      if ok then
        accepted = accepted + 1
      else
        refused = refused + 1
        assert.matches("^invalid JSON at line %d+, column %d+ %(byte %d+%): .", message)
      end
    end

    assert.is_true(accepted > 100 and refused > 1000)
  end)
end)


describe("adopting a state", function()
  local state

  before_each(function() state = lua_state.new() end)
  after_each(function() state:close() end)

  local function refuses(chunk, pattern)
    state:eval(chunk)
    local ok, message = state:adopt("a")
    assert.is_false(ok)
    assert.matches(pattern, message)
  end

  it("takes a JSON tree, again and again", function()
    state:eval [[a = { n = 1, s = "x", t = { 1, 2, { deep = json.null } }, e = {}, l = array(), d = decimal "9007199254740993" }]]
    assert.is_true(state:adopt("a"))
    assert.is_true(state:adopt("a"))
    state:eval [[a.t[4], a.e.new, a.l[1] = {}, { x = {} }, "y"]]
    assert.is_true(state:adopt("a"))

    assert.equal([[{"d":9007199254740993,"e":{"new":{"x":{}}},"l":["y"],"n":1,"s":"x","t":[1,2,{"deep":null},{}]}]],
      state:eval "return json.encode(a)")
  end)

  it("remembers what was an array when it is emptied", function()
    state:eval "a = { list = { 1, 2 }, map = { x = 1 }, later = {} }"
    assert.is_true(state:adopt("a"))
    state:eval "a.list[1], a.list[2], a.map.x, a.later[1] = nil, nil, nil, 7"
    assert.is_true(state:adopt("a"))
    state:eval "a.later[1] = nil"
    assert.is_true(state:adopt("a"))

    assert.equal('{"later":[],"list":[],"map":{}}', state:eval "return json.encode(a)")
  end)

  it("turns -0 into 0", function()
    assert.is_true(state:eval "a = { x = -0, l = { 0 * -1 } } return 1 / a.l[1] < 0")
    assert.is_true(state:adopt("a"))

    assert.same({ math.huge, math.huge }, { state:eval "return 1 / a.x, 1 / a.l[1]" })
  end)

  it("refuses what is no tree", function()
    refuses("a = {} a.x = { y = a }", "^state%.x%.y: a cycle")
    refuses("a = {} local t = {} a.x, a.y = { t }, { t }", "^state%.[xy]%[1%]: a table is reached twice")
  end)

  it("refuses what encoding refuses, and names the path", function()
    refuses("a = { x = { 1, { f = print } } }", "^state%.x%[2%]%.f: a function is no JSON value")
    refuses("a = { x = 0/0 }", "^state%.x: NaN")
    refuses("a = { x = '\\255' }", "^state%.x: a string is not UTF%-8")
    refuses("a = { x = 'a\\0' }", "^state%.x: a string holds a NUL")
    refuses("a = { x = { [7] = 1 } }", "^state%.x: the positions up to 7 have holes")
    refuses("a = { x = { 1, y = 2 } }", "^state%.x: a table has both")
    refuses("a = { x = setmetatable({}, {}) }", "^state%.x: a table with a metatable")
    refuses("a = { x = setmetatable({}, { true, 'key', {} }) }", "^state%.x: a table with a metatable")
    refuses("a = { x = newproxy() }", "^state%.x: an object of type userdata")
    refuses("a = { [false] = 1 }", "^state: a key is a boolean")
    refuses("a = {} local t = a for _ = 1, 600 do t.x = {} t = t.x end", "nested deeper than 512")
  end)

  it("refuses a name in an array, also when all positions are gone", function()
    state:eval "a = { l = { 1 } }"
    assert.is_true(state:adopt("a"))
    refuses("a.l[1], a.l.x = nil, 2", "^state%.l: an array cannot have names")
  end)

  it("refuses a table of another state, and names its key", function()
    state:eval "a = { sub = { 1 } } b = {}"
    assert.is_true(state:adopt("a", "device-7"))
    assert.is_true(state:adopt("b", "device-8"))

    state:eval "b.stolen = a.sub"
    local ok, message = state:adopt("b", "device-8")
    assert.is_false(ok)
    assert.matches("^state%.stolen: .* it also belongs to the state of key device%-7 %(copy the table%)", message)
  end)

  it("refuses another state as a whole, within a state or in its place", function()
    state:eval "a = { x = 1 } b = { y = 2 }"
    assert.is_true(state:adopt("a"))
    assert.is_true(state:adopt("b"))

    state:eval "b.whole = a"
    assert.matches("^state%.whole: .* belongs to another state", select(2, state:adopt("b")))
    assert.matches("^state: .* belongs to another state", select(2, state:adopt("a", "b")))
  end)

  it("refuses a table whose state was dropped", function()
    state:eval "a = { sub = {} } kept = a.sub"
    assert.is_true(state:adopt("a"))
    state:disown("a")
    state:eval "a = nil collectgarbage() collectgarbage() b = { kept = kept }"

    assert.is_false((state:adopt("b")))
  end)

  it("lets tables move within their state, and the state into a new one", function()
    state:eval "a = { x = { 1 }, y = {} }"
    assert.is_true(state:adopt("a"))
    state:eval "a.y.moved, a.x = a.x, nil"
    assert.is_true(state:adopt("a"))
    state:eval "a = { old = a, n = 1 }"
    assert.is_true(state:adopt("a"))
    assert.equal('{"n":1,"old":{"y":{"moved":[1]}}}', state:eval "return json.encode(a)")

    state:eval "a = a.old.y"
    assert.is_true(state:adopt("a"))
    assert.is_true(state:adopt("a"))
    assert.equal('{"moved":[1]}', state:eval "return json.encode(a)")
  end)

  it("takes an array as the whole state, and keeps it one", function()
    state:eval "a = { 1 }"
    assert.is_true(state:adopt("a"))
    state:eval "a[1] = nil"
    assert.is_true(state:adopt("a"))

    assert.equal("[]", state:eval "return json.encode(a)")
  end)

  it("hides its marks from scripts", function()
    state:eval "a = { sub = {} }"
    assert.is_true(state:adopt("a"))

    assert.same({ false, false, false, false }, { state:eval [[
      return getmetatable(a), getmetatable(a.sub), (pcall(setmetatable, a, {})), (pcall(setmetatable, a.sub, nil))
    ]] })
  end)

  it("does not let the word array hide whose a table is", function()
    state:eval "a = { sub = {} } b = {}"
    assert.is_true(state:adopt("a"))
    state:eval "b.l = array(a.sub)"
    assert.matches("belongs to the state of key a", select(2, state:adopt("b")))
    assert.is_true(state:adopt("a"))
    assert.equal('{"sub":[]}', state:eval "return json.encode(a)")
  end)

  it("gives the same as reading the state again, over random changes", function()
    math.randomseed(77)
    state:eval [[
      function mutate(t, random, depth)
        local keys = {}
        for k in pairs(t) do keys[#keys + 1] = k end
        table.sort(keys, function(x, y) return tostring(x) < tostring(y) end)
        local is_list = json.is_array(t) or #t > 0
        local inner = keys[random(#keys)]
        if inner and type(t[inner]) == "table" and depth < 5 and random(3) > 1 then
          return mutate(t[inner], random, depth + 1)
        end
        local fresh = { function() return random(9) - 5 end, function() return "s" .. random(9) end,
          function() return {} end, function() return array() end, function() return { random(3), -0 } end,
          function() return { x = random(3) } end, function() return json.null end, function() return true end,
          function() return decimal "12345678901234567890" end }
        local make = fresh[random(#fresh)]
        if is_list then
          if random(3) == 1 then t[#t] = nil else t[#t + 1] = make() end
        elseif random(3) == 1 and inner then
          t[inner] = nil
        else
          t["k" .. random(6)] = make()
        end
      end
      function generator(seed)
        return function(n)
          if n < 1 then return 0 end
          seed = (seed * 1103515245 + 12345) % 2147483648
          return math.floor(seed / 65536) % n + 1
        end
      end
      a, b = {}, {}
      one, two = generator(1), generator(1)
    ]]
    for _ = 1, 600 * SOAK do
      state:eval "mutate(a, one, 1) mutate(b, two, 1)"
      assert.is_true(state:adopt("a"))
      assert.is_true(state:adopt("b"))
      local cached, read_again = state:eval "return json.encode(a), json.encode(b)"
      assert.equal(cached, read_again)
      state:disown("b")
      state:eval("b = json.decode(...)", read_again)
    end
  end)
end)
