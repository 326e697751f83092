-- CloudEvents: how many of each type a source sent. Events of other kinds have no row here: their key is nil.
projection "cloudevent_source" {
  key = function(event)
    if event.aggregate_type == "cloudevent" then
      return { event.source, event.type }
    end
  end,
  key_column = { "source", "type" },
  columns = {
    events   = "bigint default 0",
    last_id  = "text",
    subjects = "jsonb", -- subject -> count
  },
  on = {
    ["*"] = function(row, event)
      row.events = row.events + 1
      row.last_id = event.metadata.id
      row.subjects = row.subjects or {}
      row.subjects[event.aggregate_id] = (row.subjects[event.aggregate_id] or 0) + 1
    end,
  },
}
