-- What is printed while the tests run: for people, as JSON lines, or as TAP.

local SLOW = 0.5 -- seconds


local function indent(text, by)
  return by .. text:gsub("%s+$", ""):gsub("\n", "\n" .. by)
end


local function colours(enabled)
  local codes = { red = 31, green = 32, yellow = 33, dim = 2, bold = 1 }
  return function(name, text)
    return enabled and ("\27[%dm%s\27[0m"):format(codes[name], text) or text
  end
end


local function plain(results, options)
  local paint = colours(options.colour)
  local WORDS = { passed = paint("green", "ok     "), failed = paint("red", "FAILED "),
    pending = paint("yellow", "pending") }
  local file

  local function problems(result)
    for _, problem in ipairs(result.problems) do
      print(indent(problem.message, "      "))
      for i = 2, math.min(#problem.frames, 6) do
        print(paint("dim", indent(problem.frames[i], "        ")))
      end
    end
  end

  local listener = {}
  function listener.test(result)
    if result.file ~= file then
      file = result.file
      print(paint("bold", file))
    end
    local time = result.seconds >= SLOW and paint("dim", ("  (%.1f s)"):format(result.seconds)) or ""
    print(("  %s %s%s%s"):format(WORDS[result.status], result.name, time,
      result.note and "  (" .. result.note .. ")" or ""))
    if result.status == "failed" then
      problems(result)
    end
  end

  function listener.finish(files, coverage)
    if coverage then
      print("")
      coverage.print(paint)
    end
    if files.others > 0 then
      print(paint("dim", ("\n%d spec files in other folders of spec/ were not run (name the folder to run them)")
        :format(files.others)))
    end
    local summary = ("%d passed, %d failed"):format(results.passed, results.failed)
    print("\n" .. paint(results.failed > 0 and "red" or "green", summary)
      .. (results.pending > 0 and (", %d pending"):format(results.pending) or ""))
  end
  return listener
end


local function json_lines(_, _, json)
  local listener = {}
  function listener.test(result)
    local messages = json.array {}
    for i, problem in ipairs(result.problems) do
      messages[i] = problem.message
    end
    print(json.encode({ file = result.file, line = result.line, name = result.name, status = result.status,
      seconds = math.floor(result.seconds * 1e6 + 0.5) / 1e6, note = result.note, problems = messages }))
  end

  function listener.finish(_, coverage)
    if coverage then
      coverage.print_json()
    end
  end
  return listener
end


local function tap(results)
  local n = 0

  local function comment(text)
    print((indent(text, "# ")))
  end

  local listener = {}
  function listener.test(result)
    n = n + 1
    -- A '#' would begin a directive.
    local name = (result.file .. ": " .. result.name):gsub("#", "\\#")
    print(("%s %d - %s%s"):format(result.status == "failed" and "not ok" or "ok", n, name,
      result.status == "pending" and " # SKIP " .. (result.note or "pending") or ""))
    for _, problem in ipairs(result.problems) do
      comment(problem.message)
    end
  end

  function listener.finish(_, coverage)
    if coverage then
      coverage.print(function(_, text) return text end, comment)
    end
    print(("1..%d"):format(n))
    comment(("%d passed, %d failed"):format(results.passed, results.failed))
  end
  return listener
end


--- Nothing was run: where the tests are.
local function names(_, options, json)
  local listener = {}
  function listener.test(result)
    if result.status == "failed" then
      print(("%s: %s: %s"):format(result.file, result.name, result.problems[1].message))
    elseif options.json then
      print(json.encode({ file = result.file, line = result.line, name = result.name }))
    else
      print(("%s:%d: %s"):format(result.file, result.line, result.name))
    end
  end
  return listener
end


local makers = { list = names, plain = plain, json = json_lines, tap = tap }

return function(name, results, options, json)
  io.stdout:setvbuf("line")
  results.listen(makers[name](results, options, json))
end
