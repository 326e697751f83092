-- 10. A reducer of its own.
rule "order_ledger" {
  on = "order.*", by = { order = "aggregate_id" }, ttl = "7d",
  fold = { init = { paid = 0, shipped = 0 },
           step = function(s, e) local f = e.type:match("%.(%a+)$"); if s[f] then s[f] = s[f] + 1 end return s end },
  when = function(s) return s.shipped > s.paid end,
  summary = "{order} was shipped {shipped} times and paid {paid} times",
}
