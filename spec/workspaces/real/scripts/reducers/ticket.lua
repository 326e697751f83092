-- The help desk: the way of a ticket.
reducer "ticket" {
  aggregate = "ticket",
  snapshot_every = 3,
  on = {
    ["ticket.*"] = function(state, event)
      state.steps = state.steps or array {}
      table.insert(state.steps, { activity = event.data.activity, by = event.actor_id })
      state.customer, state.product = event.data.customer, event.data.product
      state.counts = state.counts or {}
      state.counts[event.type] = (state.counts[event.type] or 0) + 1
    end,
    -- Instead of the handler above, which is for the types that no other name is for.
    ["ticket.closed"] = function(state, event)
      state.closed_by = event.actor_id
    end,
  },
}
