-- GitHub: what happened in each repository.
projection "repository_activity" {
  key_column = "repository",
  columns = {
    events     = "bigint default 0",
    pushes     = "bigint default 0",
    commits    = "bigint default 0",
    stars      = "bigint default 0",
    last_type  = "text",
    last_actor = "text",
    first_at   = "timestamptz",
    last_at    = "timestamptz",
    types      = "jsonb", -- type -> count
  },
  on = {
    ["github.*"] = function(row, event)
      local short = event.type:match("%.(.+)$")
      row.events = row.events + 1
      row.last_type, row.last_actor = event.type, event.actor_id
      -- The archive is nearly in the order of time, but not quite.
      row.first_at = math.min(row.first_at or event.occurred_at, event.occurred_at)
      row.last_at = math.max(row.last_at or event.occurred_at, event.occurred_at)
      row.types = row.types or {}
      row.types[short] = (row.types[short] or 0) + 1
      if short == "push" then
        row.pushes = row.pushes + 1
        row.commits = row.commits + event.data.size
      elseif short == "watch" then
        row.stars = row.stars + 1
      end
    end,
  },
}
