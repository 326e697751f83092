-- The text of a column: "bigint default 0", "text not null".
local api = require "prelude.api"
local nearest = require "prelude.nearest"
local schema = require "prelude.schema"

local columns = {}


local function type_names()
  local names = schema.sorted_keys(api.types)
  for alias in pairs(api.aliases) do
    names[#names + 1] = alias
  end
  return names
end


local function resolve_type(text)
  local bare = text:gsub("%s*%b()$", "")
  local hint = api.refused_types[bare] or (bare ~= text and (api.aliases[bare] or api.types[bare] and bare))
  if text:match("%[%]$") then
    return nil, ("the type '%s' is not available (use jsonb)"):format(text)
  elseif hint then
    return nil, ("the type '%s' is not available (use %s)"):format(text, hint)
  end
  local name = api.aliases[text] or text
  if not api.types[name] then
    return nil, ("unknown type '%s'%s"):format(text, nearest(text, type_names()))
  end
  return name
end


--- Takes the literal behind `default` off the text: the rest before it, the literal, the rest behind it.
local function split_default(text)
  local before, after = text:match("^(.-)%s+[dD][eE][fF][aA][uU][lL][tT]%s+(.+)$")
  if not before then
    return text
  end
  if after:sub(1, 1) == "'" then
    local at = 2
    while true do
      local quote = after:find("'", at, true)
      if not quote then
        return before, after, ""
      elseif after:sub(quote + 1, quote + 1) == "'" then
        at = quote + 2
      else
        return before, after:sub(1, quote), after:sub(quote + 1)
      end
    end
  end
  local literal, rest = after:match("^(%S+)(.*)$")
  return before, literal, rest
end


local NUMBERS = { smallint = true, integer = true, bigint = true, numeric = true, ["double precision"] = true }


local function parse_default(literal, type_name, json)
  local text = literal:match("^'(.*)'$")
  if literal:lower() == "null" then
    return nil
  elseif type_name == "boolean" then
    local word = (text or literal):lower()
    if word == "true" or word == "false" then
      return word == "true"
    end
  elseif NUMBERS[type_name] then
    if not text and literal:match("^-?%d+%.?%d*$") then
      return json.decimal((literal:gsub("%.$", "")))
    end
  elseif text then
    text = text:gsub("''", "'")
    if type_name ~= "jsonb" then
      return text
    end
    local ok, value = pcall(json.decode, text)
    if ok then
      return value
    end
  end
  return nil, ("default %s is not a %s literal"):format(literal, type_name)
end


--- { type, not_null, default } of a declaration, or nil and the problem. `json` has decode and decimal.
function columns.parse(text, json)
  if type(text) ~= "string" then
    return nil, ("a text such as \"bigint default 0\" is expected, not %s"):format(schema.show(text))
  end
  local before, literal, after = split_default(text)
  local rest = (before .. " " .. (after or "")):lower():gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
  local name, not_null = rest:gsub(" not null", "")
  if name:match(" default$") then
    return nil, "'default' is not followed by a value"
  elseif name:match("primary key") or name:match("references") or name:match("unique") or name:match("check") then
    return nil, ("'%s' has a constraint; only 'not null' and 'default' are known (use sql = true for more)"):format(
      text)
  end
  local type_name, problem = resolve_type((name:gsub(" null$", "")))
  if not type_name then
    return nil, problem
  end
  local column = { type = type_name, not_null = not_null > 0 }
  if literal then
    column.default, problem = parse_default(literal, type_name, json)
    if problem then
      return nil, problem
    end
  end
  return column
end


return columns
