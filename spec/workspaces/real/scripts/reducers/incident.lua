-- Incidents: where one stands, and who had it in which order.
reducer "incident" {
  aggregate = "incident",
  snapshot_every = 5,
  initial = function() return { updates = 0, moves = 0, groups = array {}, times = {} } end,
  on = {
    ["incident.*"] = function(state, event)
      local data = event.data
      state.updates = state.updates + 1
      state.status, state.priority, state.in_time = data.incident_state, data.priority, data.made_sla
      state.moves = math.max(state.moves, data.reassignment_count)
      state.times[data.incident_state] = iso(event.occurred_at)
      if data.assignment_group and data.assignment_group ~= state.groups[#state.groups] then
        table.insert(state.groups, data.assignment_group)
      end
    end,
  },
}
