projection "keyed_data" {
  version = 1,
  columns = { events = "bigint default 0", site = "text", cpu = "double precision", used = "bigint", last_seen = "timestamptz" },
  on = {
    ["*"] = function(row, event)
      local data = event.data
      row.events = row.events + 1
      row.site = data.site
      row.cpu = data.cpu
      row.used = data.memory.used
      row.last_seen = event.occurred_at
    end,
  },
}
