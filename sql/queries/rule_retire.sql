SELECT moonwake.rule_retire($1)
