-- The help desk: a JSON document for each ticket.
projection "helpdesk_ticket" {
  key_column = "ticket",
  on = {
    ["ticket.*"] = function(state, event)
      state.steps = state.steps or array {}
      table.insert(state.steps, event.data.activity)
      state.customer = event.data.customer
      state.last = { by = event.actor_id, activity = event.data.activity, at = iso(event.occurred_at) }
      state.counts = state.counts or {}
      state.counts[event.type] = (state.counts[event.type] or 0) + 1
    end,
    -- An exact type wins over the glob: this handler runs instead of the one above.
    ["ticket.closed"] = function(state, event)
      state.closed = { at = iso(event.occurred_at), by = event.actor_id }
    end,
  },
}
