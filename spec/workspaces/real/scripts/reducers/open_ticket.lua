-- The help desk: what is still to be done; nothing once the ticket is closed.
reducer "open_ticket" {
  aggregate = "ticket",
  snapshot_every = 2,
  on = {
    ["ticket.*"] = function(state, event)
      state.last, state.n = event.data.activity, (state.n or 0) + 1
    end,
    ["ticket.closed"] = function() return delete end,
  },
}
