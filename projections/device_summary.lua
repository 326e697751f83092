-- One row for each device, with typed columns: the list that an operator looks at.
--
--   SELECT name, site, crashes, last_seen FROM moonwake.device_summary WHERE NOT online ORDER BY last_seen;
local fleet = require "fleet" -- scripts/lib/fleet.lua


local function seen(row, event)
  row.last_seen = event.occurred_at -- times are numbers here, and timestamptz in the table
end


projection "device_summary" {
  version = 1,

  -- A key can be a function of the event; nil means that the event is not for this table. Here it puts the events
  -- of a device and those of its containers into the same row.
  key = fleet.device_of,
  key_column = "device_uuid",

  -- name = "type default value". Adding a column later needs no new build of the table.
  columns = {
    name      = "text",
    site      = "text",
    model     = "text",
    os        = "text",
    online    = "boolean",
    crashes   = "bigint default 0",
    offlines  = "bigint default 0",
    cpu       = "double precision",
    last_seen = "timestamptz",
    tags      = "jsonb",
  },
  indexes = { "last_seen", { "online", "crashes" } },

  on = {
    ["device.provisioned"] = function(row, event)
      local data = event.data
      row.name, row.site, row.model, row.os, row.tags = data.name, data.site, data.model, data.os, data.tags
      row.online = false
    end,
    ["device.renamed"] = function(row, event) row.name = event.data.name end,
    ["device.moved"]   = function(row, event) row.site = event.data.site end,
    ["device.tagged"]  = function(row, event) row.tags = event.data.tags end,
    ["device.updated"] = function(row, event) row.os = event.data.os end,
    ["device.online"] = function(row, event)
      row.online = true
      seen(row, event)
    end,
    ["device.offline"] = function(row)
      row.online = false
      row.offlines = row.offlines + 1
    end,
    ["device.heartbeat"] = seen,
    ["device.metrics_reported"] = function(row, event)
      row.cpu = event.data.cpu_percent
      seen(row, event)
    end,
    ["container.crashed"] = function(row)
      row.crashes = row.crashes + 1
    end,
    ["device.deprovisioned"] = function()
      return delete
    end,
  },
}
