-- One device's credentials in several places at once: it connects from three addresses within ten minutes.
--
-- That does not end by itself. The alert stays until the key is exchanged, or the device is taken out of the fleet.
local MINUTES_10 = 600

-- `fold` is for what the other inputs do not say: the rule's own state of a key, changed by each event. Here the
-- addresses and when a connection came from each, by the producer's word, so that news told late are no misuse.
local function remember(state, event)
  if event.type ~= "device.online" then -- a new key, or none any more
    state.places, state.count = {}, 0
    return
  elseif not event.data.ip then
    return
  end
  state.places[event.data.ip] = event.occurred_at
  state.latest, state.count = math.max(state.latest or 0, event.occurred_at), 0
  for ip, at in pairs(state.places) do
    if at < state.latest - MINUTES_10 then
      state.places[ip] = nil
    else
      state.count = state.count + 1
    end
  end
end


rule "credentials_misuse" {
  on = { "device.online", "device.key_rotated", "device.deprovisioned" },
  by = { device = "aggregate_id" },
  fold = { init = { places = {}, count = 0 }, step = remember },

  when  = function(state) return state.count >= 3 end,
  clear = function(_, _, event) return event ~= nil and event.type ~= "device.online" end,

  severity = "critical",
  summary = "{device} connected from {count} addresses within 10 minutes",
  description = "Exchange the device's key: somebody may have copied it.",
}
