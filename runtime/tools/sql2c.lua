-- Turns SQL files into C: luajit sql2c.lua queries|migrations FILE… > list.inc
local kind = table.remove(arg, 1)

local function c_string(text)
  local lines = {}
  for line in (text .. "\n"):gmatch("(.-)\n") do
    line = line:gsub('[\\"]', "\\%0"):gsub("\t", "\\t")
    lines[#lines + 1] = '"' .. line .. '\\n"'
  end
  return table.concat(lines, "\n  ")
end

for _, path in ipairs(arg) do
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  local name = path:match("([^/]+)%.sql$")
  if kind == "queries" then
    -- A statement is prepared as it stands: no semicolon at its end.
    text = text:gsub("%s*;%s*$", "")
    print(('SQL_QUERY(%s, "%s",\n  %s)'):format(name:upper(), name, c_string(text)))
  else
    local number = assert(tonumber(name:match("^(%d+)_")), path .. ": a migration's name starts with its number")
    print(('SQL_MIGRATION(%d, "%s",\n  %s)'):format(number, name, c_string(text)))
  end
end
