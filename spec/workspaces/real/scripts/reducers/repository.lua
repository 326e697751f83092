-- GitHub: a repository as its public events tell it.
reducer "repository" {
  aggregate = "repository",
  snapshot_every = 10,
  initial = function() return { pushes = 0, commits = 0, types = {}, actors = {}, issues = {} } end,
  on = {
    ["github.*"] = function(state, event)
      state.types[event.type] = (state.types[event.type] or 0) + 1
      state.actors[event.actor_id] = (state.actors[event.actor_id] or 0) + 1
      state.last = { type = event.type, by = event.actor_id, at = iso(event.occurred_at) }
      local issue = event.data.issue
      if issue then
        state.issues[tostring(issue.number)] = { title = issue.title, state = issue.state }
      end
      if event.type == "github.push" then
        state.pushes, state.commits = state.pushes + 1, state.commits + event.data.size
        state.head = event.data.head
      end
    end,
  },
}
