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
---@field promote? "auto" | "when_equal" | "manual" when a version that was built beside the live one takes its place: at once, if no row differs, or on approval (default "auto"; one of auto, when_equal, manual)
---@field sql? boolean handlers get (db, event) and say db:exec(sql, …) and db:query(sql, …); trusted, and outside of replay's promise (default false)
---@field tables? table<string, string> with sql = true: table name -> the text between the brackets of its CREATE TABLE
---@field version? integer to be raised when the meaning of the table changes: it is then built anew (default 1; 1 to 2147483647)

---@class moonwake.Reducer
---@field aggregate string the aggregate type whose events it folds; each aggregate has a state of its own (required)
---@field budget? integer what one call of a handler may spend (default 10000000; 1000 to 1000000000000 instructions)
---@field initial? fun(): table makes the state of a new aggregate; without it, {}
---@field jit? boolean compiles the script's loops; a trusted script's choice, since the budget cannot stop compiled code (default false)
---@field memory? integer what the script may hold, its cached states apart (default 64; 1 to 65536 megabytes)
---@field on table<string, fun(state: table, event: moonwake.Event): table | moonwake.Delete | nil> event type or glob -> handler(state, event); an exact type wins over a glob, a longer glob over a shorter (required)
---@field on_error? "stop" | "skip" | "park_key" when a handler fails: stop, skip the event, or park the event and all later ones of its aggregate (default "stop"; one of stop, skip, park_key)
---@field snapshot_every? integer how many versions of an aggregate lie between two stored snapshots of its state (default 50; 1 to 1000000 versions)
---@field transitions? moonwake.Transitions the state machine in one field of the state; an event that breaks it is refused
---@field version? integer to be raised when the meaning of the state changes: states and snapshots are then made anew (default 1; 1 to 2147483647)

---@class moonwake.Transitions
---@field field? string the field of the state that holds the machine's state, a string (default "status")
---@field initial string what a new aggregate begins with (required)
---@field states table<string, string[]> each state -> the list of those that may follow it ({}: none does) (required)

---@class moonwake.Upcaster
---@field from integer the schema_version of the events that it takes; they leave it with the next one (required; 0 to 2147483646)
---@field type string event type or glob; of several upcasters an exact type wins over a glob, a longer glob over a shorter (required)
---@field up fun(data: table, event: moonwake.Event): table? changes the event's data, or returns new data (required)

--- Defines a read model, as a statement: projection "name" { … }
---@param name string the table that it fills; the file's name without .lua
---@return fun(definition: moonwake.Projection)
function projection(name) end

--- Defines the state of one aggregate, as a statement: reducer "name" { … }
---@param name string the file's name without .lua
---@return fun(definition: moonwake.Reducer)
function reducer(name) end

--- Defines how old events become like new ones, as a statement: upcaster "name" { … }
---@param name string the file's name without .lua
---@return fun(definition: moonwake.Upcaster)
function upcaster(name) end

--- What a handler returns to remove its row or state: return delete
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

-- What specs of scripts may say beside busted's words.

--- Names the script under test for the block in which it stands; without it, spec/NAME_spec.lua is for NAME
---@param name string a script's name, or its path in the workspace
---@return table
function script(name) end

--- The script handles these events, and none of them fails
---@param events table { { "type", "aggregate_id", { data }, field = value, … }, field = value for all, … }
function given(events) end

--- The script handles these events
---@param events table as of given; the last one may fail, if expect_error follows
function when(events) end

--- The next event comes so much later than the last one (otherwise one second)
---@param duration number | string seconds, or "90s", "5m", "1h30m", "2d"
function advance(duration) end

--- The row has these fields with these values
---@param key any a list of values for a key of several columns
---@param fields table maybe not all of them; absent: there is no such row
function expect_row(key, fields) end

--- The same, for the state of a reducer or a document
---@param key any of a reducer: the aggregate_id
---@param fields table as of expect_row
function expect_state(key, fields) end

--- The last event failed; the history goes on without it
---@param pattern string? a Lua pattern, or a part of the message
function expect_error(pattern) end

--- The row as its handler sees it, or nil
---@param key any as of expect_row
---@return table?
function row(key) end

--- The same, for the state of a reducer or a document
---@param key any as of expect_row
---@return table?
function state(key) end

--- All rows, in the order of their keys
---@return { key: any, row: table }[]
function rows() end

--- What is expected where there is to be no row, or no field
---@type table
absent = nil

--- Fields that are expected, and no others beside them: expect_row(key, exactly { … })
---@param fields table all of them
---@return table
function exactly(fields) end
