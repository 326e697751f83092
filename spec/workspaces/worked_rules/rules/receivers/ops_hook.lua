receiver "ops_hook" { webhook = "https://ops.example.org/hooks/alerts", secret_env = "OPS_HOOK_SECRET" }
