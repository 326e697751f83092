-- `moonwake test`: finds a workspace's spec files and runs them under busted, which is the system's.
--
-- options: paths (list), filter, seed, coverage, json, tap, junit (a file), list, colour.
-- Returns whether all passed; or nil, what could not be done, and whether that is a matter of usage.

local api = require "prelude.api"

local INSTALL = "busted is not installed (apt-get install lua-busted; or luarocks --lua-version 5.1 install busted)"


local function load_busted()
  local ok, core = pcall(require, "busted.core")
  if not ok then
    return nil, core:match("^module '[^']+' not found") and INSTALL or "busted does not load: " .. core
  end
  local busted = core()
  require "busted"(busted)
  return busted
end


--- The specs' own words, and those of scripts, for modules of scripts/lib too.
local function open_words(words)
  for _, word in ipairs(api.spec_words) do
    assert(words[word.name] ~= nil, word.name)
  end
  for name, value in pairs(words) do
    rawset(_G, name, value)
  end
  package.path = "./?.lua;./scripts/lib/?.lua;" .. package.path
  os.exit = function() -- luacheck: ignore
    error("os.exit: a spec does not end the program (use error or pending)", 2)
  end
end


--- Puts nothing in the place of everything that would run.
local function run_none(busted)
  local function nothing() end
  for _, descriptor in ipairs { "it", "before_each", "after_each", "lazy_setup", "lazy_teardown", "strict_setup",
    "strict_teardown" } do
    busted.subscribe({ "register", descriptor }, function(name, fn, ...)
      if fn == nothing then
        return nil, true
      end
      busted.publish({ "register", descriptor }, name, nothing, ...)
      return nil, false
    end, { priority = 1 })
  end
end


local function filter_tests(busted, pattern)
  local none = {}
  require "busted.modules.filter_loader"()(busted, { tags = none, excludeTags = none, filterOut = none,
    filter = { pattern } })
end


local function load_files(busted, files)
  local load = require "busted.modules.test_file_loader"(busted, { "lua" })
  load(files, { "" }, { excludes = {} })
end


local function reporter_of(options)
  return options.list and "list" or options.tap and "tap" or options.json and "json" or "plain"
end


return function(native)
  local options = native.json.decode(native.options)
  if options.filter and not pcall(string.find, "", options.filter) then
    return nil, ("option '--filter': '%s' is no Lua pattern (write %% before a magic character)"):format(
      options.filter), true
  end
  local busted, problem = load_busted()
  if not busted then
    return nil, problem, false
  end
  local files, why = require "moonwake.spec.files".find(options.paths)
  if not files then
    return nil, why, true
  end

  local coverage = options.coverage and require "moonwake.spec.coverage"(native.json)
  local results = require "moonwake.spec.results"(busted)
  require "moonwake.spec.report"(reporter_of(options), results, options, native.json)
  open_words(require "moonwake.spec.words"(native, busted, options, coverage))
  if options.list then
    run_none(busted)
  end
  filter_tests(busted, options.filter)
  load_files(busted, files.chosen)
  busted.randomseed = options.seed
  require "busted.execute"(busted)(1, { seed = options.seed })
  if #results.list == 0 then
    return nil, options.filter and ("no test is named like '%s' (--list shows their names)"):format(options.filter)
      or "the spec files hold no test (a test is it(\"does something\", function() … end))", true
  end
  results.finish(files, coverage)
  local written, cannot = true, nil
  if options.junit and not options.list then
    written, cannot = require "moonwake.spec.junit"(options.junit, results)
  end
  if not written then
    return nil, cannot, false
  end
  return results.failed == 0
end
