local ffi = require "ffi"
local lua_state = require "spec.support.lua_state"
local pg = require "spec.support.pg"
local suite = require "spec.support.json_suite"

local lib, str = lua_state.lib, lua_state.str
local err = ffi.new("Err")

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
