local ffi = require "ffi"
local json = require "dkjson"
local c = require "spec.support.c"

local C = c.load { "base/err.h", "base/mem.h", "base/json_patch.h" }
local SEED = tonumber(os.getenv("SEED") or os.time())

local function str(s)
  return ffi.new("Str", { ffi.cast("const char *", s), #s })
end

--- The patched text; or nil and why not.
local function patch(document, operations)
  local out, err = ffi.new("Buf"), ffi.new("Err")
  local ok = C.json_patch(str(document), str(operations), out, err)
  local text = ok and ffi.string(out.s, out.len) or nil
  C.buf_free(out)
  return text, ffi.string(err.message)
end

local function merge(document, with)
  local out = ffi.new("Buf")
  C.json_merge_patch(str(document), str(with), out)
  local text = ffi.string(out.s, out.len)
  C.buf_free(out)
  return text
end

local function check(text)
  local err = ffi.new("Err")
  return C.json_patch_check(str(text), err), ffi.string(err.message)
end

--- Values as one text: members by name.
local function plain(value)
  if type(value) ~= "table" or value == json.null then
    return json.encode(value)
  end
  local out, is_object = {}, (getmetatable(value) or {}).__jsontype == "object"
  for k, v in pairs(value) do
    out[#out + 1] = is_object and json.encode(k) .. ":" .. plain(v) or nil
  end
  if is_object then
    table.sort(out)
    return "{" .. table.concat(out, ",") .. "}"
  end
  for i, v in ipairs(value) do
    out[i] = plain(v)
  end
  return "[" .. table.concat(out, ",") .. "]"
end

local function canonical(text)
  return plain(json.decode(text, 1, json.null))
end


-- RFC 6902, appendix A: document, patch, result (false: an error)
local RFC6902 = {
  { "A.1", '{ "foo": "bar"}', '[{ "op": "add", "path": "/baz", "value": "qux" }]', '{"baz": "qux", "foo": "bar"}' },
  { "A.2", '{ "foo": [ "bar", "baz" ] }', '[{ "op": "add", "path": "/foo/1", "value": "qux" }]',
    '{ "foo": [ "bar", "qux", "baz" ] }' },
  { "A.3", '{"baz": "qux", "foo": "bar"}', '[{ "op": "remove", "path": "/baz" }]', '{ "foo": "bar" }' },
  { "A.4", '{ "foo": [ "bar", "qux", "baz" ] }', '[{ "op": "remove", "path": "/foo/1" }]', '{ "foo": [ "bar", "baz" ] }' },
  { "A.5", '{"baz": "qux", "foo": "bar"}', '[{ "op": "replace", "path": "/baz", "value": "boo" }]',
    '{"baz": "boo", "foo": "bar"}' },
  { "A.6", '{"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}',
    '[{ "op": "move", "from": "/foo/waldo", "path": "/qux/thud" }]',
    '{"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}' },
  { "A.7", '{ "foo": [ "all", "grass", "cows", "eat" ] }', '[{ "op": "move", "from": "/foo/1", "path": "/foo/3" }]',
    '{ "foo": [ "all", "cows", "eat", "grass" ] }' },
  { "A.8", '{"baz": "qux", "foo": [ "a", 2, "c" ]}',
    '[{ "op": "test", "path": "/baz", "value": "qux" }, { "op": "test", "path": "/foo/1", "value": 2 }]',
    '{"baz": "qux", "foo": [ "a", 2, "c" ]}' },
  { "A.9", '{ "baz": "qux" }', '[{ "op": "test", "path": "/baz", "value": "bar" }]', false },
  { "A.10", '{ "foo": "bar" }', '[{ "op": "add", "path": "/child", "value": { "grandchild": { } } }]',
    '{"foo": "bar", "child": {"grandchild": {}}}' },
  { "A.11", '{ "foo": "bar" }', '[{ "op": "add", "path": "/baz", "value": "qux", "xyz": 123 }]',
    '{"foo": "bar", "baz": "qux"}' },
  { "A.12", '{ "foo": "bar" }', '[{ "op": "add", "path": "/baz/bat", "value": "qux" }]', false },
  { "A.13", '{ "foo": "bar" }', '[{ "op": "add", "path": "/baz", "value": "qux", "op": "remove" }]', false },
  { "A.14", '{"/": 9, "~1": 10}', '[{"op": "test", "path": "/~01", "value": 10}]', '{"/": 9, "~1": 10}' },
  { "A.15", '{"/": 9, "~1": 10}', '[{"op": "test", "path": "/~01", "value": "10"}]', false },
  { "A.16", '{ "foo": ["bar"] }', '[{ "op": "add", "path": "/foo/-", "value": ["abc", "def"] }]',
    '{ "foo": ["bar", ["abc", "def"]] }' },
}

-- RFC 7396, appendix A and the example of section 3
local RFC7396 = {
  { '{"a":"b"}', '{"a":"c"}', '{"a":"c"}' },
  { '{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}' },
  { '{"a":"b"}', '{"a":null}', '{}' },
  { '{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}' },
  { '{"a":["b"]}', '{"a":"c"}', '{"a":"c"}' },
  { '{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}' },
  { '{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}' },
  { '{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}' },
  { '["a","b"]', '["c","d"]', '["c","d"]' },
  { '{"a":"b"}', '["c"]', '["c"]' },
  { '{"a":"foo"}', 'null', 'null' },
  { '{"a":"foo"}', '"bar"', '"bar"' },
  { '{"e":null}', '{"a":1}', '{"e":null,"a":1}' },
  { '[1,2]', '{"a":"b","c":null}', '{"a":"b"}' },
  { '{}', '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}' },
  { '{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}',
    '{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}',
    '{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}' },
}

-- What the appendix leaves out: document, patch, what the message says
local REFUSED = {
  { '{}', '[{"op":"remove","path":"/a"}]', "operation 1, remove \"/a\": there is no 'a'" },
  { '{"a":1}', '[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/b","value":1}]', "operation 2, replace \"/b\"" },
  { '[1,2]', '[{"op":"add","path":"/3","value":1}]', "'3' is no index of the array, which has 2" },
  { '[1,2]', '[{"op":"add","path":"/01","value":1}]', "'01' is no index" },
  { '[1,2]', '[{"op":"remove","path":"/-"}]', "there is no '%-'" },
  { '[1,2]', '[{"op":"replace","path":"/2","value":1}]', "there is no '2'" },
  { '{"a":{"b":1}}', '[{"op":"move","from":"/a","path":"/a/b"}]', "a value cannot be moved into itself" },
  { '{"a":1}', '[{"op":"move","from":"/x","path":"/y"}]', "there is no 'x'" },
  { '{"a":1}', '[{"op":"add","path":"/a/b","value":1}]', "has no members" },
  { '{"a":1}', '[{"op":"remove","path":""}]', "the whole document cannot be removed" },
  { '{"a":1}', '[{"op":"test","path":"/a","value":2}]', "the value is another: 1" },
  { '{"a":1}', '[{"op":"grow","path":"/a"}]', "'grow' is no operation" },
  { '{"a":1}', '[{"path":"/a"}]', 'operation 1: it needs a string "op"' },
  { '{"a":1}', '[{"op":"add","value":1}]', 'it needs a string "path"' },
  { '{"a":1}', '[{"op":"add","path":"/b"}]', 'it needs a "value"' },
  { '{"a":1}', '[{"op":"copy","path":"/b"}]', 'it needs a string "from"' },
  { '{"a":1}', '[{"op":"add","path":"a","value":1}]', "'a' is no JSON Pointer" },
  { '{"a":1}', '[{"op":"add","path":["a"],"value":1}]', 'it needs a string "path"' },
  { '{"a":1}', '[17]', "an operation is an object" },
  { '{"a":1}', '17', "an array of operations" },
}

local ACCEPTED = {
  { '{"a":1}', '[]', '{"a":1}' },
  { '{"a":1}', '[{"op":"add","path":"","value":[1]}]', '[1]' },
  { '{"":{"":1}}', '[{"op":"replace","path":"//","value":2}]', '{"":{"":2}}' },
  { '{"a":[1,{"b":2}]}', '[{"op":"copy","from":"/a/1","path":"/a/0"},{"op":"replace","path":"/a/0/b","value":3}]',
    '{"a":[{"b":3},1,{"b":2}]}' },
  { '{"a":1}', '[{"op":"test","path":"/a","value":1.0},{"op":"test","path":"/a","value":10e-1}]', '{"a":1}' },
  { '{"a":"\\u00e4"}', '[{"op":"test","path":"/a","value":"ä"}]', '{"a":"\\u00e4"}' },
  { '{"a":{"x":1,"y":[2]}}', '[{"op":"test","path":"/a","value":{"y":[2],"x":1}}]', '{"a":{"x":1,"y":[2]}}' },
  { '{"a":1}', '[{"op":"move","from":"/a","path":"/a"}]', '{"a":1}' },
  { '{"a":{"b":1}}', '[{"op":"move","from":"/a/b","path":"/a"}]', '{"a":1}' },
  { '{"\\u0061":1}', '[{"op":"replace","path":"/a","value":2}]', '{"a":2}' },
  { '{"n":12345678901234567890.10}', '[{"op":"add","path":"/m","value":0.30000000000000004}]',
    '{"n":12345678901234567890.10,"m":0.30000000000000004}' },
}


describe("a JSON Patch", function()
  for _, case in ipairs(RFC6902) do
    it("does what RFC 6902 says in " .. case[1], function()
      local got, why = patch(case[2], case[3])

      assert.equal(case[4] and canonical(case[4]) or nil, got and canonical(got), why)
    end)
  end

  it("does what the appendix leaves out", function()
    for _, case in ipairs(ACCEPTED) do
      assert.equal(case[3], (patch(case[1], case[2])), case[2])
    end
  end)

  it("says which operation cannot be done, and why", function()
    for _, case in ipairs(REFUSED) do
      local got, why = patch(case[1], case[2])
      assert.is_nil(got, case[2])
      assert.matches(case[3], why)
    end
  end)

  it("is known for none before it is applied", function()
    assert.is_true((check(" [ ] ")))
    assert.is_true((check('{"a":null}')))
    assert.is_true((check('[{"op":"remove","path":"/not/there"}]')))
    for text, why in pairs { ["17"] = "neither a JSON Patch", ["[1,"] = "invalid JSON", [""] = "invalid JSON",
      ['[{"op":"add","path":"/a"}]'] = 'operation 1, add "/a": it needs a "value"', ['"{}"'] = "neither" } do
      local ok, message = check(text)
      assert.is_false(ok, text)
      assert.matches(why, message)
    end
  end)

  it("ends where copies of copies grow without end", function()
    local wide, deep = {}, {}
    for i = 1, 60 do
      wide[i] = '{"op":"copy","from":"","path":"/k' .. i .. '"}'
      deep[i] = '{"op":"copy","from":"","path":"' .. ("/a"):rep(2 ^ math.min(i - 1, 12)) .. '"}'
    end
    assert.matches("too large", select(2, patch('{"a":1}', "[" .. table.concat(wide, ",") .. "]")))
    assert.matches("too deep", select(2, patch('{"a":{}}', "[" .. table.concat(deep, ",") .. "]")))
  end)
end)

describe("a JSON Merge Patch", function()
  it("does what RFC 7396 says", function()
    for _, case in ipairs(RFC7396) do
      assert.equal(canonical(case[3]), canonical(merge(case[1], case[2])), case[2])
    end
  end)
end)


-- A second implementation, over Lua tables

local function typed(kind, t)
  return setmetatable(t, { __jsontype = kind })
end

local function is(value, kind)
  return type(value) == "table" and value ~= json.null and getmetatable(value).__jsontype == kind
end

local function deep_copy(value)
  return (json.decode(json.encode(value), 1, json.null))
end

local function random_value(depth)
  local r = math.random(depth > 0 and 7 or 4)
  if r <= 4 then
    return ({ 1, "s", true, json.null })[r]
  end
  local out = typed(r == 5 and "array" or "object", {})
  for i = 1, math.random(0, 3) do
    out[r == 5 and i or ({ "a", "b", "c/d", "e~" })[math.random(4)]] = random_value(depth - 1)
  end
  return out
end

--- A path that often exists.
local function random_path(value)
  local out = ""
  while math.random(4) > 1 do
    local token
    if is(value, "object") then
      local names = {}
      for _, name in ipairs { "a", "b", "c/d", "e~", "new" } do
        names[#names + 1] = (rawget(value, name) ~= nil or math.random(6) == 1) and name or nil
      end
      token = names[math.random(math.max(#names, 1))] or "none"
      value = rawget(value, token)
      token = token:gsub("~", "~0"):gsub("/", "~1")
    elseif is(value, "array") then
      local i = math.random(0, #value + 1)
      token = math.random(5) == 1 and "-" or tostring(i)
      value = value[i + 1]
    else
      token, value = "x", nil
    end
    out = out .. "/" .. token
  end
  return out
end

local function tokens(path)
  local out = {}
  for token in path:gmatch("/([^/]*)") do
    out[#out + 1] = token:gsub("~1", "/"):gsub("~0", "~")
  end
  return out
end

local function child(value, token)
  if is(value, "object") then
    return rawget(value, token)
  elseif is(value, "array") and token:match("^%d+$") then
    return value[tonumber(token) + 1]
  end
end

local function resolve(root, list, count)
  for i = 1, count do
    root = child(root, list[i])
    if root == nil then
      error("nothing there")
    end
  end
  return root
end

local function put(root, path, value, replace)
  local list = tokens(path)
  if #list == 0 then
    return value
  end
  local parent, last = resolve(root, list, #list - 1), list[#list]
  if replace and child(parent, last) == nil then
    error("nothing to replace")
  end
  if is(parent, "object") then
    parent[last] = value
  elseif is(parent, "array") then
    local at = last == "-" and #parent + 1 or tonumber(last:match("^%d+$")) + 1
    assert(at <= #parent + 1)
    if replace then
      parent[at] = value
    else
      table.insert(parent, at, value)
    end
  else
    error("no container")
  end
  return root
end

local function take(root, path)
  local list = tokens(path)
  assert(#list > 0)
  resolve(root, list, #list)
  local parent = resolve(root, list, #list - 1)
  if is(parent, "array") then
    table.remove(parent, tonumber(list[#list]) + 1)
  else
    parent[list[#list]] = nil
  end
end

local APPLY = {
  add = function(root, o) return put(root, o.path, deep_copy(o.value)) end,
  replace = function(root, o) return put(root, o.path, deep_copy(o.value), true) end,
  remove = function(root, o) take(root, o.path) return root end,
  copy = function(root, o)
    local list = tokens(o.from)
    return put(root, o.path, deep_copy(resolve(root, list, #list)))
  end,
  move = function(root, o)
    local list = tokens(o.from)
    local value = deep_copy(resolve(root, list, #list))
    assert(o.path:sub(1, #o.from + 1) ~= o.from .. "/")
    if #list > 0 then
      take(root, o.from)
    end
    return put(root, o.path, value)
  end,
  test = function(root, o)
    local list = tokens(o.path)
    assert(plain(resolve(root, list, #list)) == plain(o.value))
    return root
  end,
}
local OPS = { "add", "replace", "remove", "copy", "move", "test" }

local function reference_merge(target, with)
  if not is(with, "object") then
    return with
  end
  if not is(target, "object") then
    target = typed("object", {})
  end
  for name, value in pairs(with) do
    if value == json.null then
      target[name] = nil
    else
      target[name] = reference_merge(rawget(target, name), value)
    end
  end
  return target
end

describe("patches of either kind", function()
  it("agree with a second implementation on random documents", function()
    math.randomseed(SEED)
    local done = 0
    for _ = 1, 4000 do
      local before = plain(typed("object", { a = random_value(3), b = random_value(3) }))
      local root, list = json.decode(before, 1, json.null), {}
      local ok = true
      for i = 1, math.random(1, 3) do
        local op = OPS[math.random(#OPS)]
        local o = typed("object", { op = op, path = random_path(root), value = random_value(2) })
        o.from = (op == "copy" or op == "move") and random_path(root) or nil
        list[i] = o
        local fine, after = pcall(APPLY[op], root, o)
        ok, root = ok and fine, fine and after or root
        if not ok then
          break
        end
      end
      local operations = json.encode(typed("array", list))
      local got = patch(before, operations)
      done = done + (ok and 1 or 0)
      assert.equal(ok and plain(root) or nil, got and canonical(got), ("seed %d: %s %s"):format(SEED, before, operations))
      local with = plain(random_value(3))
      assert.equal(plain(reference_merge(json.decode(before, 1, json.null), json.decode(with, 1, json.null))),
        canonical(merge(before, with)), ("seed %d: %s %s"):format(SEED, before, with))
    end
    assert.is_true(done > 200, "only " .. done)
  end)
end)
