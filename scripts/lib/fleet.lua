-- What the projections of the device fleet share. A script says: local fleet = require "fleet"
local fleet = {}


--- The device that an event belongs to, or nil.
-- Events of devices have it as their aggregate; those of containers and images name it in their data.
function fleet.device_of(event)
  if event.aggregate_type == "device" then
    return event.aggregate_id
  end
  return event.data.device_uuid
end


local function image_of(state, app)
  local entry = state and state.apps and state.apps[app]
  return entry and entry.image
end


--- The apps whose image is not what it should be, by name: a list of { app =, want =, have = }. `want` is missing
-- for an app that should not run, `have` for one that does not.
function fleet.drift(target, current)
  local names, list = {}, array {}
  for _, state in ipairs { target or {}, current or {} } do
    for app in pairs(state.apps or {}) do
      names[app] = true
    end
  end
  for app in pairs(names) do -- scripts see pairs() in the order of the names
    local want, have = image_of(target, app), image_of(current, app)
    if want ~= have then
      list[#list + 1] = { app = app, want = want, have = have }
    end
  end
  return list
end


return fleet
