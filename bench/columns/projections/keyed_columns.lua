projection "keyed_columns" {
  version = 1,
  columns = { events = "bigint default 0", last_type = "text", last_version = "bigint", last_seen = "timestamptz" },
  on = {
    ["*"] = function(row, event)
      row.events = row.events + 1
      row.last_type = event.type
      row.last_version = event.version
      row.last_seen = event.occurred_at
    end,
  },
}
