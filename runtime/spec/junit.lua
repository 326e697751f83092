-- JUnit's XML, as CI servers read it: one testsuite for each file.

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;" }


local function text(s)
  return (s:gsub('[&<>"\n]', ESCAPES))
end


local function by_file(list)
  local suites = {}
  for _, result in ipairs(list) do
    local suite = suites[result.file]
    if not suite then
      suite = { name = result.file, seconds = 0, passed = 0, failed = 0, pending = 0 }
      suites[result.file] = suite
      suites[#suites + 1] = suite
    end
    suite[#suite + 1] = result
    suite[result.status] = suite[result.status] + 1
    suite.seconds = suite.seconds + result.seconds
  end
  return suites
end


local function add_case(out, result)
  out[#out + 1] = ('    <testcase classname="%s" name="%s" file="%s" line="%d" time="%.6f">'):format(
    text(result.file:gsub("%.lua$", ""):gsub("/", ".")), text(result.name), text(result.file), result.line,
    result.seconds)
  for _, problem in ipairs(result.problems) do
    out[#out + 1] = ('      <failure message="%s">%s</failure>'):format(text(problem.message:match("^[^\n]*")),
      text(problem.message .. "\n" .. table.concat(problem.frames, "\n")))
  end
  if result.status == "pending" then
    out[#out + 1] = ('      <skipped message="%s"/>'):format(text(result.note or "pending"))
  end
  out[#out + 1] = "    </testcase>"
end


--- Writes the file. True, or nil and why not.
return function(path, results)
  local total = 0
  local body = {}
  for _, suite in ipairs(by_file(results.list)) do
    total = total + suite.seconds
    body[#body + 1] = ('  <testsuite name="%s" tests="%d" failures="%d" errors="0" skipped="%d" time="%.6f">'):format(
      text(suite.name), #suite, suite.failed, suite.pending, suite.seconds)
    for _, result in ipairs(suite) do
      add_case(body, result)
    end
    body[#body + 1] = "  </testsuite>"
  end
  local file, problem = io.open(path, "wb")
  if not file then
    return nil, problem
  end
  local head = '<testsuites name="moonwake test" tests="%d" failures="%d" errors="0" skipped="%d" time="%.6f">\n'
  body[#body + 1] = "</testsuites>\n"
  local written = file:write('<?xml version="1.0" encoding="UTF-8"?>\n',
    head:format(#results.list, results.failed, results.pending, total), table.concat(body, "\n"))
  if not (file:close() and written) then
    return nil, path .. ": not everything could be written (is the disk full?)"
  end
  return true
end
