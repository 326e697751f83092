-- How each image does on each model of device: is a roll-out going bad, and where?
--
--   SELECT image, model, started, crashed, verdict FROM moonwake.rollout_health WHERE verdict <> 'good';


-- A key of two columns. Events that do not say what they ran, or on what, are for no row: nil.
local function image_and_model(event)
  local data = event.data
  if data.image and data.model then
    return { data.image, data.model }
  end
end


-- A few crashes are bad luck. An image is bad where it crashes more than once in four starts, and watched where it
-- crashes more than once in ten.
local function judge(row)
  local share = row.crashed / math.max(row.started, 1)
  row.verdict = "good"
  if row.crashed >= 3 and share > 1 / 4 then
    row.verdict = "bad"
  elseif row.crashed >= 2 and share > 1 / 10 then
    row.verdict = "watch"
  end
end


projection "rollout_health" {
  version = 1,
  key = image_and_model,
  key_column = { "image", "model" },

  columns = {
    pulls        = "bigint default 0",
    failed_pulls = "bigint default 0",
    started      = "bigint default 0",
    crashed      = "bigint default 0",
    verdict      = "text default 'good'",
    first_start  = "timestamptz",
    last_crash   = "timestamptz",
    exit_codes   = "jsonb", -- how often each was seen: { "137": 4 }
  },
  indexes = { { "verdict", "last_crash" } },

  on = {
    ["image.pulled"]      = function(row) row.pulls = row.pulls + 1 end,
    ["image.pull_failed"] = function(row) row.failed_pulls = row.failed_pulls + 1 end,

    ["container.started"] = function(row, event)
      row.started = row.started + 1
      row.first_start = row.first_start or event.occurred_at
      judge(row)
    end,
    ["container.restarted"] = function(row)
      row.started = row.started + 1
      judge(row)
    end,
    ["container.crashed"] = function(row, event)
      local code = tostring(event.data.exit_code or "unknown")
      row.crashed = row.crashed + 1
      row.last_crash = event.occurred_at
      row.exit_codes = row.exit_codes or {}
      row.exit_codes[code] = (row.exit_codes[code] or 0) + 1
      judge(row)
    end,
  },
}
