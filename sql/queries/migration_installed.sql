-- Whether the schema and the table that records the migrations exist, and whether this role may read it.
-- The catalogue is asked, which anybody may do; the name comes as a parameter.
SELECT n.oid IS NOT NULL AS schema_exists,
       c.oid IS NOT NULL AS installed,
       coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), false) AS readable,
       current_user AS role,
       current_database() AS database
  FROM (SELECT $1::text AS name) AS asked
  LEFT JOIN pg_namespace n ON n.nspname = asked.name
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'migrations'
