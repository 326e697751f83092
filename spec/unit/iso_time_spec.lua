local ffi = require "ffi"
local c = require "spec.support.c"
local C = c.load { "base/iso_time.h", "base/digest.h" }

local function str(s)
  return ffi.new("Str", { s, #s })
end

local function parse(s)
  local us = ffi.new("int64_t[1]")
  return C.iso_time_parse(str(s), us) and tostring(us[0]):gsub("LL$", "") or nil
end

describe("iso_time", function()
  local good = {
    ["1970-01-01"] = "0", ["1970-01-01T00:00:00Z"] = "0", ["1970-01-01 00:00"] = "0", ["2000-02-29T12:00:00Z"] = "951825600000000",
    ["2026-01-02T03:04:05.123456Z"] = "1767323045123456", ["2026-01-02T03:04:05.1234565Z"] = "1767323045123457",
    ["2026-01-02T03:04:05.1Z"] = "1767323045100000", ["2026-01-02T03:04:05,5z"] = "1767323045500000",
    ["2026-01-02T05:04:05+02:00"] = "1767323045000000", ["2026-01-02T03:04:05+00"] = "1767323045000000",
    ["2026-01-01T23:04:05-0400"] = "1767323045000000", ["1969-12-31T23:59:59.999999Z"] = "-1", ["0001-01-01"] = "-62135596800000000",
    ["9999-12-31T23:59:59.999999Z"] = "253402300799999999", ["2026-01-01T24:00:00Z"] = "1767312000000000",
  }
  for text, us in pairs(good) do
    it("reads " .. text, function()
      assert.equal(us, parse(text))
    end)
  end

  for _, text in ipairs { "", "x", "2026", "2026-1-2", "2026-02-29", "1900-02-29", "2026-13-01", "2026-00-01", "2026-01-32", "2026-01-02T", "2026-01-02T3:04",
    "2026-01-02T25:00:00", "2026-01-02T24:00:01", "2026-01-02T03:60:00", "2026-01-02T03:04:05.", "2026-01-02T03:04:05 Z", "2026-01-02T03:04:05+2",
    "2026-01-02T03:04:05Zx", "0000-01-01", "10000-01-01", "9999-12-31T23:59:59.9999999Z", "now", " 2026-01-02" } do
    it(("refuses %q"):format(text), function()
      assert.is_nil(parse(text))
    end)
  end

  it("writes what it reads, for any microsecond of ten thousand years", function()
    local out = ffi.new("char[28]")
    math.randomseed(7)
    for _ = 1, 20000 do
      local us = ffi.cast("int64_t", (math.random() * 315537897600 - 62135596800)) * 1000000LL + math.random(0, 999999)
      C.iso_time_format(us, out)
      assert.equal(tostring(us), parse(ffi.string(out)) .. "LL")
    end
  end)
end)

describe("digest", function()
  it("is SHA-256", function()
    local out = ffi.new("char[65]")
    C.digest_sha256_hex(str "abc", out)

    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", ffi.string(out))
  end)

  it("is the same in pieces, and can be read on the way", function()
    local d, out = ffi.gc(C.digest_open(), C.digest_close), ffi.new("char[65]")
    C.digest_add(d, str "a")
    C.digest_hex(d, out)
    C.digest_add(d, str "bc")
    C.digest_hex(d, out)

    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", ffi.string(out))
  end)

  it("makes version 8 uuids", function()
    local out = ffi.new("unsigned char[16]")
    C.digest_uuid(str "abc", out)

    assert.same({ 0xba, 0x8f, 0x81 }, { out[0], out[6], out[8] })
  end)
end)
