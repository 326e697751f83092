-- receiver "name" { … }: where notifications and actions go. Secrets never stand in it, only where they are found.
local api = require "prelude.api"
local definition = require "prelude.definition"
local duration = require "prelude.duration"
local schema = require "prelude.schema"

local FIELDS = api.definitions.receiver.fields
local problem = definition.problem

-- The pauses of Standard Webhooks: 75 hours and 35 minutes in all.
local RETRY = { 0, "5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h" }
local MOST_TRIES = 60

local KINDS = { "alertmanager", "program", "webhook" }
local ONLY = { -- fields that mean something for one kind
  format = "webhook", secret_env = "webhook", secret_file = "webhook", resend = "alertmanager",
}
local OURS = { ["content-length"] = true, ["content-type"] = true, host = true, ["transfer-encoding"] = true,
  ["webhook-id"] = true, ["webhook-signature"] = true, ["webhook-timestamp"] = true }
local SECRET = { authorization = true, cookie = true, ["proxy-authorization"] = true }


local function is_list(value)
  return type(value) == "table" and #value > 0 and #schema.sorted_keys(value) == #value
end


--- A text, or a list of them, as a list.
local function texts(field, value)
  local list = type(value) == "string" and { value } or value
  if not is_list(list) then
    problem("%s must be a text or a list of texts", field)
  end
  for i, text in ipairs(list) do
    if type(text) ~= "string" or text == "" or text:find("%c") then
      problem("%s: number %d is %s, and must be a text on one line", field, i, schema.show(text))
    end
  end
  return list
end


local function kind_of(raw)
  local found = {}
  for _, kind in ipairs(KINDS) do
    found[#found + 1] = type(raw) == "table" and raw[kind] ~= nil and kind or nil
  end
  if #found ~= 1 then
    problem(#found == 0
      and "it goes nowhere (write webhook = \"https://…\", alertmanager = \"http://…\" or program = { … })"
      or "%s: one receiver is one of them", table.concat(found, " and "))
  end
  for _, field in ipairs(schema.sorted_keys(ONLY)) do
    if raw[field] ~= nil and ONLY[field] ~= found[1] then
      problem("%s means something for %s = … only", field, ONLY[field])
    end
  end
  return found[1]
end


local function check_url(field, url)
  local authority = url:match("^https?://([^/?#]+)")
  if not authority or url:find("[%s%c]") then
    problem("%s: '%s' is no URL (write http:// or https://, a host, a path)", field, url:gsub("//[^/]*@", "//…@"))
  elseif authority:find("@", 1, true) then
    problem("%s: a URL with a password (write headers = { Authorization = { file = \"…\" } })", field)
  end
  return url
end


--- "text", or { file = "…" } or { env = "…" }: where a text that may be a secret is found.
local function source(field, value)
  if type(value) == "string" and not value:find("%c") then
    return { text = value }
  end
  local keys = type(value) == "table" and schema.sorted_keys(value) or {}
  local place = keys[1]
  if #keys ~= 1 or (place ~= "file" and place ~= "env") or type(value[place]) ~= "string" or value[place] == "" then
    problem("%s must be a text, { file = \"…\" } or { env = \"…\" }", field)
  end
  return { [place] = value[place] }
end


local function headers(given)
  local list = {}
  for i, name in ipairs(schema.sorted_keys(given or {})) do
    if type(name) ~= "string" or not name:match("^[%w!#$%%&'*+.^_`|~-]+$") then
      problem("headers: %s is no name of a header", schema.show(name))
    elseif OURS[name:lower()] then
      problem("headers: %s is made here", name)
    end
    list[i] = source("headers." .. name, given[name])
    if list[i].text and SECRET[name:lower()] then
      problem("headers.%s: secrets stand in files or the environment (write { file = \"…\" } or { env = \"…\" })", name)
    end
    list[i].name = name
  end
  return list
end


local function secrets(def)
  local list = {}
  for _, field in ipairs { "file", "env" } do
    if def["secret_" .. field] ~= nil then
      for _, place in ipairs(texts("secret_" .. field, def["secret_" .. field])) do
        list[#list + 1] = { [field] = place }
      end
    end
  end
  return list
end


local function schedule(given)
  local list = {}
  if not is_list(given) or #given > MOST_TRIES then
    problem("retry must be a list of 1 to %d durations: the pause before each try", MOST_TRIES)
  end
  for i, pause in ipairs(given) do
    local us, why = duration.parse(pause)
    if not us then
      problem("retry: number %d: %s", i, why)
    end
    list[i] = us / 1e6
  end
  if list[1] ~= 0 then
    problem("retry: the first try comes at once (begin with 0)")
  end
  return list
end


--- An Alertmanager is told of all that fires again and again anyway: it is tried that often, for an hour or so.
local function steady(resend)
  local list = { 0, math.min(5, resend) }
  for i = #list + 1, MOST_TRIES do
    list[i] = resend
  end
  return list
end


local destinations = {
  webhook = function(def, result)
    result.url = source("webhook", def.webhook)
    if result.url.text then
      check_url("webhook", result.url.text)
    end
    result.format = def.format
    result.secrets = secrets(def)
  end,
  alertmanager = function(def, result)
    result.words = texts("alertmanager", def.alertmanager)
    for _, url in ipairs(result.words) do
      check_url("alertmanager", url)
    end
    result.retry = def.retry == nil and steady(result.resend) or result.retry
    result.allow_private = def.allow_private ~= false
  end,
  program = function(def, result)
    result.words = texts("program", def.program)
    if result.words[1]:sub(1, 1) ~= "/" then
      problem("program: '%s' must be a whole path (nothing is searched for)", result.words[1])
    end
  end,
}


local function normalise(name, raw)
  definition.check_name(name)
  if type(raw) == "table" and raw.secret ~= nil then
    problem("secret: a script is no place for it (write secret_file = \"…\" or secret_env = \"…\")")
  end
  local def = definition.check(raw, FIELDS)
  local kind = kind_of(raw)
  local why = duration.convert(def, FIELDS)
  if why then
    problem("%s", why)
  end
  local result = {
    receives = kind, timeout = def.timeout / 1e6, resend = def.resend / 1e6, allow_private = def.allow_private == true,
    stale_after = def.stale_after and def.stale_after / 1e6, headers = headers(def.headers),
    retry = schedule(def.retry or RETRY),
  }
  destinations[kind](def, result)
  return result
end


return function(file)
  return definition.statement("receiver", normalise, file)
end
