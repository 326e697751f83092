#include "app/replay_summary.h"

#include "app/row_key.h"
#include "app/show.h"
#include "app/term.h"
#include "base/json.h"

#include <stdlib.h>

/* The row to show: of --key, of the aggregate that it is all about, or the only one. */
static const MemoryRow *final_row(const ReplaySource *s, const ReplaySummary *x)
{
	const char *id = replay_source_aggregate(s);
	const MemoryRow *row = NULL;

	if (x->key != NULL)
		return row_key_find(x->table, x->key);
	if (id != NULL)
		row = row_key_find(x->table, id);
	if (row == NULL && memory_table_count(x->table) == 1) {
		size_t n;
		MemoryRow *rows = memory_table_rows(x->table, &n);

		row = memory_table_get(x->table, rows[0].key);
		free(rows);
	}
	return row;
}

static int64_t rate(const ReplaySummary *x)
{
	return x->seconds > 0 ? (int64_t)((double)x->events / x->seconds) : 0;
}

static void show_json_line(const ReplaySummary *x, const MemoryRow *row)
{
	Buf out = { 0 };

	buf_addf(&out,
		"{\"summary\":{\"events\":%lld,\"before\":%lld,\"taken\":%lld,\"errors\":%lld",
		(long long)x->events, (long long)x->before, (long long)x->taken,
		(long long)x->failures);
	buf_addf(&out, ",\"rows\":%zu,\"interrupted\":%s", memory_table_count(x->table),
		x->interrupted ? "true" : "false");
	if (x->seconds > 0)
		buf_addf(&out, ",\"seconds\":%.6f,\"per_second\":%lld", x->seconds,
			(long long)rate(x));
	if (row != NULL) {
		buf_adds(&out, ",\"key\":");
		buf_add(&out, row->key.s, row->key.len);
		buf_adds(&out, ",\"state\":");
		buf_add(&out, row_state(x->def, row->state).s, row_state(x->def, row->state).len);
	}
	buf_adds(&out, "}}\n");
	fwrite(out.s, 1, out.len, stdout);
	buf_free(&out);
}

void replay_summary_show(Cli *cli, const ReplaySource *s, const ReplaySummary *x)
{
	const MemoryRow *row = final_row(s, x);
	char n[4][32];

	if (cli_flag(cli, "json")) {
		show_json_line(x, row);
		return;
	}
	term_print(stdout, TERM_BOLD, "%s events", term_count(x->events, n[0]));
	if (x->seconds > 0)
		printf(" in %.2f s (%s/s)", x->seconds, term_count(rate(x), n[1]));
	if (x->before > 0)
		printf(", %s of them before --from", term_count(x->before, n[1]));
	printf(": %s taken, ", term_count(x->taken, n[2]));
	term_print(stdout, x->failures > 0 ? TERM_RED : TERM_PLAIN, "%s errors",
		term_count(x->failures, n[3]));
	printf(", %s row%s%s\n", term_count((int64_t)memory_table_count(x->table), n[0]),
		memory_table_count(x->table) == 1 ? "" : "s",
		x->interrupted ? " (interrupted)" : "");
	if (row != NULL) {
		fputs("  ", stdout);
		show_styled(stdout, TERM_BOLD, row->key);
		putchar('\n');
		show_json(stdout, row_state(x->def, row->state), 2);
	}
}
