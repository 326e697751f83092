---@meta moonwake
-- Generated from runtime/prelude/api.lua by `make meta`; changes here are lost.

---@class moonwake.Delete
---@class moonwake.Decimal

---@class moonwake.json
---@field null any
---@field encode fun(value: any): string
---@field decode fun(text: string): any
---@field array fun(list?: table): table
---@field is_array fun(value: any): boolean

---@class moonwake.Event
---@field id integer its place in the log
---@field event_id string uuid; the publisher's name for it
---@field type string container.crashed
---@field aggregate_type string device
---@field aggregate_id string which device
---@field version integer 1, 2, 3 … within the aggregate
---@field schema_version integer of its data
---@field data table what happened; decoded when it is touched
---@field metadata table what the publisher added; decoded when it is touched
---@field source string? where it came from
---@field correlation_id string? the conversation that it belongs to
---@field causation_id string? uuid of the event that caused it
---@field actor_type string? user, device, system
---@field actor_id string? which one
---@field severity string? as the publisher judged it
---@field impact string? as the publisher judged it
---@field occurred_at number when it happened: seconds since 1970-01-01 UTC, with microseconds
---@field timestamp number when it was appended: the same unit
---@field occurrences integer 1, or how many equal events were folded into it

---@class moonwake.Database
---@field exec fun(self: moonwake.Database, sql: string, ...: any)
---@field query fun(self: moonwake.Database, sql: string, ...: any): table[]

---@class moonwake.Projection
---@field budget? integer what one call of a handler may spend (default 10000000; 1000 to 1000000000000 instructions)
---@field columns? table<string, string> a typed table: name = "type [not null] [default literal]"; without it, one JSON document per key
---@field indexes? (string | string[])[] a column, or a list of columns, for each index
---@field jit? boolean compiles the script's loops; a trusted script's choice, since the budget cannot stop compiled code (default false)
---@field key? string | string[] | fun(event: moonwake.Event): any the row that an event belongs to: a path of the event, a list of paths, or a function that returns a key, a list of keys (the handler runs for each), or nil (skip) (default "aggregate_id")
---@field key_column? string | string[] the name of the key's column, or of its columns (default "key"; of several paths, their last words)
---@field memory? integer what the script may hold, its cached states apart (default 64; 1 to 65536 megabytes)
---@field on table<string, fun(row: table, event: moonwake.Event): table | moonwake.Delete | nil> event type or glob -> handler(row, event); an exact type wins over a glob, a longer glob over a shorter (required)
---@field on_error? "stop" | "skip" | "park_key" when a handler fails: stop, skip the event, or park the event and all later ones of its key (default "stop"; one of stop, skip, park_key)
---@field sql? boolean handlers get (db, event) and say db:exec(sql, …) and db:query(sql, …); trusted, and outside of replay's promise (default false)
---@field tables? table<string, string> with sql = true: table name -> the text between the brackets of its CREATE TABLE
---@field version? integer to be raised when the meaning of the table changes: it is then built anew (default 1; 1 to 2147483647)

--- Defines a read model, as a statement: projection "name" { … }
---@param name string the table that it fills; the file's name without .lua
---@return fun(definition: moonwake.Projection)
function projection(name) end

--- What a handler returns to remove its row: return delete
---@type moonwake.Delete
delete = nil

--- json.null, json.encode(value), json.decode(text), json.array(t), json.is_array(t)
---@type moonwake.json
json = nil

--- A table that is a JSON array also when it is empty
---@param list table? becomes the array
---@return table
function array(list) end

--- A number that keeps its digits; arithmetic converts it to the nearest double
---@param text string | number a number as JSON writes it
---@return number | moonwake.Decimal
function decimal(text) end

--- Seconds since 1970-01-01 UTC, with microseconds
---@param text string ISO 8601, UTC where no zone is named
---@return number
function time(text) end

--- The time as 2026-01-02T03:04:05.123456Z
---@param seconds number since 1970-01-01 UTC
---@return string
function iso(seconds) end

--- The day as 2026-01-02, in UTC
---@param seconds number since 1970-01-01 UTC
---@return string
function utc_date(seconds) end

--- Writes a line to the program's log, with the script's name; print does the same
---@param ... any values, written with tostring
function log(...) end
