-- An app on a device: what it runs, how it is, and how often it fell.
--
--   moonwake state container d-17/vision
--   SELECT aggregate_id, state -> 'image' FROM moonwake.aggregate_states
--     WHERE reducer = 'app' AND state ->> 'status' = 'crashed';
--
-- An app has no events of its own. Its life on one device is told by that device's container for it, so its aggregate
-- is the container, and its id "<device>/<app>". (image.* events belong to an image on whatever device: how an image
-- does everywhere is the question of a projection, projections/rollout_health.lua.)

local IMAGES_KEPT = 5 -- a state is stored with every change: what grows for ever does not belong into it


--- `status` of what runs now. The device and the app are in every event of a container.
local function is(state, event, status)
  state.device, state.app = event.data.device_uuid, event.data.app
  state.status, state.since = status, iso(event.occurred_at)
end


--- The images that ran, the newest last.
local function remember(state, image)
  if image and state.images[#state.images] ~= image then
    table.insert(state.images, image)
  end
  if #state.images > IMAGES_KEPT then
    table.remove(state.images, 1)
  end
end


reducer "app" {
  aggregate = "container",
  version = 1,
  snapshot_every = 50,

  -- A new table for each app. `array {}` is a JSON array also as long as it is empty.
  initial = function()
    return { status = "created", starts = 0, crashes = 0, crashes_of_image = 0, images = array {} }
  end,

  on = {
    ["container.created"] = function(state, event)
      is(state, event, "created")
    end,

    ["container.started"] = function(state, event)
      if event.data.image ~= state.image then
        state.previous_image, state.image, state.crashes_of_image = state.image, event.data.image, 0
      end
      remember(state, state.image)
      state.starts = state.starts + 1
      is(state, event, "running")
    end,

    ["container.restarted"] = function(state, event)
      state.starts = state.starts + 1
      is(state, event, "running")
    end,

    ["container.stopped"] = function(state, event)
      state.reason = event.data.reason
      is(state, event, "stopped")
    end,

    -- `cause` is of schema version 2. Older events have got it from scripts/upcasters/container_crashed_v2.lua when
    -- they come here: a handler knows the newest version only.
    ["container.crashed"] = function(state, event)
      state.crashes, state.crashes_of_image = state.crashes + 1, state.crashes_of_image + 1
      state.last_crash = { at = iso(event.occurred_at), cause = event.data.cause, exit_code = event.data.exit_code,
        image = event.data.image }
      is(state, event, "crashed")
    end,

    -- The app is gone from the device, and so is its state. Its past can still be asked for.
    ["container.removed"] = function()
      return delete
    end,
  },
}
