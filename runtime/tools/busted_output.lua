-- What a spec file's run prints: one line when all is well, else each failure with its place and message.
-- The counts go to the file that MOONWAKE_RESULT names: "passed failed skipped".
local pretty = require "pl.pretty"

local TRACE_LINES = 8


local function text_of(message)
  if type(message) == "string" then
    return message
  end
  return message == nil and "no message" or pretty.write(message)
end


local function indent(text)
  return "      " .. text:gsub("\n+$", ""):gsub("\n", "\n      ")
end


--- The traceback's lines that are of the spec or of its helpers.
local function trace_of(failure)
  local lines = {}
  for line in ((failure.trace or {}).traceback or ""):gmatch("[^\n]+") do
    if line:match("spec/") and #lines < TRACE_LINES then
      lines[#lines + 1] = line:gsub("^%s+", "")
    end
  end
  return table.concat(lines, "\n")
end


local function print_failure(failure, word)
  local trace = failure.element.trace or {}
  local place = trace.short_src and ("%s:%s: "):format(trace.short_src, trace.currentline or "?") or ""
  print(("  %s  %s%s"):format(word, place, failure.name))
  print(indent(text_of(failure.message)))
  if trace_of(failure) ~= "" then
    print(indent(trace_of(failure)))
  end
end


local function save(path, passed, failed, skipped)
  local file = assert(io.open(path, "w"))
  file:write(("%d %d %d\n"):format(passed, failed, skipped))
  file:close()
end


return function()
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()

  busted.subscribe({ "suite", "end" }, function()
    for _, failure in ipairs(handler.failures) do
      print_failure(failure, "FAILED")
    end
    for _, failure in ipairs(handler.errors) do
      print_failure(failure, "ERROR")
    end
    for _, skipped in ipairs(handler.pendings) do
      print("  skipped  " .. skipped.name)
    end
    save(os.getenv("MOONWAKE_RESULT"), handler.successesCount, handler.failuresCount + handler.errorsCount,
      handler.pendingsCount)
    return nil, true
  end)

  return handler
end
