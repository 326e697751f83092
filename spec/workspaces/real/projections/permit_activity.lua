-- The permit process: a key of two columns, the day (UTC) and the activity.
projection "permit_activity" {
  key = function(event) return { utc_date(event.occurred_at), event.data.activity } end,
  key_column = { "day", "activity" },
  columns = {
    day     = "date",
    done    = "bigint default 0",
    by      = "jsonb", -- who -> how often
    last_at = "timestamptz",
  },
  on = {
    ["permit.activity_complete"] = function(row, event)
      row.done = row.done + 1
      row.by = row.by or {}
      row.by[event.actor_id] = (row.by[event.actor_id] or 0) + 1
      row.last_at = math.max(row.last_at or event.occurred_at, event.occurred_at)
    end,
  },
}
