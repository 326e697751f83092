-- Lua's source as tokens: without comments, white space and lines, which mean nothing.

local KEYWORDS = { ["function"] = 1, ["do"] = 1, ["if"] = 1, ["repeat"] = 1, ["end"] = -1, ["until"] = -1 }

local tokens = {}


--- Behind a long bracket that opens at `at`, or nil where none does.
local function long_bracket(text, at)
  local level = text:match("^%[(=*)%[", at)
  if not level then
    return nil
  end
  local _, last = text:find("]" .. level .. "]", at, true)
  return (last or #text) + 1
end


--- Behind the string whose quote is at `at`.
local function quoted(text, at)
  local quote = text:sub(at, at)
  local place = at + 1
  while place <= #text do
    local byte = text:sub(place, place)
    if byte == "\\" then
      place = place + 1
    elseif byte == quote then
      return place + 1
    end
    place = place + 1
  end
  return #text + 1
end


--- Behind the comment at `at`.
local function comment(text, at)
  return long_bracket(text, at + 2) or text:find("\n", at, true) or #text + 1
end


--- Behind the token at `at`, and what it is: name, string, number, other.
local function token(text, at)
  local _, last = text:find("^[%a_][%w_]*", at)
  if last then
    return last + 1, "name"
  end
  local byte = text:sub(at, at)
  if byte == "\"" or byte == "'" then
    return quoted(text, at), "string"
  end
  local behind = byte == "[" and long_bracket(text, at)
  if behind then
    return behind, "string"
  end
  _, last = text:find("^%.?%d[%w_.]*", at)
  if last then
    return last + (text:find("^[eEpP][+-]%d+", last) and #text:match("^[eEpP][+-]%d+", last) or 1), "number"
  end
  _, last = text:find("^%.%.%.?", at)
  if not last then
    _, last = text:find("^[=~<>]=", at)
  end
  return (last or at) + 1, "other"
end


local function count_lines(text, from, to)
  local n = 0
  for _ in text:sub(from, to):gmatch("\n") do
    n = n + 1
  end
  return n
end


--- A list of { text, kind, line }.
function tokens.read(text)
  local list, at, line = {}, 1, 1
  while true do
    local from = text:find("%S", at)
    if not from then
      return list
    end
    line = line + count_lines(text, at, from - 1)
    local behind, kind
    if text:find("^%-%-", from) then
      behind = comment(text, from)
    else
      behind, kind = token(text, from)
      list[#list + 1] = { text = text:sub(from, behind - 1), kind = kind, line = line }
    end
    line = line + count_lines(text, from, behind - 1)
    at = behind
  end
end


--- The functions in a list of tokens: "first:last" of their lines -> { { from, to } … } of their tokens.
function tokens.functions(list)
  local found, open = {}, {}
  for i = 1, #list do
    local before = list[i - 1]
    local step = list[i].kind == "name" and KEYWORDS[list[i].text]
    if before and (before.text == "." or before.text == ":") then
      step = nil
    end
    if step == 1 then
      open[#open + 1] = i
    elseif step == -1 then
      local from = table.remove(open)
      if from and list[from].text == "function" then
        local lines = ("%d:%d"):format(list[from].line, list[i].line)
        found[lines] = found[lines] or {}
        table.insert(found[lines], { from, i })
      end
    end
  end
  return found
end


return tokens
