-- Makes what is generated from the prelude's data: the editor's stubs (LuaLS) and the reference.
-- luajit runtime/tools/meta.lua [FOLDER]; the folder is runtime/meta unless it is named.
package.path = "runtime/?.lua;" .. package.path
local api = require "prelude.api"
local schema = require "prelude.schema"

local folder = arg[1] or "runtime/meta"


local function write(name, lines)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
end


local function plain_number(n)
  return ("%.14g"):format(n)
end


--- "default 1; at least 1, at most 10 megabytes"
local function notes(field)
  local list = {}
  if field.required then
    list[#list + 1] = "required"
  elseif field.default ~= nil then
    list[#list + 1] = "default " .. (type(field.default) == "string" and ('"%s"'):format(field.default)
      or type(field.default) == "number" and plain_number(field.default) or tostring(field.default))
  end
  if field.one_of then
    list[#list + 1] = "one of " .. table.concat(field.one_of, ", ")
  elseif field.min then
    list[#list + 1] = ("%s to %s"):format(plain_number(field.min), plain_number(field.max))
  end
  if field.unit then
    list[#list] = list[#list] .. " " .. field.unit
  end
  return table.concat(list, "; ")
end


local function lua_type(field)
  if field.one_of then
    local words = {}
    for i, word in ipairs(field.one_of) do
      words[i] = ('"%s"'):format(word)
    end
    return table.concat(words, " | ")
  end
  return field.lua or field.type:gsub("|", " | ")
end


--- The definitions, and behind each the parts that it has, with a title for the reference.
local function classes()
  local list = {}
  for _, kind in ipairs(schema.sorted_keys(api.definitions)) do
    local definition = api.definitions[kind]
    list[#list + 1] = { class = definition.class, fields = definition.fields,
      title = ("## %s \"name\" { … }"):format(kind) }
    for _, part in ipairs(schema.sorted_keys(api.parts)) do
      if definition.fields[part] then
        list[#list + 1] = { class = api.parts[part].class, fields = api.parts[part].fields,
          title = ("### %s = { … }"):format(part) }
      end
    end
  end
  return list
end


local function stubs()
  local out = {
    "---@meta moonwake",
    "-- Generated from runtime/prelude/api.lua by `make meta`; changes here are lost.",
    "",
    "---@class moonwake.Delete",
    "---@class moonwake.Decimal",
    "---@class moonwake.Emitted",
    "---@class moonwake.Action",
    "---@class moonwake.Ref: table<string, any>",
    "---@alias moonwake.Duration number | string seconds, or \"90s\", \"5m\", \"1h30m\", \"2d\"",
    "---@alias moonwake.Predicate fun(subject: any, k: table, event: moonwake.Event?): any",
    "---@alias moonwake.Levels table<\"info\" | \"warning\" | \"error\" | \"critical\", moonwake.Predicate>",
    "---@alias moonwake.Step string | { on: string | string[], where?: fun(event: moonwake.Event): any }",
    "---@alias moonwake.Span { days?: string | string[], from: string, to: string }",
    "---@alias moonwake.Source string | { file: string } | { env: string }",
    "",
    "---@class moonwake.json",
    "---@field null any",
    "---@field encode fun(value: any): string",
    "---@field decode fun(text: string): any",
    "---@field array fun(list?: table): table",
    "---@field is_array fun(value: any): boolean",
    "",
    "---@class moonwake.Event",
  }
  local function add(text, ...)
    out[#out + 1] = text:format(...)
  end
  for _, field in ipairs(api.event) do
    add("---@field %s %s %s", field.name, field.lua or field.type, field.doc)
  end
  add ""
  add "---@class moonwake.Database"
  add "---@field exec fun(self: moonwake.Database, sql: string, ...: any)"
  add "---@field query fun(self: moonwake.Database, sql: string, ...: any): table[]"
  for _, definition in ipairs(classes()) do
    add ""
    add("---@class %s", definition.class)
    for _, name in ipairs(schema.sorted_keys(definition.fields)) do
      local field = definition.fields[name]
      local note = notes(field)
      add("---@field %s%s %s %s%s", name, field.required and "" or "?", lua_type(field), field.doc,
        note ~= "" and (" (" .. note .. ")") or "")
    end
  end
  local function add_word(word)
    add ""
    add("--- %s", word.doc)
    for _, param in ipairs(word.params or {}) do
      add("---@param %s %s %s", param[1]:gsub("%?$", ""), param[2], param[3])
    end
    if word.args then
      if word.returns then
        add("---@return %s", word.returns)
      end
      add("function %s(%s) end", word.name, word.args)
    else
      add("---@type %s", word.type)
      add("%s = nil", word.name)
    end
  end
  for _, word in ipairs(api.words) do
    add_word(word)
  end
  add ""
  add "-- What specs of scripts may say beside busted's words."
  for _, word in ipairs(api.spec_words) do
    add_word(word)
  end
  return out
end


--- A cell of a Markdown table.
local function cell(text)
  return (tostring(text):gsub("|", "\\|"))
end


local function reference()
  local out = {
    "# What a script can say",
    "",
    "Made from `runtime/prelude/api.lua` by `make meta`; changes here are lost.",
  }
  local function add(text, ...)
    out[#out + 1] = select("#", ...) > 0 and text:format(...) or text
  end
  for _, definition in ipairs(classes()) do
    local fields = definition.fields
    add ""
    add(definition.title)
    add ""
    add "| field | type | | meaning |"
    add "|---|---|---|---|"
    for _, name in ipairs(schema.sorted_keys(fields)) do
      local field = fields[name]
      add("| `%s` | `%s` | %s | %s |", name, cell(lua_type(field)), cell(notes(field)), cell(field.doc))
    end
  end
  add ""
  add "## Types of columns"
  add ""
  add "| type | in Lua | as a key |"
  add "|---|---|---|"
  for _, name in ipairs(schema.sorted_keys(api.types)) do
    add("| `%s` | %s | %s |", name, api.types[name].lua, api.types[name].key and "yes" or "no")
  end
  local aliases = {}
  for _, name in ipairs(schema.sorted_keys(api.aliases)) do
    aliases[#aliases + 1] = ("`%s` is `%s`"):format(name, api.aliases[name])
  end
  add ""
  add(table.concat(aliases, ", ") .. ".")
  add ""
  add "## event"
  add ""
  add "| field | type | meaning |"
  add "|---|---|---|"
  for _, field in ipairs(api.event) do
    add("| `%s` | `%s` | %s |", field.name, cell(field.lua or field.type), cell(field.doc))
  end
  local function add_words(words)
    for _, word in ipairs(words) do
      add("- `%s`: %s", word.args and ("%s(%s)"):format(word.name, word.args) or word.name, word.doc)
    end
  end
  add ""
  add "## Words"
  add ""
  add_words(api.words)
  add ""
  add("Of Lua's own library: `%s`.", table.concat(api.library, "`, `"))
  add "`pairs` and `next` visit numbers ascending, then strings bytewise."
  add ""
  add "Not there:"
  add ""
  for _, name in ipairs(schema.sorted_keys(api.absent)) do
    add("- `%s`: %s", name, api.absent[name])
  end
  for _, library in ipairs(schema.sorted_keys(api.absent_members)) do
    for _, name in ipairs(schema.sorted_keys(api.absent_members[library])) do
      add("- `%s.%s`: %s", library, name, api.absent_members[library][name])
    end
  end
  add ""
  add "## Words of specs"
  add ""
  add "For `moonwake test`, beside busted's own words and `json`, `array`, `decimal`, `time`, `iso`, `utc_date`."
  add ""
  add_words(api.spec_words)
  return out
end


write("moonwake.lua", stubs())
write("REFERENCE.md", reference())
