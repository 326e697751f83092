-- Every event of an aggregate once, in version order: `next` is the version that has to come.
projection "ledger" {
  version = 1,
  columns = {
    events = "bigint default 0", total = "bigint default 0", next = "bigint default 1",
    disorder = "bigint default 0",
  },
  on = {
    ["*"] = function(row, event)
      if event.version ~= row.next then
        row.disorder = row.disorder + 1
      end
      row.next = event.version + 1
      row.events = row.events + 1
      row.total = row.total + event.data.n
    end,
  },
}
