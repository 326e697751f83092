-- Checks that includes point downward only: luajit runtime/tools/layers.lua
-- flow/ and lua/ are siblings; they meet through model/handler.h.
local MAY = {
  base = "base", model = "base model", pg = "base model pg",
  flow = "base model pg flow", lua = "base model lua", app = "base model pg flow lua app",
}
local ONLY = { ["libpq-fe.h"] = "pg", ["lua.h"] = "lua", ["lauxlib.h"] = "lua", ["lualib.h"] = "lua" }

local bad = 0
local function complain(file, line, why)
  bad = bad + 1
  print(("%s:%d: %s"):format(file, line, why))
end

for file in io.popen("ls runtime/*/*.[ch]"):lines() do
  local layer, n = file:match("^runtime/(%w+)/"), 0
  for text in io.lines(file) do
    n = n + 1
    local target = text:match('^#include "(%w+)/')
    local header = text:match("^#include <([^>]+)>")
    if target and MAY[target] and not (" " .. MAY[layer] .. " "):find(" " .. target .. " ", 1, true) then
      complain(file, n, ("%s/ may not include %s/"):format(layer, target))
    elseif header and ONLY[header] and ONLY[header] ~= layer then
      complain(file, n, ("only %s/ includes <%s>"):format(ONLY[header], header))
    end
  end
end
os.exit(bad == 0 and 0 or 1)
