local ffi = require "ffi"
local c = require "spec.support.c"
local C = c.load { "base/mem.h", "base/err.h", "flow/address.h", "flow/webhook.h" }

ffi.cdef [[int inet_pton(int family, const char *text, void *address); ]]

local INET, INET6 = 2, 10

local function str(text)
  return ffi.new("Str", text, #text)
end

describe("a webhook's signature", function()
  local function sign(secret, id, seconds, body)
    local out, err = ffi.gc(ffi.new("Buf"), C.buf_free), ffi.new("Err")
    local ok = C.webhook_sign(str(secret), id, seconds, str(body), out, err)
    return ok and ffi.string(out.s, out.len) or nil, ffi.string(err.message)
  end

  it("is the one that Standard Webhooks publishes for its example", function()
    assert.equal("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", (sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
      "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, '{"test": 2432232314}')))
  end)

  it("needs a secret of 24 to 64 bytes, in base64", function()
    for _, secret in ipairs { "", "whsec_", "whsec_c2hvcnQ=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "whsec_" .. ("A"):rep(92),
      "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!w" } do
      local signature, problem = sign(secret, "id", 0, "")
      assert.is_nil(signature, secret)
      assert.matches("^is not whsec_ and the base64 of 24 to 64 bytes", problem)
    end
    assert.is_string((sign("whsec_" .. ("A"):rep(86) .. "==", "id", 0, "")))
    assert.is_string((sign(("A"):rep(32), "id", 0, "")))
  end)
end)

describe("an address", function()
  local function is_public(text)
    local family, at = INET, 4
    if text:find(":", 1, true) then
      family, at = INET6, 8
    end
    local bytes = ffi.new("unsigned char[28]")
    ffi.cast("unsigned short *", bytes)[0] = family
    assert(ffi.C.inet_pton(family, text, bytes + at) == 1, text)
    return C.address_is_public(ffi.cast("struct sockaddr *", bytes))
  end

  it("is public where anybody on the internet may have it", function()
    for _, text in ipairs { "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
      "128.0.0.1", "169.253.0.1", "172.15.255.255", "172.32.0.0", "192.167.0.1", "198.17.0.1", "198.20.0.1", "223.255.255.255",
      "2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "2002:808:808::1" } do
      assert.is_true(is_public(text), text)
    end
  end)

  it("is not where it is loopback, private, local, shared, multicast, an example, or hides one of them", function()
    for _, text in ipairs { "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
      "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
      "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
      "64:ff9b::a00:1", "64:ff9b:1::1", "::ffff:0:7f00:1", "3fff::1", "5f00::1", "100::1", "2001::1", "2001:db8::1", "2002:a00:1::1", "fc00::1", "fdff::1", "fe80::1",
      "fec0::1", "ff02::1" } do
      assert.is_false(is_public(text), text)
    end
  end)
end)
