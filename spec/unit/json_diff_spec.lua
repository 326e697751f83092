local ffi = require "ffi"
local dkjson = require "dkjson"
local c = require "spec.support.c"

local lib = c.load { "base/err.h", "base/mem.h", "base/json.h", "base/json_diff.h" }
local SOAK = os.getenv("MOONWAKE_SOAK") and 20 or 1

local function str(text)
  return text and ffi.new("Str", text, #text) or ffi.new("Str")
end

local function text(s)
  return s.s ~= nil and ffi.string(s.s, s.len) or nil
end

--- The changes as lines: "path: before -> after", with "-" for nothing.
local function diff(before, after)
  local d, lines = ffi.new("JsonDiff"), {}
  lib.json_diff(str(before), str(after), d)
  for i = 0, tonumber(d.count) - 1 do
    local change = d.at[i]
    lines[i + 1] = ("%s: %s -> %s"):format(text(change.path), text(change.before) or "-", text(change.after) or "-")
  end
  lib.json_diff_free(d)
  return lines
end

local function at(value, path)
  return text(lib.json_at(str(value), str(path)))
end

describe("the difference of two JSON values", function()
  it("names what changed, came and went by its path", function()
    assert.same({ "apps.agent.image: \"a:1\" -> \"a:2\"", "apps.new: - -> true", "list[2]: 2 -> 3", "list[3]: - -> null",
      "old: 1 -> -" },
      diff('{"apps":{"agent":{"image":"a:1"}},"list":[1,2],"old":1}',
        '{"list":[1,3,null],"apps":{"agent":{"image":"a:2"},"new":true}}'))
  end)

  it("is empty for equal values however they are written", function()
    local equals = {
      { "1", "1.0" }, { "1", "1e0" }, { "0.1", "0.10" }, { "-0", "0" }, { "1E2", "100" }, { "0e5", "0" },
      { '"a"', '"\\u0061"' }, { '"\\ud83d\\ude00"', '"😀"' }, { '"/"', '"\\/"' }, { "[ ]", "[]" }, { " {}", "{ }\n" },
      { '{"a":1,"b":2}', '{ "b" : 2.0 , "a" : 1 }' }, { '{"a":1,"a":2}', '{"a":2}' }, { '{"\\u0061":1}', '{"a":1}' },
      { "123456789012345678901234567890", "1.2345678901234567890123456789e29" },
    }
    for _, pair in ipairs(equals) do
      assert.same({}, diff(pair[1], pair[2]))
      assert.same({}, diff(pair[2], pair[1]))
    end
  end)

  it("sees every digit of a number", function()
    assert.same({ ": 9007199254740992 -> 9007199254740993" }, diff("9007199254740992", "9007199254740993"))
    assert.same({ ": 0.1 -> 0.10000000000000000000001" }, diff("0.1", "0.10000000000000000000001"))
    assert.same({ ": 1e400 -> 1e401" }, diff("1e400", "1e401"))
    assert.same({ ": 1 -> -1" }, diff("1", "-1"))
  end)

  it("keeps apart what is not the same", function()
    local values = { "null", "true", "false", "0", "1", '""', '"0"', '"null"', "[]", "{}", '[""]', "[[]]", '{"":1}' }
    for i, a in ipairs(values) do
      for j, b in ipairs(values) do
        assert.equal(i == j, #diff(a, b) == 0)
      end
    end
  end)

  it("counts the last of repeated members", function()
    assert.same({ "a: 2 -> 3" }, diff('{"a":1,"b":0,"a":2}', '{"a":9,"a":8,"a":3,"b":0}'))
  end)

  it("tells the leaves of a container that comes, goes or is replaced", function()
    assert.same({ "a.b: - -> 1", "a.c: - -> {}" }, diff(nil, '{"a":{"b":1,"c":{}}}'))
    assert.same({ "a: 1 -> -", "a.b: - -> 2" }, diff('{"a":1}', '{"a":{"b":2}}'))
    assert.same({ "a[1]: 1 -> -", "a.b: - -> 2" }, diff('{"a":[1]}', '{"a":{"b":2}}'))
    assert.same({ "a: {} -> -", "a.b: - -> 2" }, diff('{"a":{}}', '{"a":{"b":2}}'))
    assert.same({ ": {} -> []" }, diff("{}", "[]"))
    assert.same({ ": null -> -" }, diff("null", nil))
    assert.same({}, diff(nil, nil))
  end)

  it("quotes a name that is no plain word", function()
    assert.same({ '[""]: - -> 0', '["1"]: - -> 1', '["a b"]["c.d"]: - -> 2', '["q\\"\\\\"]: - -> 3', 'w.x_1["ü"]: - -> 4' },
      diff(nil, '{"":0,"1":1,"a b":{"c.d":2},"q\\"\\\\":3,"w":{"x_1":{"ü":4}}}'))
  end)

  it("needs no stack for depth", function()
    local function deep(n, leaf)
      return ('{"a":['):rep(n / 2) .. leaf .. ("]}"):rep(n / 2)
    end

    assert.same({ ("a[1]."):rep(256):sub(1, -2) .. ": 1 -> 2" }, diff(deep(512, "1"), deep(512, "2")))
    assert.equal("2", at(deep(512, "2"), (("a[1]."):rep(256):sub(1, -2))))
    assert.same({ ("[1]"):rep(4000) .. ": 1 -> 2" },
      diff(("["):rep(4000) .. "1" .. ("]"):rep(4000), ("["):rep(4000) .. "2" .. ("]"):rep(4000)))
  end)
end)

describe("the value at a path", function()
  local value = '{"a": {"b c": [10, {"x": null}]}, "a.b": 1, "": 2, "l": [], "t\\"": "é", "a": {"b c": [10, {"x": true}]}}'

  it("is found for leaves and for containers, as it is written", function()
    assert.equal(value, at(value, ""))
    assert.equal('[10, {"x": true}]', at(value, 'a["b c"]'))
    assert.equal("10", at(value, 'a["b c"][1]'))
    assert.equal("true", at(value, 'a["b c"][2].x'))
    assert.equal("1", at(value, '["a.b"]'))
    assert.equal("2", at(value, '[""]'))
    assert.equal("[]", at(value, "l"))
    assert.equal('"é"', at(value, '["t\\""]'))
  end)

  it("is nothing where there is none, or where the path is no path", function()
    for _, path in ipairs { "b", "a.b", "l[1]", "l[0]", "a[1]", "l.x", "a.", ".a", "a..b", "a[", "a[]", "a[x]", 'a["b c"',
      'a["b c', "l[99999999999999999999]", "l[-1]", "a.b.c", "]", "." } do
      assert.is_nil(at(value, path), path)
    end
    assert.is_nil(at(nil, ""))
    assert.is_nil(at("1", "a"))
  end)
end)

describe("a value with its members in order", function()
  local function sorted(value)
    local out = ffi.new("Buf")
    lib.json_add_sorted(out, str(value))
    local result = ffi.string(out.s, out.len)
    lib.buf_free(out)
    return result
  end

  it("has no spaces, and each member once", function()
    assert.equal('{"":[],"B":1.50,"a":{"c":"x\\u00e9 y","é":[1,{"y":{},"z":null}]},"a b":true}',
      sorted(' {"a b" : true, "a": {"é": [1, {"z": null, "y": { }}], "c": "x\\u00e9 y"}, "B": 2, "": [ ], "B": 1.50 }'))
    assert.equal("7", sorted(" 7 "))
  end)
end)

describe("random values", function()
  local SCALARS = { "null", "true", "false", "0", "1", "1.0", "-1", "0.1", "0.10", "1e3", "1000", "9007199254740993",
    "9007199254740992", '""', '"a"', '"\\u0061"', '"a.b"', '"ü"', "{}", "[]" }
  local NAMES = { "a", "b", "c_1", "a.b", "x y", "é", "", "1", 'q"' }

  local function quoted(name)
    return dkjson.encode(name)
  end

  --- A tree: a scalar's text, or { kind =, items } with members as { name, tree }.
  local function random_tree(depth)
    if depth == 0 or math.random() < 0.3 then
      return SCALARS[math.random(#SCALARS)]
    end
    local tree = { kind = math.random() < 0.6 and "{" or "[" }
    for i = 1, math.random(0, 4) do
      tree[i] = { NAMES[math.random(#NAMES)], random_tree(depth - 1) }
    end
    return tree
  end

  local function space()
    return math.random() < 0.1 and " \n" or ""
  end

  local function write(tree)
    if type(tree) == "string" then
      return tree
    end
    local parts = {}
    for i, item in ipairs(tree) do
      parts[i] = space() .. (tree.kind == "{" and quoted(item[1]) .. space() .. ":" or "") .. space() .. write(item[2])
    end
    return tree.kind .. table.concat(parts, ",") .. space() .. (tree.kind == "{" and "}" or "]")
  end

  --- A copy in which some things are otherwise.
  local function mutate(tree)
    if type(tree) == "string" or math.random() < 0.1 then
      return math.random() < 0.4 and random_tree(2) or tree
    end
    local copy = { kind = tree.kind }
    for _, item in ipairs(tree) do
      if math.random() > 0.1 then
        copy[#copy + 1] = { item[1], mutate(item[2]) }
      end
    end
    if math.random() < 0.2 then
      copy[#copy + 1] = { NAMES[math.random(#NAMES)], random_tree(1) }
    end
    return copy
  end

  local VALUE = { ["1.0"] = "1", ["0.10"] = "0.1", ["1e3"] = "1000", ['"\\u0061"'] = '"a"' }

  --- The leaves of a tree by path.
  local function leaves(tree, path, out)
    if type(tree) == "string" then
      out[path] = tree
      return out
    end
    local members, any = {}, false
    for i, item in ipairs(tree) do
      any = true
      members[tree.kind == "[" and i or item[1]] = item[2]
    end
    if not any then
      out[path] = tree.kind == "{" and "{}" or "[]"
    end
    for name, item in pairs(members) do
      local step = type(name) == "number" and ("[%d]"):format(name)
        or name:match("^[%a_][%w_]*$") and (path == "" and name or "." .. name) or "[" .. quoted(name) .. "]"
      leaves(item, path .. step, out)
    end
    return out
  end

  local function bare(leaf)
    return leaf and (leaf:gsub("^([%[{])%s*", "%1"))
  end

  local function naive(before, after)
    local a, b, lines = leaves(before, "", {}), leaves(after, "", {}), {}
    for path, value in pairs(a) do
      if not b[path] or (VALUE[b[path]] or b[path]) ~= (VALUE[value] or value) then
        lines[#lines + 1] = ("%s: %s -> %s"):format(path, value, b[path] or "-")
      end
    end
    for path, value in pairs(b) do
      if not a[path] then
        lines[#lines + 1] = ("%s: - -> %s"):format(path, value)
      end
    end
    table.sort(lines)
    return lines
  end

  local function sorted(lines)
    for i, line in ipairs(lines) do
      local path, before, after = line:match("^(.*): (.-) %-> (.-)$")
      lines[i] = ("%s: %s -> %s"):format(path, bare(before), bare(after))
    end
    table.sort(lines)
    return lines
  end

  it("differ as their lists of leaves do", function()
    local seed = os.time()
    math.randomseed(seed)
    for round = 1, 3000 * SOAK do
      local before = random_tree(5)
      local after = math.random() < 0.8 and mutate(before) or random_tree(5)
      local a, b = write(before), write(after)
      local expected, got = naive(before, after), sorted(diff(a, b))
      if table.concat(expected, "\n") ~= table.concat(got, "\n") then
        assert.same(expected, got, ("seed %d, round %d: %s / %s"):format(seed, round, a, b))
      end
    end
  end)

  it("are the same in order", function()
    for _ = 1, 500 * SOAK do
      local value = write(random_tree(5))
      local out = ffi.new("Buf")
      lib.json_add_sorted(out, str(value))
      assert.same({}, diff(value, ffi.string(out.s, out.len)))
      lib.buf_free(out)
    end
  end)

  it("have at each path of a leaf that leaf", function()
    local seed = os.time()
    math.randomseed(seed)
    for _ = 1, 500 * SOAK do
      local tree = random_tree(5)
      local value = write(tree)
      for path, leaf in pairs(leaves(tree, "", {})) do
        assert.equal(leaf, bare(at(value, path)), ("seed %d: %s in %s"):format(seed, path, value))
      end
    end
  end)
end)
