-- Which lines of a source can run, for coverage: what the compiler made of it, also of functions that nobody called.
local util = require "jit.util"


--- The function's own lines. The last instruction of a function that ends without `return` stands on its `end`: not a
--- line that anybody wrote something on.
local function add_lines(f, info, lines)
  for pc = 1, info.bytecodes - 1 do
    local line = util.funcinfo(f, pc).currentline
    if pc < info.bytecodes - 1 or line < info.lastlinedefined or line == info.linedefined then
      lines[line] = true
    end
  end
end


--- Making a function counts as its last line, where nobody wrote anything either.
local function drop_ends(functions, lines)
  for _, f in ipairs(functions) do
    if f[2] > f[1] then
      lines[f[2]] = nil
    end
  end
end


--- Calls visit(function) for every function that is written within `f`.
local function each_child(f, info, visit)
  for i = 1, info.gcconsts do
    local constant = util.funck(f, -i)
    if type(constant) == "proto" then
      visit(constant)
    end
  end
end


--- The lines of all functions, ascending, and { first, last } of each. The file's own lines ran when it was loaded.
return function(source, name)
  local lines, functions, list = {}, {}, {}
  local function visit(f)
    local info = util.funcinfo(f)
    add_lines(f, info, lines)
    functions[#functions + 1] = { info.linedefined, info.lastlinedefined }
    each_child(f, info, visit)
  end
  local chunk = assert(loadstring(source, name))
  each_child(chunk, util.funcinfo(chunk), visit)
  drop_ends(functions, lines)
  for line in pairs(lines) do
    list[#list + 1] = line
  end
  table.sort(list)
  table.sort(functions, function(a, b)
    if a[1] == b[1] then
      return a[2] > b[2]
    end
    return a[1] < b[1]
  end)
  return list, functions
end
