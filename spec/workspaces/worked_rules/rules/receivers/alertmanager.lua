receiver "alertmanager" { alertmanager = "http://localhost:9093" }
