-- A fold runs the same few statements over all partitions of the log: to plan one anew for its parameters takes longer
-- than to run it. A plan that knows no parameters has to be told that all this is read in the order of an index.
SELECT set_config(s.name, s.value, false) FROM (VALUES
  ('plan_cache_mode', 'force_generic_plan'), ('enable_sort', 'off'), ('enable_seqscan', 'off'),
  ('enable_bitmapscan', 'off')) AS s (name, value)
