--- Compares a projection's table with an independent query, row for row.
--
--   tables.assert_equal(server, db, "moonwake.orders", "key, total", "SELECT aggregate_id, sum(…) FROM moonwake.events …")
local tables = {}


--- The rows that only one side has, some of them: for the failure's message.
local function difference(server, db, left, right)
  return server:psql(("SELECT left(d::text, 400) FROM (%s EXCEPT ALL %s) d ORDER BY 1 LIMIT 3"):format(left, right),
    { db = db })
end


--- Fails unless both have the same rows. `columns` of the table are those of the query, in its order. Returns how many.
function tables.assert_equal(server, db, name, columns, query)
  local left = ("(SELECT %s FROM %s)"):format(columns, name)
  local right = ("(%s)"):format(query)
  local only_table, only_query = difference(server, db, left, right), difference(server, db, right, left)
  if only_table ~= "" or only_query ~= "" then
    error(("%s differs\nonly in the table:\n%s\nonly in the query:\n%s"):format(name, only_table, only_query), 2)
  end
  local count = tonumber((server:psql(("SELECT count(*) FROM %s"):format(name), { db = db })))
  if count == 0 then
    error(name .. " is empty, and so is what it was compared with", 2)
  end
  return count
end


return tables
