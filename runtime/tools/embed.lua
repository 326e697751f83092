-- Turns Lua files into C string literals: luajit embed.lua FILE… > prelude_data.inc
-- As source, not bytecode: an error inside of it still has a line.
for _, path in ipairs(arg) do
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  local lines = {}
  for line in text:gmatch("([^\n]*)\n?") do
    lines[#lines + 1] = '"' .. line:gsub('[\\"?]', "\\%0"):gsub("\t", "\\t") .. '\\n"'
  end
  print(('PRELUDE("%s",\n  %s)'):format(path:match("([^/]+)%.lua$"), table.concat(lines, "\n  ")))
end
