-- A release that does not suit a model of device: the same image crashes on several of them.
--
-- One device that crashes has a problem of its own (crash_loop tells of it). Three of one model have the release's.
rule "bad_rollout" {
  on = "container.crashed",
  by = { image = "data.image", model = "data.model" },

  -- `distinct` counts devices, not crashes: one that crashes a hundred times is one.
  window = { over = "1h", distinct = "data.device_uuid" },
  when  = function(w) return w.distinct >= 3 end,
  clear = function(w) return w.count == 0 end,

  severity = "critical",
  summary = "{image} crashes on {distinct} devices of model {model}",
}
