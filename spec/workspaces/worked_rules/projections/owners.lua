-- Which team a device belongs to.
projection "owners" {
  key = "aggregate_id",
  key_column = "device",
  columns = { team = "text" },
  on = {
    ["device.tagged"] = function(row, event) row.team = event.data.team end,
    ["device.deprovisioned"] = function() return delete end,
  },
}
