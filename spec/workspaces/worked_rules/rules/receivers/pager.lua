receiver "pager" { webhook = "https://pager.example.org/v1/calls", secret_env = "PAGER_SECRET" }
