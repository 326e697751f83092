-- Incidents: where each stands, who has it, and how it got there.
projection "incident_state" {
  key_column = "incident",
  columns = {
    state       = "text",
    updates     = "integer default 0",
    handovers   = "integer default 0", -- how often the group changed
    most_moves  = "integer default 0",
    reopened    = "boolean default false",
    in_time     = "boolean",
    priority    = "text",
    group_name  = "text",
    opened_at   = "timestamptz",
    resolved_at = "timestamptz",
    states      = "jsonb", -- the states in which it was, each once, in order
  },
  indexes = { { "state", "priority" } },
  on = {
    ["incident.*"] = function(row, event)
      local data = event.data
      row.updates = row.updates + 1
      row.state, row.in_time, row.priority = data.incident_state, data.made_sla, data.priority
      row.opened_at = row.opened_at or data.opened_at
      row.resolved_at = data.resolved_at or row.resolved_at
      row.most_moves = math.max(row.most_moves, data.reassignment_count)
      row.reopened = row.reopened or data.reopen_count > 0
      if data.assignment_group then
        if row.group_name and row.group_name ~= data.assignment_group then
          row.handovers = row.handovers + 1
        end
        row.group_name = data.assignment_group
      end
      row.states = row.states or array {}
      for _, state in ipairs(row.states) do
        if state == data.incident_state then
          return
        end
      end
      table.insert(row.states, data.incident_state)
    end,
  },
}
