-- The words of the language, as data: what is checked at load (schema, projection), what editors know
-- (runtime/meta/moonwake.lua) and what the reference says are made from this one table.

local MB = "megabytes"

return {
  -- What a script may call or name, apart from the part of Lua's own library below.
  words = {
    { name = "projection", args = "name", returns = "fun(definition: moonwake.Projection)", since = "0.1",
      params = { { "name", "string", "the table that it fills; the file's name without .lua" } },
      doc = "Defines a read model, as a statement: projection \"name\" { … }" },
    { name = "delete", type = "moonwake.Delete", since = "0.1",
      doc = "What a handler returns to remove its row: return delete" },
    { name = "json", type = "moonwake.json", since = "0.1",
      doc = "json.null, json.encode(value), json.decode(text), json.array(t), json.is_array(t)" },
    { name = "array", args = "list", returns = "table", since = "0.1",
      params = { { "list", "table?", "becomes the array" } },
      doc = "A table that is a JSON array also when it is empty" },
    { name = "decimal", args = "text", returns = "number | moonwake.Decimal", since = "0.1",
      params = { { "text", "string | number", "a number as JSON writes it" } },
      doc = "A number that keeps its digits; arithmetic converts it to the nearest double" },
    { name = "time", args = "text", returns = "number", since = "0.1",
      params = { { "text", "string", "ISO 8601, UTC where no zone is named" } },
      doc = "Seconds since 1970-01-01 UTC, with microseconds" },
    { name = "iso", args = "seconds", returns = "string", since = "0.1",
      params = { { "seconds", "number", "since 1970-01-01 UTC" } },
      doc = "The time as 2026-01-02T03:04:05.123456Z" },
    { name = "utc_date", args = "seconds", returns = "string", since = "0.1",
      params = { { "seconds", "number", "since 1970-01-01 UTC" } },
      doc = "The day as 2026-01-02, in UTC" },
    { name = "log", args = "...", since = "0.1",
      params = { { "...", "any", "values, written with tostring" } },
      doc = "Writes a line to the program's log, with the script's name; print does the same" },
  },

  -- The fields of each kind of definition.
  definitions = {
    projection = {
      class = "moonwake.Projection",
      fields = {
        version = { type = "integer", default = 1, min = 1, max = 2147483647, since = "0.1",
          doc = "to be raised when the meaning of the table changes: it is then built anew" },
        key = { type = "string|table|function", default = "aggregate_id", since = "0.1",
          lua = "string | string[] | fun(event: moonwake.Event): any",
          doc = "the row that an event belongs to: a path of the event, a list of paths, or a function that "
            .. "returns a key, a list of keys (the handler runs for each), or nil (skip)" },
        key_column = { type = "string|table", since = "0.1", lua = "string | string[]",
          doc = "the name of the key's column, or of its columns (default \"key\"; of several paths, their last words)" },
        columns = { type = "table", since = "0.1", lua = "table<string, string>",
          doc = "a typed table: name = \"type [not null] [default literal]\"; without it, one JSON document per key" },
        indexes = { type = "table", since = "0.1", lua = "(string | string[])[]",
          doc = "a column, or a list of columns, for each index" },
        on = { type = "table", required = true, since = "0.1",
          lua = "table<string, fun(row: table, event: moonwake.Event): table | moonwake.Delete | nil>",
          doc = "event type or glob -> handler(row, event); an exact type wins over a glob, a longer glob over a shorter" },
        on_error = { type = "string", default = "stop", one_of = { "stop", "skip", "park_key" }, since = "0.1",
          doc = "when a handler fails: stop, skip the event, or park the event and all later ones of its key" },
        sql = { type = "boolean", default = false, since = "0.1",
          doc = "handlers get (db, event) and say db:exec(sql, …) and db:query(sql, …); trusted, and outside of replay's promise" },
        tables = { type = "table", since = "0.1", lua = "table<string, string>",
          doc = "with sql = true: table name -> the text between the brackets of its CREATE TABLE" },
        budget = { type = "integer", default = 10000000, min = 1000, max = 1000000000000, unit = "instructions",
          since = "0.1", doc = "what one call of a handler may spend" },
        memory = { type = "integer", default = 64, min = 1, max = 65536, unit = MB, since = "0.1",
          doc = "what the script may hold, its cached states apart" },
        jit = { type = "boolean", default = false, since = "0.1",
          doc = "compiles the script's loops; a trusted script's choice, since the budget cannot stop compiled code" },
      },
    },
  },

  -- The fields of an event, in the order of the reference.
  event = {
    { name = "id", type = "integer", doc = "its place in the log" },
    { name = "event_id", type = "string", doc = "uuid; the publisher's name for it" },
    { name = "type", type = "string", doc = "container.crashed" },
    { name = "aggregate_type", type = "string", doc = "device" },
    { name = "aggregate_id", type = "string", doc = "which device" },
    { name = "version", type = "integer", doc = "1, 2, 3 … within the aggregate" },
    { name = "schema_version", type = "integer", doc = "of its data" },
    { name = "data", type = "any", lua = "table", doc = "what happened; decoded when it is touched" },
    { name = "metadata", type = "any", lua = "table", doc = "what the publisher added; decoded when it is touched" },
    { name = "source", type = "string?", doc = "where it came from" },
    { name = "correlation_id", type = "string?", doc = "the conversation that it belongs to" },
    { name = "causation_id", type = "string?", doc = "uuid of the event that caused it" },
    { name = "actor_type", type = "string?", doc = "user, device, system" },
    { name = "actor_id", type = "string?", doc = "which one" },
    { name = "severity", type = "string?", doc = "as the publisher judged it" },
    { name = "impact", type = "string?", doc = "as the publisher judged it" },
    { name = "occurred_at", type = "number", doc = "when it happened: seconds since 1970-01-01 UTC, with microseconds" },
    { name = "timestamp", type = "number", doc = "when it was appended: the same unit" },
    { name = "occurrences", type = "integer", doc = "1, or how many equal events were folded into it" },
  },

  -- The types of columns. `key`: also a key column's.
  types = {
    boolean = { key = true, lua = "boolean" },
    smallint = { key = true, lua = "number" },
    integer = { key = true, lua = "number" },
    bigint = { key = true, lua = "number (decimal beyond 2^53)" },
    ["double precision"] = { lua = "number" },
    numeric = { key = true, lua = "number, or decimal where a double would change it" },
    text = { key = true, lua = "string" },
    uuid = { key = true, lua = "string, lower case" },
    date = { key = true, lua = "string, 2026-01-02" },
    timestamptz = { key = true, lua = "number: seconds since 1970-01-01 UTC; takes ISO 8601 strings too" },
    jsonb = { lua = "any JSON value" },
  },
  aliases = {
    bool = "boolean", int2 = "smallint", int = "integer", int4 = "integer", int8 = "bigint",
    float8 = "double precision", float = "double precision", double = "double precision",
    decimal = "numeric", ["timestamp with time zone"] = "timestamptz",
  },
  refused_types = {
    real = "double precision", float4 = "double precision", varchar = "text", ["character varying"] = "text",
    char = "text", character = "text", bpchar = "text", string = "text", citext = "text", json = "jsonb",
    timestamp = "timestamptz", ["timestamp without time zone"] = "timestamptz", datetime = "timestamptz",
    time = "text", interval = "double precision", serial = "bigint", bigserial = "bigint", money = "numeric",
    number = "double precision", object = "jsonb", array = "jsonb",
  },

  -- Lua's own library: what is there, and what to say for what is not.
  library = {
    "assert", "bit", "coroutine", "error", "getmetatable", "ipairs", "math", "next", "pairs", "pcall", "print",
    "rawequal", "rawget", "rawset", "require", "select", "setmetatable", "string", "table", "tonumber", "tostring",
    "type", "unpack", "xpcall",
  },
  absent = {
    _G = "globals are read-only here; use a local",
    arg = "a script has no arguments",
    collectgarbage = "memory is managed by the program",
    debug = "not available to scripts",
    dofile = "use require, for modules in scripts/lib",
    ffi = "not available to scripts",
    getfenv = "not available to scripts",
    gcinfo = "memory is managed by the program",
    io = "scripts do no input or output; an event carries its data",
    jit = "say jit = true in the definition",
    load = "scripts cannot make code; use require, for modules in scripts/lib",
    loadfile = "use require, for modules in scripts/lib",
    loadstring = "scripts cannot make code; use require, for modules in scripts/lib",
    module = "return a table from the module",
    newproxy = "not available to scripts",
    os = "scripts do not see the clock; use event.occurred_at or event.timestamp",
    package = "use require, for modules in scripts/lib",
    setfenv = "not available to scripts",
  },
  absent_members = {
    math = { random = "a replay would differ; derive it from the event",
      randomseed = "a replay would differ; derive it from the event" },
    string = { dump = "not available to scripts" },
  },

  -- Relations of the schema, which no projection may be named like.
  reserved_tables = {
    "alerts", "consumer_epochs", "consumer_groups", "consumers", "dead_letters", "event_cursors", "event_ids", "event_types", "events", "log_floor",
    "migrations", "outbox", "seals", "settings", "snapshots", "state_projections", "streams", "timers",
  },
  -- Columns that every projection has, and PostgreSQL's own.
  reserved_columns = {
    position = "the last event that changed the row", updated_at = "when that was",
    ctid = "PostgreSQL's own", cmax = "PostgreSQL's own", cmin = "PostgreSQL's own", tableoid = "PostgreSQL's own",
    xmax = "PostgreSQL's own", xmin = "PostgreSQL's own",
  },
}
