-- All of this session's, which holds nothing else: a wait that was cancelled right after its grant has left one behind.
SELECT pg_advisory_unlock_all()
