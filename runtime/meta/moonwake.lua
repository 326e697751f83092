---@meta moonwake
-- Generated from runtime/prelude/api.lua by `make meta`; changes here are lost.

---@class moonwake.Delete
---@class moonwake.Decimal
---@class moonwake.Emitted
---@class moonwake.Action
---@class moonwake.Ref: table<string, any>
---@alias moonwake.Duration number | string seconds, or "90s", "5m", "1h30m", "2d"
---@alias moonwake.Predicate fun(subject: any, k: table, event: moonwake.Event?): any
---@alias moonwake.Levels table<"info" | "warning" | "error" | "critical", moonwake.Predicate>
---@alias moonwake.Step string | { on: string | string[], where?: fun(event: moonwake.Event): any }
---@alias moonwake.Span { days?: string | string[], from: string, to: string }
---@alias moonwake.Source string | { file: string } | { env: string }

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

---@class moonwake.Calendar
---@field except? moonwake.Span[] a list in the same form: it is not open then
---@field open moonwake.Span[] a list of { days = "mon-fri", from = "22:00", to = "06:00" } (every week) and { from = "2026-12-24", to = "2026-12-26" } (once, the last day included) (required)
---@field zone? string the time zone of its hours and days, as Europe/Berlin (default "UTC")

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

---@class moonwake.Receiver
---@field alertmanager? string | string[] the base URLs of an Alertmanager's instances; all of them are told
---@field allow_private? boolean may its address be a private one? By default false, of an Alertmanager true
---@field format? "standard" | "alertmanager" | "raw" the body: as Standard Webhooks, as Alertmanager's own webhook, or the bare data (default "standard"; one of standard, alertmanager, raw)
---@field headers? table<string, string | moonwake.Source> more headers: name -> text, { file = "…" } or { env = "…" }
---@field program? string | string[] a program with its arguments, by its whole path: it gets the body on its standard input
---@field resend? moonwake.Duration how often an Alertmanager is told again of what fires (default "1m")
---@field retry? moonwake.Duration[] the pause before each try, the first one 0; by default 0, 5s, 5m, 30m, 2h, 5h, 10h, 14h, 20h, 24h
---@field secret_env? string | string[] the same, by the names of variables of the environment
---@field secret_file? string | string[] where the signing secret stands (whsec_…); of a list all sign: old and new while a key is exchanged
---@field stale_after? moonwake.Duration news that is older when it is first tried is not told
---@field timeout? moonwake.Duration how long one try may take (default "15s")
---@field webhook? string | moonwake.Source the URL that is posted to; a secret one as { file = "…" } or { env = "…" }

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

---@class moonwake.Rule
---@field absent? moonwake.Absent the condition is on when no own event came for some time; the subject has last, the time of the last one (nil: none ever came), and since, from when the silence counts
---@field act? moonwake.Action | moonwake.Action[] | fun(subject: any, k: table, event: moonwake.Event?): any what to do when it fires: publish, webhook, command, sql or pg_notify, a list, or a function that returns it
---@field budget? integer what one event or timer may spend (default 10000000; 1000 to 1000000000000 instructions)
---@field by? string | string[] | table<string, string> | fun(event: moonwake.Event): any what the rule watches one by one: a path of the event, a list of paths, { name = path }, or a function that returns a key, a list of keys, or nil (default "aggregate_id"); k has its parts by their names
---@field clear? moonwake.Predicate | moonwake.Levels turns it off again, in the same form; without it, the condition is off when `when` is
---@field clock? "timestamp" | "occurred" the rule's time: when events were appended, or when they happened (default "timestamp"; one of timestamp, occurred)
---@field cooldown? moonwake.Duration how long after a firing the key cannot fire anew
---@field description? string what it means
---@field emit? fun(subject: any, k: table, event: moonwake.Event?): moonwake.Emitted | moonwake.Emitted[] | nil events to append when it fires: event("type", data), or a list
---@field flap? moonwake.Flap a condition that goes on and off all the time keeps one alert, muted
---@field fold? moonwake.Fold the subject is a state that the rule makes of the events
---@field group? moonwake.Group how notifications are gathered
---@field hold? moonwake.Duration how long the condition must stay on before it fires; the alert is pending meanwhile (durations are seconds, or "90s", "5m", "1h30m", "2d")
---@field jit? boolean compiles the script's loops; a trusted script's choice, since the budget cannot stop compiled code (default false)
---@field kind? "alert" | "signal" an alert lasts until it is resolved; a signal fires and is over (default "alert"; one of alert, signal)
---@field labels? table<string, string> | fun(k: table, subject: any): table name -> text (with {names} as in the summary), or a function(k, subject); they stay as they are while the alert lasts
---@field late? "drop" | "count" | "amend" what becomes of an event that comes even later; all are counted (default "count"; one of drop, count, amend)
---@field lateness? moonwake.Duration with clock = "occurred": how long the rule waits for events that come late (default "5m")
---@field linger? moonwake.Duration how long it must stay off before the alert is resolved
---@field max? integer with mode queued or parallel: how many at most (default 10; 1 to 100000)
---@field max_alerts? integer firings within a minute of the rule's clock; more are muted and counted (default 600; 1 to 1000000 a minute)
---@field max_keys? integer how many keys have a state; more are refused and counted (default 100000; 1 to 1000000000)
---@field max_state? integer what the state of a key may take (default 65536, 4194304 with clock = "occurred", and 48 more for each entry that a window may have) (256 to 16777216 bytes)
---@field memory? integer what the script may hold, its cached states apart (default 64; 1 to 65536 megabytes)
---@field mode? "single" | "restart" | "queued" | "parallel" what a new action does while one of the same rule and key is under way: nothing, take its place, wait, or run beside it (default "single"; one of single, restart, queued, parallel)
---@field mute? moonwake.Mute whom it mutes while it fires, and when it is muted itself
---@field notify? string | string[] the receivers that are told: a name, or a list; each is a file rules/receivers/NAME.lua
---@field on string | string[] event type or glob, or a list of them: the rule's own events (required)
---@field on_change? "rebuild" | "keep" | "restart" when the rule's meaning changes: its state is made anew from history, stays, or begins empty (default "rebuild"; one of rebuild, keep, restart)
---@field on_error? "stop" | "skip" | "park_key" when a function of it fails: stop, skip the event, or park the event and all later ones of its key (default "park_key"; one of stop, skip, park_key)
---@field on_silence? "hold" | "clear" a window of values runs empty: the alert stays as it is, or is resolved (default "hold"; one of hold, clear)
---@field runbook? string where it says what to do: a URL
---@field score? moonwake.Score the subject is what a detector says about the value
---@field seq? moonwake.Seq the condition is on when events came in this order: a list of types, or of { on = type, where = function(event) }; the subject is the list of these events
---@field severity? "info" | "warning" | "error" | "critical" the level of a rule whose `when` is one function (default "warning"; one of info, warning, error, critical)
---@field since? "start" | "now" | moonwake.Duration where a rule that never ran begins: with the log, with what comes, or a duration before it (default "start")
---@field summary? string one line with {names}: parts of the key, labels, members of the subject, severity, paths of the event
---@field ttl? moonwake.Duration a key without own events for so long is dropped; its alert ends as expired
---@field value? string | fun(event: moonwake.Event): number? the number that is looked at: a path of the event, or a function; an event without one is passed over
---@field when? moonwake.Predicate | moonwake.Levels turns the condition on: function(subject, k, event), or { info =, warning =, error =, critical = functions }
---@field where? fun(event: moonwake.Event): any the own events that count: those for which it returns something
---@field window? moonwake.Window the subject is what happened during some time: count, rate (a second), span (seconds); with value also sum, avg, min, max, first, last, sd, slope (a second); with the fields of these names distinct, quantile

---@class moonwake.Absent
---@field expect? moonwake.Ref | string[] the keys that count, also when they never had an event: ref "projection.column" (where it is true), ref "projection" (all of its keys), or a list
---@field grace? moonwake.Duration what a key that is new among the expected gets on top (default 0)
---@field within moonwake.Duration the time in which an own event is expected (required)

---@class moonwake.Flap
---@field high? number the share of changes from which on it flaps (default 0.5; 0 to 1)
---@field low? number the share of changes at which the flapping is over (default 0.25; 0 to 1)
---@field samples? integer how many results are looked at (default 20; 3 to 1000)

---@class moonwake.Fold
---@field init? table | fun(): table the state that a key begins with, or a function that makes it (default {})
---@field step fun(state: table, event: moonwake.Event): table? changes the state, or returns a new one (required)

---@class moonwake.Group
---@field by? string | string[] labels or parts of the key: alerts that have them in common are told together (default: all of the rule)
---@field interval? moonwake.Duration the least time between two notifications of a group (default "5m")
---@field wait? moonwake.Duration how long the first notification of a group waits for more (default "30s")

---@class moonwake.Mute
---@field calendar? string this rule is muted while the calendar is open: rules/calendars/NAME.lua
---@field equal? string | string[] labels or parts of the key in which both agree
---@field match? table<string, string | string[]> while this rule fires, alerts are muted that have these values: of rule, severity, labels, parts of the key

---@class moonwake.Score
---@field init? table | fun(): table what the detector keeps of a key at first, or a function that makes it (default {})
---@field step fun(state: table, value: number, t: number): table? takes one value; returns the score, a table, or nil (nothing to say yet) (required)

---@class moonwake.Seq
---@field missing? moonwake.Step | moonwake.Step[] what must not come after the steps: the condition is on when it did not; when it comes late, off
---@field within? moonwake.Duration | fun(first: moonwake.Event): moonwake.Duration the time from the first step to the last, or to what is missing; or a function of the first event

---@class moonwake.Window
---@field distinct? string a path of the event: w.distinct is how many different values it had
---@field gap? moonwake.Duration of a session: the time without events that ends it
---@field kind? "slide" | "tumble" | "session" the last while, one span after another, or events without a gap (default "slide"; one of slide, tumble, session)
---@field max? integer what it holds; the oldest leave then, and are counted (default 10000; 1 to 1000000 entries)
---@field min? integer with fewer entries the condition stays as it is (1 to 1000000)
---@field over? moonwake.Duration how long it is (of a session: at most, and it may be missing)
---@field quantile? number w.quantile is this quantile of the values (0.5: the median) (0 to 1)

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

--- Defines what raises an alert, as a statement: rule "name" { … }
---@param name string the file's name without .lua
---@return fun(definition: moonwake.Rule)
function rule(name) end

--- Defines hours and days for mute = { calendar = … }, as a statement: calendar "name" { … }
---@param name string the file's name without .lua
---@return fun(definition: moonwake.Calendar)
function calendar(name) end

--- Defines where notifications and actions go, as a statement: receiver "name" { … }
---@param name string the file's name without .lua
---@return fun(definition: moonwake.Receiver)
function receiver(name) end

--- A projection as it is at the rule's instant, to be read: ref("site")[key].size, ref("site.size")[key]
---@param name string "projection" (its rows) or "projection.column"; a literal: it is found before the rule runs
---@return moonwake.Ref
function ref(name) end

--- The instant at work in a rule, of the rule's clock: seconds since 1970-01-01 UTC
---@return number
function now() end

--- What `emit` of a rule returns: an event that is appended when it fires; options { aggregate_type =, aggregate_id = }
---@param type string the new event's type
---@param data table? what happened
---@param options table? { aggregate_type =, aggregate_id = } (default: "alert" and the episode's id)
---@return moonwake.Emitted
function event(type, data, options) end

--- What `act` of a rule returns: an event that is appended unless the firing is old news; options as of event()
---@param type string the new event's type
---@param data table? what is asked for
---@param options table? { aggregate_type =, aggregate_id = } (default: "alert" and the episode's id)
---@return moonwake.Action
function publish(type, data, options) end

--- What `act` of a rule returns: a delivery to a receiver: webhook { to = "receiver", data = { … } }
---@param options table { to = "receiver", data = { … } }
---@return moonwake.Action
function webhook(options) end

--- What `act` of a rule returns: data on the standard input of a program that a receiver names: command { to = "receiver", data = { … } }
---@param options table { to = "receiver", data = { … } }
---@return moonwake.Action
function command(options) end

--- What `act` of a rule returns: a statement for the database, with $1, $2 … for the values
---@param text string one statement, with $1, $2 … for the values
---@param ... any the values
---@return moonwake.Action
function sql(text, ...) end

--- What `act` of a rule returns: a NOTIFY
---@param channel string that programs LISTEN to
---@param payload any a text, or what becomes JSON
---@return moonwake.Action
function pg_notify(channel, payload) end

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

--- The next event comes so much later than the last one (otherwise one second); a rule's timers fire meanwhile
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

--- The key has an alert with these fields; without `state` it is firing. A signal fires until the next given, when, advance
---@param key any of a rule: a value, a list of them, or { name = value }
---@param fields table? { state = "pending", severity =, reason =, summary =, labels =, subject =, muted =, at = … }
function expect_alert(key, fields) end

--- No alert of the key is pending or firing
---@param key any as of expect_alert; without it: no key
function expect_no_alert(key) end

--- The key's last alert that is over was resolved
---@param key any as of expect_alert
---@param fields table? as of expect_alert
function expect_resolved(key, fields) end

--- The rule emitted such an event in this test
---@param type string the new event's type
---@param fields table? of its data; absent: there is none
function expect_event(type, fields) end

--- The rule asked for such an action in this test; none is done
---@param kind string publish, webhook, command, sql or notify
---@param fields table? { to =, data =, muted = }, of publish { type =, data =, aggregate_id = }; absent: there is none
function expect_act(kind, fields) end

--- All alerts of this test with their fields, in the order in which they began
---@return table[]
function alerts() end

--- What is expected where there is to be no row, or no field
---@type table
absent = nil

--- Fields that are expected, and no others beside them: expect_row(key, exactly { … })
---@param fields table all of them
---@return table
function exactly(fields) end
