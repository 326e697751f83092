-- The same count, kept by SQL of the script's own.
projection "plain" {
  version = 1,
  sql = true,
  tables = { torture_plain = "type text primary key, events bigint not null, total bigint not null" },
  on = {
    ["torture.odd"] = function(db, event)
      db:exec([[INSERT INTO moonwake_tables.torture_plain AS t VALUES ($1, 1, $2)
        ON CONFLICT (type) DO UPDATE SET events = t.events + 1, total = t.total + excluded.total]],
        event.type, event.data.n)
    end,
  },
}
