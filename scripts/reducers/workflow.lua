-- A request that somebody has to approve: a state machine, declared as data.
--
--   moonwake publish workflow.created workflow w-1 '{"title":"Update Lisbon"}'
--   moonwake state workflow w-1
--   moonwake dead-letters workflow                    the events that broke the rules
--
-- The handlers say what an event does; `transitions` says what may follow what. An event that would lead elsewhere is
-- refused as a whole, with an error that names both states and what would have been legal:
--
--   state.status went from 'draft' to 'approved', which is no declared transition (from 'draft': submitted, cancelled)


--- A handler that leads to `status`, and remembers who did it.
local function to(status)
  return function(state, event)
    state.status = status
    state.by, state.at = event.actor_id, iso(event.occurred_at)
    state.reason = event.data.reason
  end
end


reducer "workflow" {
  aggregate = "workflow",
  version = 1,

  transitions = {
    field = "status",  -- where in the state (this is the default)
    initial = "draft", -- a new workflow begins with it; nobody needs to set it
    states = {
      draft     = { "submitted", "cancelled" },
      submitted = { "approved", "rejected", "cancelled" },
      rejected  = { "draft", "cancelled" },
      approved  = { "done" },
      done      = {}, -- nothing follows
      cancelled = {},
    },
  },

  -- What becomes of an event that is refused: "stop" (the default) halts the reducer until somebody looks; "skip" notes
  -- the event among the dead letters and goes on; "park_key" lets this workflow's later events wait behind it.
  on_error = "skip",

  initial = function()
    return { revision = 1 }
  end,

  on = {
    ["workflow.created"] = function(state, event)
      state.title, state.owner = event.data.title, event.actor_id
    end,
    ["workflow.submitted"] = to "submitted",
    ["workflow.approved"]  = to "approved",
    ["workflow.rejected"]  = to "rejected",
    ["workflow.cancelled"] = to "cancelled",
    ["workflow.completed"] = to "done",
    ["workflow.revised"] = function(state, event)
      state.title = event.data.title or state.title
      state.revision = state.revision + 1
      state.status = "draft"
    end,
  },
}
