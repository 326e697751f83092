-- Step 2: the transactions that may still commit rows with numbers drawn until now. A number is drawn only inside
-- an INSERT, which locks the table or a partition of it first; prepared transactions keep the lock, without a pid.
SELECT l.virtualtransaction, coalesce(l.pid, 0), a.application_name,
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::bigint AS age
  FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.granted
   AND l.mode = 'RowExclusiveLock'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.relation = to_regclass('moonwake.events')
        OR l.relation IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('moonwake.events')))
