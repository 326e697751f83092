-- projection "name" { … }: checks a definition and gives it the shape that the host takes.
local api = require "prelude.api"
local columns = require "prelude.columns"
local definition = require "prelude.definition"
local nearest = require "prelude.nearest"
local schema = require "prelude.schema"

local FIELDS = api.definitions.projection.fields


local problem, contains = definition.problem, definition.contains


local function check_name(name)
  definition.check_name(name)
  if contains(api.reserved_tables, name) or name:match("^events_") then
    problem("the name belongs to moonwake's own table (choose another)")
  end
end


--- The paths, or none where the key is a function.
local function key_paths(key)
  if type(key) == "function" then
    return nil
  end
  local paths = type(key) == "string" and { key } or key
  if #paths == 0 then
    problem("key is an empty list (name at least one path)")
  end
  for _, path in ipairs(paths) do
    if type(path) ~= "string" then
      problem("key must be a path, a list of paths or a function, not a list with %s", schema.show(path))
    end
    definition.check_path("key", path)
  end
  return paths
end


local function key_names(def, paths)
  local names = def.key_column
  if type(names) == "string" then
    names = { names }
  elseif not names then
    names = {}
    for i, path in ipairs(paths or {}) do
      names[i] = path:match("[^.]+$")
    end
    if #names <= 1 then
      names = { "key" }
    end
  end
  if #names == 0 or (paths and #names ~= #paths) then
    problem("key_column names %d columns for a key of %d", #names, paths and #paths or 1)
  end
  return names
end


local function check_column_name(name)
  if not schema.is_name(name) then
    problem("column %s: a name is lower-case letters, digits and _, and begins with a letter", schema.show(name))
  elseif api.reserved_columns[name] then
    problem("column '%s' is there already (%s)", name, api.reserved_columns[name])
  end
end


local function parse_columns(declared, json)
  local parsed = {}
  for _, name in ipairs(schema.sorted_keys(declared)) do
    check_column_name(name)
    local column, why = columns.parse(declared[name], json)
    if not column then
      problem("column '%s': %s", name, why)
    end
    column.name = name
    parsed[name] = column
  end
  return parsed
end


local function key_columns(def, names, parsed)
  local list, seen = {}, {}
  for i, name in ipairs(names) do
    check_column_name(name)
    if name == "n" or (name == "state" and not def.columns) then
      problem("a key column cannot be named '%s' (set key_column)", name)
    elseif seen[name] then
      problem("two key columns are named '%s' (set key_column)", name)
    end
    seen[name] = true
    local column = parsed[name]
    if column and column.default ~= nil then
      problem("column '%s' is the key and can have no default", name)
    elseif column and not api.types[column.type].key then
      problem("column '%s': a key cannot be of type %s", name, column.type)
    end
    list[i] = { name = name, type = column and column.type or "text" }
    parsed[name] = nil
  end
  return list
end


local function value_columns(parsed)
  local list = {}
  for _, name in ipairs(schema.sorted_keys(parsed)) do
    list[#list + 1] = parsed[name]
  end
  return list
end


local function index_columns(index, known, json)
  local names = type(index) == "string" and { index } or index
  if type(names) ~= "table" or #names == 0 then
    problem("indexes must be a list of columns, or of lists of columns")
  end
  for _, name in ipairs(names) do
    if not contains(known, name) then
      problem("indexes: unknown column %s%s", schema.show(name), nearest(name, known))
    end
  end
  return json.array({ unpack(names) })
end


local function check_indexes(def, key, values, json)
  local known, list = {}, json.array({})
  for _, set in ipairs({ key, values }) do
    for _, column in ipairs(set) do
      known[#known + 1] = column.name
    end
  end
  known[#known + 1] = "position"
  known[#known + 1] = "updated_at"
  for name in pairs(def.indexes or {}) do
    if type(name) ~= "number" then
      problem("indexes is a list of columns, and has no field '%s'", tostring(name))
    end
  end
  for i, index in ipairs(def.indexes or {}) do
    list[i] = index_columns(index, known, json)
  end
  return list
end


local function check_tables(def, json)
  local list = json.array({})
  for i, name in ipairs(schema.sorted_keys(def.tables or {})) do
    local body = def.tables[name]
    if not schema.is_name(name) or contains(api.reserved_tables, name) then
      problem("tables: %s cannot be a table's name", schema.show(name))
    elseif type(body) ~= "string" or not body:match("%S") then
      problem("tables['%s'] must be a text: what stands between the brackets of CREATE TABLE", name)
    end
    list[i] = { name = name, body = body }
  end
  return list
end


--- Fields that go together, or not.
local function check_form(def)
  if def.sql then
    for _, name in ipairs({ "columns", "indexes", "key_column" }) do
      if def[name] ~= nil then
        problem("field '%s' does not go with sql = true (use tables)", name)
      end
    end
  elseif def.tables then
    problem("field 'tables' needs sql = true (or say columns = { … })")
  elseif def.columns and next(def.columns) == nil then
    problem("columns is empty (leave it out for a JSON document per key)")
  end
  return def.sql and "sql" or def.columns and "columns" or "document"
end


--- What the host takes: the checked definition with `spec`, the part that SQL sees.
local function normalise(name, raw, json)
  local def = definition.check(raw, FIELDS)
  check_name(name)
  local out = { version = def.version, on_error = def.on_error, sql = def.sql, budget = raw.budget,
    memory = raw.memory, jit = def.jit, form = check_form(def) }
  local parsed = parse_columns(def.columns or {}, json)
  out.key_paths = key_paths(def.key)
  out.key_function = type(def.key) == "function" and def.key or nil
  out.key = key_columns(def, key_names(def, out.key_paths), parsed)
  out.columns = value_columns(parsed)
  out.types, out.handlers = definition.handlers(def.on, "row")
  out.spec = { name = name, version = def.version, form = out.form, key = json.array(def.sql and {} or out.key),
    columns = json.array(out.columns), indexes = check_indexes(def, out.key, out.columns, json),
    tables = check_tables(def, json), promote = raw.promote }
  return out
end


return function(file, json)
  return definition.statement("projection", function(name, raw) return normalise(name, raw, json) end, file)
end
