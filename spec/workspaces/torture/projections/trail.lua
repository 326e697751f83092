-- A document whose bytes depend on every event and on their order; only some types, by a glob.
projection "trail" {
  version = 1,
  key = { "aggregate_type", "data.lane" },
  on = {
    ["torture.e*"] = function(state, event)
      state.count = (state.count or 0) + 1
      state.hash = ((state.hash or 7) * 31 + event.id * 17 + event.data.n) % 2147483647
      state.last = { id = event.id, at = event.occurred_at }
    end,
  },
}
