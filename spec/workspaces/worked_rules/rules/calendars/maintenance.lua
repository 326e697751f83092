calendar "maintenance" {
  zone = "Europe/Lisbon",
  open = { { days = "sun", from = "02:00", to = "04:00" } },
}
