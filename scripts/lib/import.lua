-- Small helps for mapping scripts (scripts/import/*.lua).
local import = {}


--- "Take in charge ticket" -> "take_in_charge_ticket", as a part of an event type.
function import.word(text)
  return (text:lower():gsub("[^%w]+", "_"):gsub("^_", ""):gsub("_$", ""))
end


--- "PullRequestEvent" -> "pull_request_event"
function import.snake(text)
  return (text:gsub("(%l)(%u)", "%1_%2"):lower())
end


--- "29/2/2016 01:16" -> "2016-02-29T01:16:00Z"; nil for anything else.
function import.day_first(text)
  local day, month, year, hour, minute = text:match("^(%d+)/(%d+)/(%d%d%d%d) (%d+):(%d%d)$")
  if day then
    return ("%s-%02d-%02dT%02d:%s:00Z"):format(year, tonumber(month), tonumber(day), tonumber(hour), minute)
  end
end


return import
