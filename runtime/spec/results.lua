-- What became of each test, as one list that every report is made from. All texts in it are clean.
local text = require "moonwake.spec.text"


--- The file that an element is in, and its full name without it.
local function place_of(busted, element)
  local names, file = {}, nil
  local at = element
  while at do
    if at.descriptor == "file" then
      file = at.name
      break
    end
    if at.name and type(at.name) == "string" then
      table.insert(names, 1, at.name)
    end
    at = busted.context.parent(at)
  end
  return text.line(file or "?"), text.line(table.concat(names, " "))
end


local function text_of(message)
  if type(message) == "table" and message.message ~= nil then
    message = message.message
  end
  return text.clean(type(message) == "string" and message or tostring(message))
end


--- The frames that are the workspace's own, without busted's and ours.
local function frames_of(trace)
  local lines = {}
  for line in ((type(trace) == "table" and trace.traceback) or ""):gmatch("[^\n]+") do
    local own = line:match("^%s+(.+)$")
    if own and not own:match("^/usr/") and not own:match("^moonwake/") and not own:match("^[%[.]") then
      lines[#lines + 1] = text.line(own)
    end
  end
  return lines
end


return function(busted)
  local results = { list = {}, passed = 0, failed = 0, pending = 0, listeners = {} }
  local current

  local function tell(event, ...)
    for _, listener in ipairs(results.listeners) do
      if listener[event] then
        listener[event](...)
      end
    end
  end

  local function add(result)
    results[result.status] = results[result.status] + 1
    results.list[#results.list + 1] = result
    tell("test", result)
  end

  local function start(element)
    local file, name = place_of(busted, element)
    current = { file = file, name = name, line = element.trace and element.trace.currentline or 0, problems = {} }
    return nil, true
  end

  local function problem(element, _, message, trace)
    local entry = { message = text_of(message), frames = frames_of(trace) }
    if element.descriptor == "it" and current then
      table.insert(current.problems, entry)
    else
      local file, name = place_of(busted, element)
      if element.descriptor == "file" then
        file, name = text.line(element.name), "the file"
      elseif not element.name then
        name = (name == "" and "" or name .. " ") .. element.descriptor
      end
      add({ file = file, name = name, line = 0, status = "failed", seconds = 0, problems = { entry } })
    end
    return nil, true
  end

  local function pending(element, _, message)
    if current and element.descriptor ~= "pending" then
      current.note = text.line(text_of(message):gsub("^[^\n]-:%d+: ", ""))
    end
    return nil, true
  end

  local function finish(element, _, status)
    local done = current
    current = nil
    done.status = status == "success" and "passed" or status == "pending" and "pending" or "failed"
    done.seconds = element.duration or 0
    if done.status == "failed" and #done.problems == 0 then
      done.problems[1] = { message = "failed without a message", frames = {} }
    end
    add(done)
    return nil, true
  end

  busted.subscribe({ "test", "start" }, start)
  busted.subscribe({ "test", "end" }, finish)
  busted.subscribe({ "failure" }, problem)
  busted.subscribe({ "error" }, problem)
  busted.subscribe({ "pending" }, pending)

  function results.listen(listener)
    results.listeners[#results.listeners + 1] = listener
  end

  --- After the last test.
  function results.finish(files, coverage)
    tell("finish", files, coverage)
  end

  return results
end
