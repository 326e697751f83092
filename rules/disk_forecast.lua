-- A disk that will be full within a day, if it goes on like this.
local function hours_left(w)
  local slope = w.slope or 0 -- percent per second; none where all measurements are of one instant
  return slope > 0 and (100 - w.last) / slope / 3600 or math.huge
end


rule "disk_forecast" {
  on = "device.metrics_reported",
  by = { device = "aggregate_id" },
  value = "data.disk_percent",

  -- The line through the measurements of a day (least squares); not before there are twelve.
  window = { over = "1d", min = 12 },
  when  = function(w) return w.last > 70 and hours_left(w) < 24 end,
  clear = function(w) return hours_left(w) > 36 end,

  severity = "warning",
  summary = "{device} is {last} % full and will be full within a day",
}
