-- Which lines of the handlers, and which of their event types, the histories of all tests have reached.
local text = require "moonwake.spec.text"


local function lines_of(path)
  local lines, file = {}, io.open(path, "rb")
  for line in (file and file:read("*a") or ""):gmatch("([^\n]*)\n?") do
    lines[#lines + 1] = line
  end
  if file then
    file:close()
  end
  return lines
end


local function sorted(t)
  local keys = {}
  for key in pairs(t) do
    keys[#keys + 1] = key
  end
  table.sort(keys)
  return keys
end


local function was_reached(report)
  for _, times in pairs(report.lines) do
    if times > 0 then
      return true
    end
  end
  return false
end


return function(json)
  local coverage = {}
  local files, scripts = {}, {} -- scripts: those under test, by path

  --- Adds what one history ran. Lines of the file itself run when it is loaded: only those of functions count.
  local function add_file(path, report)
    local file = files[path] or { lines = {} }
    files[path] = file
    for number, times in pairs(report.lines) do
      number = tonumber(number)
      for _, f in ipairs(report.functions) do
        if number >= f.line and number <= f.last then
          file.lines[number] = (file.lines[number] or 0) + times
          break
        end
      end
    end
  end

  --- How often each entry of `on` was called: by an event that belongs to a row.
  local function add_types(history)
    local definition = history.definition
    local script = scripts[definition.path] or {}
    scripts[definition.path] = script
    if definition.kind == "rule" then
      return -- it has no handlers, and its types are also those that its projections read
    end
    script.types = script.types or {}
    for _, pattern in ipairs(definition.types) do
      script.types[pattern] = script.types[pattern] or 0
    end
    for number = 0, #history.events - 1 do
      local taken = history.trial:taken_by(number)
      if taken and history.trial:key_of(number, 0) then
        local pattern = definition.types[taken]
        script.types[pattern] = script.types[pattern] + 1
      end
    end
  end

  function coverage.add(history)
    local counts = history.trial:coverage() -- before anything else calls the script
    if counts then
      for path, report in pairs(json.decode(counts)) do
        -- The projections that a rule reads run apart from it, with their modules.
        if history.definition.kind ~= "rule" or path == history.definition.path or was_reached(report) then
          add_file(path, report)
        end
      end
    end
    add_types(history)
  end

  --- { file, reached, lines, missed = { { line, text } }, types, uncalled } of each file, by path.
  local function summary()
    local list = {}
    for _, path in ipairs(sorted(files)) do
      local numbers, texts = sorted(files[path].lines), lines_of(path)
      local entry = { file = path, lines = #numbers, reached = 0, missed = json.array {} }
      for _, number in ipairs(numbers) do
        if files[path].lines[number] > 0 then
          entry.reached = entry.reached + 1
        else
          entry.missed[#entry.missed + 1] = { line = number, text = text.line(texts[number] or "") }
        end
      end
      if scripts[path] and scripts[path].types then
        entry.types, entry.uncalled = 0, json.array {}
        for _, pattern in ipairs(sorted(scripts[path].types)) do
          entry.types = entry.types + 1
          if scripts[path].types[pattern] == 0 then
            entry.uncalled[#entry.uncalled + 1] = pattern
          end
        end
      end
      if #numbers > 0 or scripts[path] then -- a calendar has no functions
        list[#list + 1] = entry
      end
    end
    return list
  end

  function coverage.print(paint, out)
    out = out or print
    local list = summary()
    local width = 0
    for _, entry in ipairs(list) do
      width = math.max(width, #entry.file)
    end
    out(paint("bold", "coverage") .. (#list == 0 and ": no test gave a script any events" or ""))
    for _, entry in ipairs(list) do
      local types = entry.types and (", %d of %d event types"):format(entry.types - #entry.uncalled, entry.types) or ""
      local full = entry.reached == entry.lines and #(entry.uncalled or {}) == 0
      out(paint(full and "green" or "yellow", ("  %-" .. width .. "s  %d of %d handler lines%s"):format(entry.file,
        entry.reached, entry.lines, types)))
      for _, missed in ipairs(entry.missed) do
        out(("  %6d  %s"):format(missed.line, (missed.text:gsub("^%s%s", ""))))
      end
      for _, pattern in ipairs(entry.uncalled or {}) do
        out(("  never called: on[\"%s\"]"):format(pattern))
      end
    end
  end

  function coverage.print_json()
    for _, entry in ipairs(summary()) do
      print(json.encode(entry))
    end
  end

  return coverage
end
