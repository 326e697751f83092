-- The receipt phase of an environmental permit process (CoSeLoG), as a CSV file: each row a finished activity.
--
--   moonwake import --map scripts/import/receipt.lua receipt.csv.gz
--
-- The aggregate is the case. What is said about the case itself ("case:…") is the same in all of its rows.
return function(record)
  local case = {}
  for name, text in pairs(record) do
    local attribute = name:match("^case:(.+)$")
    if attribute and text ~= "" then
      case[attribute] = text
    end
  end
  return {
    event_type = "permit.activity_" .. record["lifecycle:transition"],
    aggregate_type = "permit_case",
    aggregate_id = record["case:concept:name"],
    occurred_at = record["time:timestamp"],
    source = "coselog",
    actor_type = "user",
    actor_id = record["org:resource"],
    data = {
      activity = record["concept:name"],
      task = record["concept:instance"],
      group = record["org:group"],
      case = case,
    },
  }
end
