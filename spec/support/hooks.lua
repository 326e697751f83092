-- A receiver of webhooks (hooks.py, which says what its paths mean), and what it got.
--
--   local hooks = hooks_of { SECRET }           -- ended by hooks:stop()
--   hooks:url("fail/2")                         -- http://127.0.0.1:PORT/fail/2
--   hooks:requests(), hooks:acted()             -- lists of what it wrote down
local ffi = require "ffi"

local files = require "spec.support.files"
local json = require "dkjson"
local pg = require "spec.support.pg"

local KILL = 9

local Hooks = {}
Hooks.__index = Hooks


local function lines(path)
  local list = {}
  for line in (files.read(path) or ""):gmatch("([^\n]+)\n") do
    list[#list + 1] = json.decode(line)
  end
  return list
end


function Hooks:url(path)
  return ("http://127.0.0.1:%s/%s"):format(self.port, path or "ok")
end

function Hooks:requests()
  return lines(self.dir .. "/requests")
end

function Hooks:acted()
  return lines(self.dir .. "/acted")
end

--- Waits until it got so many requests; returns them.
function Hooks:await(count, timeout)
  return pg.eventually(function()
    local list = self:requests()
    return #list >= count and list
  end, timeout or 20, count .. " requests")
end

function Hooks:stop()
  ffi.C.kill(self.pid, KILL)
end


return function(secrets)
  local self = setmetatable({ dir = files.dir() }, Hooks)
  local words = {}
  for i, secret in ipairs(secrets or {}) do
    words[i] = files.quote(secret)
  end
  os.execute(("python3 spec/support/hooks.py %s %s >%s/log 2>&1 & echo $! >%s/pid"):format(
    files.quote(self.dir), table.concat(words, " "), self.dir, self.dir))
  self.port = pg.eventually(function() return files.read(self.dir .. "/port") end, 20, "the receiver of webhooks")
  self.pid = tonumber(files.read(self.dir .. "/pid"))
  return self
end
