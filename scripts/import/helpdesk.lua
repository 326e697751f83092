-- The ticketing log of a help desk, one JSON object a line: { case = { … }, event = { … } }.
--
--   moonwake import --map scripts/import/helpdesk.lua helpdesk.ndjson.gz
--
-- The aggregate is the ticket, the event type its activity.
local import = require "import" -- scripts/lib/import.lua

return function(record)
  local event = record.event
  return {
    event_type = "ticket." .. import.word(event["concept:name"]),
    aggregate_type = "ticket",
    aggregate_id = record.case["concept:name"],
    occurred_at = event["time:timestamp"],
    source = "helpdesk",
    actor_type = "user",
    actor_id = event["org:resource"],
    data = {
      activity = event["concept:name"],
      seriousness = event.seriousness,
      customer = event.customer,
      product = event.product,
      workgroup = event.workgroup,
    },
    metadata = { case_index = record.case_index, event_index = record.event_index },
  }
end
