-- require "device.names" is the module scripts/lib/device/names.lua of the workspace, run once per script.

local function is_module_name(name)
  return type(name) == "string" and #name <= 200 and name:match("^[a-z0-9_][a-z0-9_.]*$") and not name:match("%.%.")
    and not name:match("%.$")
end


--- `read(name)` returns a module's source and its file's name, or nil; `environment()` the globals of scripts; `note`,
--- where it is given, hears of every source.
return function(read, compile, environment, note)
  local loaded, loading = {}, {}

  return function(name)
    if not is_module_name(name) then
      error("require: a module's name is lower-case letters, digits, _ and dots (require \"fleet.names\" is "
        .. "scripts/lib/fleet/names.lua)", 2)
    elseif loading[name] then
      error(("require: module '%s' requires itself"):format(name), 2)
    elseif loaded[name] ~= nil then
      return loaded[name]
    end
    local source, file = read(name)
    if not source then
      error(("require: %s"):format(file), 2)
    end
    local chunk, problem = compile(source, "@" .. file)
    if not chunk then
      error(problem, 0)
    end
    if note then
      note(file, source)
    end
    loading[name] = true
    local value = setfenv(chunk, environment())(name)
    loading[name] = nil
    loaded[name] = value == nil and true or value
    return loaded[name]
  end
end
