-- A ticket that was taken up and is not closed within 45 days. One that is closed after all resolves it.
rule "ticket_stuck" {
  on = "ticket.*",
  by = { ticket = "aggregate_id" },
  clock = "occurred",
  lateness = "1d",
  seq = { "ticket.assign_seriousness", missing = "ticket.closed", within = "45d" },
  summary = "{ticket} is not closed",
}
