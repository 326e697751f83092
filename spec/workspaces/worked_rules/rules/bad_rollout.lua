-- 4. A then B within T, across types, by one key.
local function device(event)
  return event.aggregate_type == "device" and event.aggregate_id or event.data.device_uuid
end

rule "bad_rollout" {
  on = { "device.updated", "container.crashed" }, by = device,
  seq = { "device.updated", "container.crashed", within = "15m" },
  kind = "signal",                                    -- one-shot: no resolve
  emit = function(m, k)
    return event("rollout.suspect", { version = m[1].data.os }, { aggregate_type = "device", aggregate_id = k.key })
  end,
  summary = "{key} crashed within 15 minutes of its update",
}
