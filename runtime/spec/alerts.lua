-- What a rule raised in a test: alerts as people see them (one for each episode, in its last state), events, actions.
local alerts = {}

-- The fields that a spec may expect of an alert; times are seconds.
alerts.FIELDS = { "at", "description", "from", "group", "inhibits", "key", "labels", "muted", "notify", "reason",
  "runbook", "severity", "signal", "since", "state", "subject", "summary" }
alerts.STATES = { "pending", "firing", "resolved", "expired" }


local Alerts = {}
Alerts.__index = Alerts

--- `raised` grows by what read() takes from the trial.
function alerts.open(native, trial)
  return setmetatable({ native = native, trial = trial, raised = {}, episodes = {}, by_id = {}, probes = {}, step = 0,
    letters = 0 }, Alerts)
end


--- The next given, when or advance begins: signals of earlier ones are over.
function Alerts:next_step()
  self.step = self.step + 1
end


local function seconds(us)
  return us and us / 1e6
end


function Alerts:add_alert(effect)
  local alert = self.by_id[effect.episode]
  if not alert then
    alert = { key = effect.key, key_text = effect.key_text }
    self.by_id[effect.episode] = alert
    self.episodes[#self.episodes + 1] = alert
  end
  alert.state, alert.step = effect.transition, self.step
  alert.at, alert.since = seconds(effect.at), seconds(effect.since)
  for _, name in ipairs { "severity", "from", "reason", "summary", "labels", "subject", "muted", "notify", "signal",
    "group", "inhibits", "description", "runbook", "position" } do
    local value = effect[name]
    alert[name] = value ~= self.native.json.null and value or nil
  end
end


--- Takes over what was raised since the last call.
function Alerts:read()
  while true do
    local text = self.trial:raised(#self.raised)
    if not text then
      return
    end
    local effect = self.native.json.decode(text)
    effect.text, effect.step = text, self.step
    self.raised[#self.raised + 1] = effect
    if effect.kind == "alert" then
      self:add_alert(effect)
    elseif effect.kind == "probe" then
      self.probes[effect.key_text] = effect
    end
  end
end


--- The first timer that failed since the last call, as a failure.
function Alerts:failure()
  local first
  while true do
    local message, key, trace = self.trial:letter(self.letters)
    if not message then
      return first
    end
    self.letters = self.letters + 1
    first = first or { message = ("a timer of key %s failed: %s"):format(key, message),
      trace = trace ~= "" and trace or nil }
  end
end


--- A signal is a matter of the step in which it came.
function Alerts:is_over(alert)
  return alert.signal and alert.step ~= self.step or alert.state == "resolved" or alert.state == "expired"
end


--- The last alert of a key (its JSON text) that passes the test, or nil.
function Alerts:last(key_text, test)
  for i = #self.episodes, 1, -1 do
    local alert = self.episodes[i]
    if alert.key_text == key_text and (not test or test(alert)) then
      return alert
    end
  end
end


--- The first thing that kept a key from firing when the rule looked at it last, in words, or nil.
function Alerts:why_not(key_text)
  local probe = self.probes[key_text]
  return probe and type(probe.why) == "string" and probe.why or nil
end


return alerts
