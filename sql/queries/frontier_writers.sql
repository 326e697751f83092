-- Step 2: the transactions that may still commit rows with numbers drawn until now. A number is drawn only inside
-- an INSERT, which locks the table or a partition of it first; prepared transactions keep the lock.
SELECT l.virtualtransaction FROM pg_locks l
 WHERE l.locktype = 'relation' AND l.granted
   AND l.mode = 'RowExclusiveLock'
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (l.relation = to_regclass('moonwake.events')
        OR l.relation IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('moonwake.events')))
