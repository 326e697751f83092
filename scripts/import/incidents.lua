-- The audit log of an incident management (UCI dataset 498, ServiceNow): a CSV file, each row an update of an incident.
--
--   moonwake import --map scripts/import/incidents.lua incident_event_log.csv.gz
--
-- The fields of a CSV file are strings. A "?" says that the value is not known; such fields are left out.
local import = require "import" -- scripts/lib/import.lua

local NUMBERS = { reassignment_count = true, reopen_count = true, sys_mod_count = true }
local TIMES = { opened_at = true, sys_created_at = true, sys_updated_at = true, resolved_at = true, closed_at = true }


local function value_of(name, text)
  if text == "?" or text == "" then
    return nil
  elseif NUMBERS[name] then
    return tonumber(text)
  elseif TIMES[name] then
    return import.day_first(text)
  elseif text == "true" or text == "false" then
    return text == "true"
  end
  return text
end


return function(record)
  local data = {}
  for name, text in pairs(record) do
    data[name] = value_of(name, text)
  end
  return {
    event_type = "incident." .. import.word(record.incident_state),
    aggregate_type = "incident",
    aggregate_id = record.number,
    occurred_at = data.sys_updated_at,
    source = "servicenow",
    actor_type = "user",
    actor_id = data.sys_updated_by,
    data = data,
  }
end
