-- Which devices there are: `active` from the first time that one was online until it is taken out of the fleet.
projection "devices" {
  key = "aggregate_id",
  key_column = "device",
  columns = { site = "text", active = "boolean default false" },
  on = {
    ["device.provisioned"] = function(row, event) row.site = event.data.site end,
    ["device.moved"] = function(row, event) row.site = event.data.site end,
    ["device.online"] = function(row) row.active = true end,
    ["device.deprovisioned"] = function() return delete end,
  },
}
