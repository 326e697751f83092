-- Specs of scripts/reducers/workflow.lua: moonwake test workflow
local STATES = { "draft", "submitted", "approved", "rejected", "done", "cancelled" }
local FOLLOWS = {
  draft = { "submitted", "cancelled" },
  submitted = { "approved", "rejected", "cancelled" },
  rejected = { "draft", "cancelled" },
  approved = { "done" },
  done = {},
  cancelled = {},
}
-- The event that leads to a state, and the events that lead a new workflow to it.
local LEADS_TO = { draft = "revised", submitted = "submitted", approved = "approved", rejected = "rejected", done = "completed",
  cancelled = "cancelled" }
local WAY = { draft = {}, submitted = { "submitted" }, approved = { "submitted", "approved" },
  rejected = { "submitted", "rejected" }, done = { "submitted", "approved", "completed" }, cancelled = { "cancelled" } }

local function event(what, data)
  return { "workflow." .. what, "w-1", data, actor_id = "ana" }
end

local function contains(list, value)
  for _, item in ipairs(list) do
    if item == value then
      return true
    end
  end
  return false
end

describe("workflow", function()
  before_each(function()
    given { event("created", { title = "Update Lisbon" }) }
  end)

  it("begins as its owner's draft", function()
    expect_state("w-1", { status = "draft", title = "Update Lisbon", owner = "ana", revision = 1, by = absent })
  end)

  it("remembers who did what, when and why", function()
    given { event "submitted" }
    advance "1d"
    when { { "workflow.rejected", "w-1", { reason = "too late" }, actor_id = "bo" } }

    expect_state("w-1", { status = "rejected", by = "bo", reason = "too late", at = "2026-01-02T00:00:01.000000Z" })
  end)

  it("may be revised once it was rejected", function()
    given { event "submitted", event "rejected" }
    when { event("revised", { title = "Update Porto" }) }
    expect_state("w-1", { status = "draft", title = "Update Porto", revision = 2 })

    given { event "submitted", event "rejected" }
    when { event "revised" }
    expect_state("w-1", { title = "Update Porto", revision = 3 })
  end)

  for _, from in ipairs(STATES) do
    for _, to in ipairs(STATES) do
      local legal = contains(FOLLOWS[from], to)
      local stays = from == to

      it(("%s from %s to %s"):format(stays and "may stay" or legal and "goes" or "does not go", from, to), function()
        for _, what in ipairs(WAY[from]) do
          given { event(what) }
        end
        when { event(LEADS_TO[to]) }

        if not legal and not stays then
          expect_error(("state.status went from '%s' to '%s'"):format(from, to))
        end
        expect_state("w-1", { status = (legal or stays) and to or from })
      end)
    end
  end
end)
