-- GH Archive's hours (https://www.gharchive.org): public events of GitHub, one JSON object a line.
--
--   moonwake import --map scripts/import/github.lua 2015-01-01-0.json.gz
--
-- A mapping script returns a function that turns one record of the file into one event, or returns nil to leave it
-- out. Here the aggregate is the repository. GitHub's own id goes to the metadata; without an event_id, one is derived
-- from the record, so that the same file given twice adds nothing.
local import = require "import" -- scripts/lib/import.lua

return function(record)
  return {
    event_type = "github." .. import.snake(record.type):gsub("_event$", ""),
    aggregate_type = "repository",
    aggregate_id = record.repo.name,
    occurred_at = record.created_at,
    source = "gharchive",
    actor_type = "user",
    actor_id = record.actor.login,
    data = record.payload,
    metadata = { github_id = record.id, repo_id = record.repo.id, org = record.org and record.org.login },
  }
end
