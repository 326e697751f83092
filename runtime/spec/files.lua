-- Which spec files are run.
local nearest = require "prelude.nearest"

local files = {}

-- Specs of scripts lie in spec/ or in a folder named like the scripts' own. Other folders of spec/ are the
-- workspace's business (specs that need a database, say), and are run when they are named.
local FOLDERS = { "spec", "spec/projections", "spec/reducers", "spec/rules", "spec/upcasters" }


local function mode_of(path)
  return require "lfs".attributes(path, "mode")
end


local function entries(folder)
  local list = {}
  if mode_of(folder) == "directory" then
    for name in require "lfs".dir(folder) do
      if name:sub(1, 1) ~= "." then
        list[#list + 1] = name
      end
    end
  end
  table.sort(list)
  return list
end


--- Adds the spec files of a folder to the list, and with `deep` those below it.
local function add_folder(list, folder, deep)
  for _, name in ipairs(entries(folder)) do
    local path = folder .. "/" .. name
    if name:match("_spec%.lua$") and mode_of(path) == "file" then
      list[#list + 1] = path
    elseif deep and mode_of(path) == "directory" then
      add_folder(list, path, true)
    end
  end
end


local function defaults()
  local list = {}
  for _, folder in ipairs(FOLDERS) do
    add_folder(list, folder, false)
  end
  return list
end


local function names_of(list)
  local names = {}
  for i, path in ipairs(list) do
    names[i] = path:match("([^/]+)_spec%.lua$")
  end
  return names
end


--- A file, a folder, or the name of a script whose spec it is.
local function add_named(list, path, known)
  path = path:gsub("^%./", ""):gsub("(.)/+$", "%1")
  local mode = mode_of(path)
  if mode == "file" then
    list[#list + 1] = path
    return true
  elseif mode == "directory" then
    local before = #list
    add_folder(list, path, true)
    return #list > before, ("%s: no spec files in it (their names end with _spec.lua)"):format(path)
  end
  local names, found = names_of(known), false
  for i, name in ipairs(names) do
    if name == path then
      list[#list + 1], found = known[i], true
    end
  end
  local paths = { unpack(known) }
  return found, ("%s: no such spec file, folder or script with a spec%s"):format(path,
    nearest(path, path:match("/") and paths or names))
end


local function unique(list)
  local out, seen = {}, {}
  for _, path in ipairs(list) do
    if not seen[path] then
      seen[path], out[#out + 1] = true, path
    end
  end
  return out, seen
end


--- { chosen = list of paths, others = how many spec files below spec/ were left out }, or nil and the problem.
function files.find(paths)
  local known = defaults()
  if #paths == 0 then
    local all = {}
    add_folder(all, "spec", true)
    if #known == 0 then
      return nil, #all > 0 and "the spec files lie in other folders than the scripts' (name one: moonwake test spec/…)"
        or "there is no spec/*_spec.lua here (name the workspace with -C; `moonwake init` makes a first spec)"
    end
    return { chosen = known, others = #all - #known }
  end
  local chosen = {}
  for _, path in ipairs(paths) do
    local ok, problem = add_named(chosen, path, known)
    if not ok then
      return nil, problem
    end
  end
  return { chosen = unique(chosen), others = 0 }
end


return files
