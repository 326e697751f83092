-- Environments and tables that scripts can read and not change, and that know what they lack.
local api = require "prelude.api"
local nearest = require "prelude.nearest"
local schema = require "prelude.schema"

local strict = {}


--- A view of `t`. Members named in `absent` raise with their hint; others that are not there are nil.
function strict.readonly(t, name, absent)
  if absent then
    setmetatable(t, {
      __index = function(_, member)
        if absent[member] then
          error(("%s.%s is not available (%s)"):format(name, member, absent[member]), 2)
        end
      end,
    })
  end
  return setmetatable({}, {
    __index = t,
    __newindex = function(_, member)
      error(("%s.%s cannot be set: '%s' is read-only (use a local)"):format(name, tostring(member), name), 2)
    end,
    __metatable = false,
  })
end


--- The words as a script's globals, which it cannot set.
function strict.view(words)
  return setmetatable({}, {
    __index = words,
    __newindex = function(_, name)
      error(("global '%s' cannot be set (use a local, or the state that the handler gets)"):format(tostring(name)), 2)
    end,
    __metatable = false,
  })
end


--- What a script's globals are: the words, and an error for any other.
function strict.environment(words)
  setmetatable(words, {
    __index = function(_, name)
      local hint = api.absent[name]
      if hint then
        error(("'%s' is not available (%s)"):format(tostring(name), hint), 2)
      end
      error(("unknown word '%s'%s"):format(tostring(name), nearest(name, schema.sorted_keys(words))), 2)
    end,
  })
  return strict.view(words)
end


return strict
