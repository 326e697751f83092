-- container.crashed, schema version 1 -> 2.
--
-- Version 1 says how a container ended as its exit code alone: { exit_code = 137 }. Version 2 also says what that
-- means: { exit_code = 137, cause = "killed" }. Events are never rewritten; the log keeps both versions for ever. An
-- upcaster makes an old event's data that of the next version whenever a script reads it, so that projections and
-- reducers are written for the newest version alone. From version 2 to 3 would be a file of its own: the two are
-- applied one after the other.

-- A process that a signal ended has 128 + the signal as its exit code.
local CAUSES = {
  [134] = "aborted",  -- SIGABRT
  [137] = "killed",   -- SIGKILL: mostly for want of memory
  [139] = "segfault", -- SIGSEGV
  [143] = "stopped",  -- SIGTERM
}


upcaster "container_crashed_v2" {
  type = "container.crashed", -- or a glob
  from = 1,                   -- events of schema_version 1 leave it with schema_version 2

  -- Changes the data, or returns new data. `event` is there for the rest (event.source, event.occurred_at, …).
  up = function(data)
    data.cause = CAUSES[data.exit_code] or "error"
  end,
}
