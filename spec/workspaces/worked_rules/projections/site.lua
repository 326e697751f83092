-- How many devices a site has.
projection "site" {
  key = "data.site",
  key_column = "site",
  columns = { size = "bigint default 0" },
  on = {
    ["device.provisioned"] = function(row) row.size = row.size + 1 end,
    ["device.deprovisioned"] = function(row) row.size = row.size - 1 end,
  },
}
