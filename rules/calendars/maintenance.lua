-- When the fleet is looked after: rules that say mute = { calendar = "maintenance" } keep quiet then, and do nothing.
--
-- The hours are those of the zone's clocks, in summer and winter; a rule that is tried on last March goes by last
-- March's hours.
calendar "maintenance" {
  zone = "UTC", -- "Europe/Lisbon", "America/Chicago", …
  open = {
    { days = "sun", from = "02:00", to = "04:00" },
    -- { from = "2026-12-24", to = "2026-12-26" } is once, the last day included
  },
}
