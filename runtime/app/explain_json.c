#include "app/explain.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/iso_time.h"
#include "base/json.h"

static void add_text(Buf *out, const char *name, Str text)
{
	buf_addf(out, ",\"%s\":", name);
	if (text.s != NULL)
		json_add_string(out, text);
	else
		buf_adds(out, "null");
}

static void add_raw(Buf *out, const char *name, Str json)
{
	buf_addf(out, ",\"%s\":", name);
	buf_add(out, json.s != NULL ? json.s : "null", json.s != NULL ? json.len : 4);
}

static void add_us(Buf *out, const char *name, int64_t us)
{
	char text[ISO_TIME_SIZE];

	iso_time_format(us, text);
	add_text(out, name, str_from(text));
}

static void add_time(Buf *out, const char *name, const PgRows *rows, int row, int column)
{
	if (pg_rows_null(rows, row, column))
		add_raw(out, name, (Str){ NULL, 0 });
	else
		add_us(out, name, pg_rows_i64(rows, row, column));
}

static void add_cell(Buf *out, const char *name, const PgRows *rows, int row, int column)
{
	add_text(out, name, pg_rows_str(rows, row, column));
}

void explain_probe_json(const Probe *p, Buf *out)
{
	char at[ISO_TIME_SIZE];

	iso_time_format(p->at, at);
	buf_addf(out, "{\"at\":\"%s\"", at);
	add_text(out, "what", p->what);
	buf_addf(out, ",\"position\":%" PRId64, p->position);
	add_text(out, "event_type", p->type);
	add_raw(out, "value", p->value);
	add_raw(out, "subject", p->subject);
	add_raw(out, "when", p->when);
	add_raw(out, "clear", p->clear);
	add_text(out, "before", p->before);
	add_text(out, "after", p->after);
	add_raw(out, "timers", p->timers);
	add_text(out, "why", p->why);
	buf_addc(out, '}');
}

static void add_head(const Explained *x, Buf *out)
{
	const PgRows *a = x->alert;

	buf_adds(out, "{\"episode\":");
	json_add_string(out, pg_rows_str(a, 0, X_EPISODE));
	add_cell(out, "rule", a, 0, X_RULE);
	add_cell(out, "body", a, 0, X_BODY);
	buf_addf(out, ",\"changed\":%s,\"reproduced\":%s", x->changed ? "true" : "false",
		x->reproduced ? "true" : "false");
	add_raw(out, "key", pg_rows_str(a, 0, X_KEY));
	add_cell(out, "state", a, 0, X_STATE);
	add_cell(out, "severity", a, 0, X_SEVERITY);
	add_cell(out, "summary", a, 0, X_SUMMARY);
	add_raw(out, "labels", pg_rows_str(a, 0, X_LABELS));
	add_raw(out, "subject", pg_rows_str(a, 0, X_SUBJECT));
	buf_addf(out, ",\"signal\":%s", pg_rows_bool(a, 0, X_SIGNAL) ? "true" : "false");
	add_time(out, "started_at", a, 0, X_STARTED);
	add_time(out, "fired_at", a, 0, X_FIRED);
	add_time(out, "ended_at", a, 0, X_ENDED);
	add_cell(out, "reason", a, 0, X_REASON);
	add_cell(out, "muted", a, 0, X_MUTED);
	add_time(out, "muted_at", a, 0, X_MUTED_AT);
	add_cell(out, "acked_by", a, 0, X_ACKED_BY);
	add_time(out, "acked_at", a, 0, X_ACKED_AT);
	add_cell(out, "ack_note", a, 0, X_ACK_NOTE);
	add_raw(out, "notify", pg_rows_str(a, 0, X_NOTIFY));
}

static void add_transition(const Explained *x, int row, Buf *out)
{
	const Probe *p = explain_probe(x, row);

	buf_addf(
		out, "%s{\"event\":%s", row > 0 ? ",\n" : "\n", pg_rows_text(x->events, row, E_ID));
	add_cell(out, "type", x->events, row, E_TYPE);
	add_time(out, "at", x->events, row, E_AT);
	add_cell(out, "severity", x->events, row, E_SEVERITY);
	add_cell(out, "from", x->events, row, E_FROM);
	add_cell(out, "reason", x->events, row, E_REASON);
	add_cell(out, "actor_type", x->events, row, E_ACTOR_TYPE);
	add_cell(out, "actor_id", x->events, row, E_ACTOR);
	add_cell(out, "note", x->events, row, E_NOTE);
	add_cell(out, "summary", x->events, row, E_SUMMARY);
	add_raw(out, "subject", pg_rows_str(x->events, row, E_SUBJECT));
	buf_adds(out, ",\"evaluation\":");
	if (p != NULL)
		explain_probe_json(p, out);
	else
		buf_adds(out, "null");
	buf_addc(out, '}');
}

static void add_contributed(const Explained *x, Buf *out)
{
	int n = x->contributed != NULL ? pg_rows_count(x->contributed) : 0;

	buf_addf(out, "],\n\"contributed\":%zu,\"contributed_events\":[", x->ncontributed);
	for (int i = 0; i < n; i++) {
		buf_addf(out, "%s{\"id\":%s", i > 0 ? ",\n" : "\n",
			pg_rows_text(x->contributed, i, C_ID));
		add_cell(out, "event_type", x->contributed, i, C_TYPE);
		add_cell(out, "aggregate_type", x->contributed, i, C_AGGREGATE_TYPE);
		add_cell(out, "aggregate_id", x->contributed, i, C_AGGREGATE);
		buf_addf(out, ",\"version\":%s", pg_rows_text(x->contributed, i, C_VERSION));
		add_time(out, "timestamp", x->contributed, i, C_AT);
		add_time(out, "occurred_at", x->contributed, i, C_OCCURRED);
		add_raw(out, "data", pg_rows_str(x->contributed, i, C_DATA));
		buf_addc(out, '}');
	}
}

static void add_delivery(const Explained *x, int i, Buf *out)
{
	buf_adds(out, i > 0 ? ",\n{\"id\":" : "\n{\"id\":");
	json_add_string(out, pg_rows_str(x->outbox, i, O_ID));
	add_cell(out, "kind", x->outbox, i, O_KIND);
	add_cell(out, "receiver", x->outbox, i, O_RECEIVER);
	add_cell(out, "transition", x->outbox, i, O_TRANSITION);
	add_cell(out, "state", x->outbox, i, O_STATE);
	buf_addf(out, ",\"grouped\":%s", pg_rows_bool(x->outbox, i, O_GROUPED) ? "true" : "false");
	add_cell(out, "note", x->outbox, i, O_NOTE);
	add_time(out, "at", x->outbox, i, O_AT);
	add_time(out, "due_at", x->outbox, i, O_DUE);
	add_time(out, "updated_at", x->outbox, i, O_UPDATED);
	add_raw(out, "tries", pg_rows_str(x->outbox, i, O_TRIED));
	buf_addc(out, '}');
}

void explain_show_json(const Explained *x)
{
	Buf out = { 0 };

	add_head(x, &out);
	add_text(&out, "missing", str_from(x->missing));
	buf_adds(&out, ",\n\"transitions\":[");
	for (int i = 0; i < pg_rows_count(x->events); i++)
		add_transition(x, i, &out);
	add_contributed(x, &out);
	buf_adds(&out, "],\n\"deliveries\":[");
	for (int i = 0; i < pg_rows_count(x->outbox); i++)
		add_delivery(x, i, &out);
	buf_adds(&out, "]}\n");
	fwrite(out.s, 1, out.len, stdout);
	buf_free(&out);
}
