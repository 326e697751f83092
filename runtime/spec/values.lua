-- Expected and actual states: how they are compared, and what is said of the difference.
local nearest = require "prelude.nearest"

local SHOWN = 160 -- bytes of one value in a message


--- `native` has json, time() and iso().
return function(native)
  local json = native.json
  local values = {}

  -- What stands for "there is none", as a row and as a field.
  values.absent = setmetatable({}, { __tostring = function() return "absent" end, __metatable = false })

  -- A table that may have no other members than those that are named.
  local exact = setmetatable({}, { __mode = "k" })
  function values.exactly(value)
    exact[value] = true
    return value
  end

  function values.is_exact(value)
    return exact[value] ~= nil
  end

  local function is_list(t)
    return json.is_array(t) or t[1] ~= nil
  end

  local function is_empty(t)
    return next(t) == nil
  end

  function values.show(value)
    if value == nil then
      return "nothing"
    elseif value == values.absent then
      return "nothing"
    end
    local ok, text = pcall(json.encode, value)
    text = ok and text or tostring(value)
    return #text > SHOWN and text:sub(1, SHOWN) .. "…" or text
  end

  local function child(path, name)
    if type(name) == "number" then
      return ("%s[%d]"):format(path, name)
    elseif not tostring(name):match("^[%a_][%w_]*$") then
      return ("%s[%s]"):format(path, json.encode(tostring(name)))
    end
    return path == "" and name or path .. "." .. name
  end

  local function names_of(t)
    local names = {}
    for name in pairs(t) do
      names[#names + 1] = name
    end
    table.sort(names, function(a, b)
      if type(a) == type(b) then
        return a < b
      end
      return type(a) == "number"
    end)
    return names
  end

  local compare

  local function compare_tables(expected, actual, path, add)
    local list = is_list(expected)
    if is_empty(expected) and path ~= "" then
      if not is_empty(actual) or (json.is_array(expected) and not json.is_array(actual)) then
        add(path, expected, actual)
      end
      return
    elseif not is_empty(expected) and list ~= is_list(actual) and not is_empty(actual) then
      return add(path, expected, actual)
    elseif list and #expected ~= #actual then
      return add(path, expected, actual, (" (%d elements, not %d)"):format(#actual, #expected))
    end
    for _, name in ipairs(names_of(expected)) do
      compare(expected[name], actual[name], child(path, name), add)
    end
    for _, name in ipairs(exact[expected] and names_of(actual) or {}) do
      if expected[name] == nil then
        add(child(path, name), nil, actual[name])
      end
    end
  end

  --- Calls add(path, expected, actual, note) for each difference. Objects may have more members than were named.
  function compare(expected, actual, path, add)
    if expected == values.absent then
      if actual ~= nil then
        add(path, nil, actual)
      end
    elseif type(expected) == "table" and type(actual) == "table" then
      compare_tables(expected, actual, path, add)
    elseif expected ~= actual then
      add(path, expected, actual)
    end
  end

  --- Calls add(path, a, b) for each member that two states differ in.
  function values.each_difference(a, b, add, path)
    path = path or ""
    if type(a) ~= "table" or type(b) ~= "table" or json.is_array(a) ~= json.is_array(b) then
      if a ~= b then
        add(path, a, b)
      end
      return
    end
    local union = {}
    for _, t in ipairs { a, b } do
      for name in pairs(t) do
        union[name] = true
      end
    end
    for _, name in ipairs(names_of(union)) do
      values.each_difference(a[name], b[name], add, child(path, name))
    end
  end

  --- A value of a field in a message: times of typed columns as texts.
  local function shown(columns, path, value)
    local column = columns and columns[path]
    if column and column.type == "timestamptz" and type(value) == "number" then
      return native.iso(value * 1e6) or tostring(value)
    end
    return values.show(value)
  end

  --- " (there is no column 'x'; did you mean 'y'?)"
  local function unknown(columns, path)
    local name = path:match("^([^.%[]+)")
    if not columns or not name or columns[name] then
      return ""
    end
    local hint = nearest(name, names_of(columns)):match("%((.+)%)")
    return (" (there is no column '%s'%s)"):format(name, hint and "; " .. hint or "")
  end

  --- Lines that say where `actual` is not what was expected; none where it is. `columns` are a typed row's, or nil.
  function values.differences(expected, actual, columns)
    local found, lines, width = {}, {}, 0
    compare(expected, actual, "", function(path, want, have, note)
      found[#found + 1] = { path, want, have, note or "" }
      width = math.max(width, math.min(#path, 30))
    end)
    for i, d in ipairs(found) do
      lines[i] = ("%-" .. math.max(width, 1) .. "s  expected %s, is %s%s%s"):format(d[1] == "" and "(all)" or d[1],
        shown(columns, d[1], d[2]), shown(columns, d[1], d[3]), d[4], unknown(columns, d[1]))
    end
    return lines
  end

  --- The same between two states of one script, as the guard tells it.
  function values.changes(first, second, columns)
    local lines = {}
    values.each_difference(first, second, function(path, a, b)
      lines[#lines + 1] = ("%s  first %s, then %s"):format(path == "" and "(all)" or path, shown(columns, path, a),
        shown(columns, path, b))
    end)
    return lines
  end

  return values
end
