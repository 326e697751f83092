-- For the statement of an action that follows in the same transaction.
SELECT set_config('statement_timeout', $1, true)
