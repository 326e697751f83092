-- What no other tool looks at: luajit runtime/tools/limits.lua
-- Banned calls, functions over 60 lines, files over 600, work that was left open. Prints file:line and the problem.
local BANNED = {
  strcpy = "say snprintf", strcat = "say snprintf or Buf", sprintf = "say snprintf", vsprintf = "say vsnprintf",
  atoi = "say strtol", atol = "say strtol", atof = "say strtod", gets = "say fgets", strtok = "say strcspn",
  system = "say posix_spawn or execv", tmpnam = "say mkstemp", mktemp = "say mkstemp", alloca = "say arena_alloc",
}
local FUNCTION_LINES, FILE_LINES = 60, 600
-- Built from parts, or these lines would be found.
local OPEN = { "TO" .. "DO", "FIX" .. "ME", "XX" .. "X" }

local bad = 0

local function complain(path, line, text, ...)
  bad = bad + 1
  print(("%s:%d: %s"):format(path, line, text:format(...)))
end


local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end


local function blank(text)
  return (text:gsub("[^\n]", " "))
end


--- C without what is in comments and literals; the lines stay where they are.
local function code_of(text)
  local out, at = {}, 1
  while true do
    local from = text:find("[\"'/]", at)
    if not from then
      out[#out + 1] = text:sub(at)
      return table.concat(out)
    end
    out[#out + 1] = text:sub(at, from - 1)
    local two, last = text:sub(from, from + 1), from
    if two == "/*" then
      last = select(2, text:find("*/", from + 2, true)) or #text
    elseif two == "//" then
      last = (text:find("\n", from, true) or #text + 1) - 1
    elseif two:sub(1, 1) ~= "/" then
      last = from + 1
      while last < #text and text:sub(last, last) ~= two:sub(1, 1) do
        last = last + (text:sub(last, last) == "\\" and 2 or 1)
      end
    end
    out[#out + 1] = last > from and blank(text:sub(from, last)) or text:sub(from, last)
    at = last + 1
  end
end


local function check_calls(path, line, text)
  for name in text:gmatch("%f[%w_]([%a_][%w_]*)%s*%(") do
    if BANNED[name] then
      complain(path, line, "%s is banned (%s)", name, BANNED[name])
    end
  end
end


local function check_c(path, text)
  local line, start, title = 0, nil, nil
  for code in (code_of(text) .. "\n"):gmatch("([^\n]*)\n") do
    line = line + 1
    check_calls(path, line, code)
    if code:match("^{") then
      start = line
    elseif code:match("^}") and start then
      if line - start - 1 > FUNCTION_LINES then
        complain(path, start, "a function of %d lines: %s (at most %d)", line - start - 1, title or "?", FUNCTION_LINES)
      end
      start = nil
    elseif code:match("^[%a].*[%w_]%s*%(") then
      title = code:match("([%w_]+)%s*%(")
    end
  end
end


local function check_any(path, text)
  local line = 0
  for words in (text .. "\n"):gmatch("([^\n]*)\n") do
    line = line + 1
    for _, mark in ipairs(OPEN) do
      if words:find("%f[%w]" .. mark .. "%f[%W]") then
        complain(path, line, "%s: work left open", mark)
      end
    end
    if words:find("%s$") then
      complain(path, line, "white space at the end of the line")
    end
  end
  if line - 1 > FILE_LINES then
    complain(path, 1, "a file of %d lines (at most %d: split it)", line - 1, FILE_LINES)
  end
end


local FOLDERS = "runtime scripts projections rules spec bench sql .ci"
local NAMES = [[-name '*.c' -o -name '*.h' -o -name '*.lua' -o -name '*.sh' -o -name '*.sql']]
for path in io.popen(("find %s -type f \\( %s \\) | sort"):format(FOLDERS, NAMES)):lines() do
  local text = read(path)
  check_any(path, text)
  if path:match("^runtime/.*%.[ch]$") then
    check_c(path, text)
  end
end
os.exit(bad == 0 and 0 or 1)
