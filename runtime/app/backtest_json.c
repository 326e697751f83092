#include "app/backtest.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/iso_time.h"
#include "base/json.h"

static const double DAY_US = 86400e6;

static void add_text(Buf *out, const char *name, Str text)
{
	buf_addf(out, ",\"%s\":", name);
	if (text.s != NULL)
		json_add_string(out, text);
	else
		buf_adds(out, "null");
}

static void add_time(Buf *out, const char *name, int64_t us)
{
	char text[ISO_TIME_SIZE];
	bool known = us != EPISODE_NEVER && iso_time_in_range(us);

	if (known)
		iso_time_format(us, text);
	add_text(out, name, known ? str_from(text) : (Str){ NULL, 0 });
}

static void add_episode(const Backtest *b, Buf *out, const char *name, const Episode *e)
{
	buf_addf(out, ",\"%s\":", name);
	if (e == NULL) {
		buf_adds(out, "null");
		return;
	}
	buf_adds(out, "{\"episode\":");
	json_add_string(out, e->id);
	add_time(out, "since", e->since_us);
	add_time(out, "fired_at", e->fired_us);
	add_time(out, "ended_at", e->ended_us);
	buf_adds(out, ",\"seconds\":");
	json_add_double(out, (double)(episode_end(e, b->until_us) - e->fired_us) / 1e6);
	buf_addf(out, ",\"signal\":%s", e->signal ? "true" : "false");
	add_text(out, "severity", e->severity);
	add_text(out, "reason", e->reason);
	add_text(out, "muted", e->muted);
	add_text(out, "summary", e->summary);
	buf_addc(out, '}');
}

static void add_pair(const Backtest *b, Buf *out, const EpisodePair *p)
{
	const Episode *e = p->now != NULL ? p->now : p->before;
	const char *between = "";

	buf_adds(out, "{\"key\":");
	buf_add(out, e->key.s, e->key.len);
	buf_adds(out, ",\"changes\":[");
	for (size_t bit = 0; bit < EPISODE_CHANGES; bit++) {
		if (b->against == AGAINST_NONE || !(p->changes >> bit & 1))
			continue;
		buf_addf(out, "%s\"%s\"", between, episode_change_name(bit));
		between = ",";
	}
	buf_adds(out, "],\"later\":");
	json_add_double(out, (double)p->moved_us / 1e6);
	buf_adds(out, ",\"longer\":");
	json_add_double(out, (double)p->longer_us / 1e6);
	add_episode(b, out, "now", p->now);
	add_episode(b, out, "before", p->before);
	buf_addc(out, '}');
}

static void add_summary(const Backtest *b, Buf *out)
{
	double days = (double)(b->until_us - b->since_us) / DAY_US;
	size_t count = episodes_count(b->now.episodes);

	buf_addf(out,
		",\"summary\":{\"episodes\":%zu,\"pending_only\":%zu,\"events\":%" PRId64
		",\"actions\":%" PRId64 ",\"per_day\":",
		count, episodes_pending(b->now.episodes), b->now.emitted, b->now.acts);
	json_add_double(out, days > 0 ? (double)count / days : 0);
	if (b->against != AGAINST_NONE) {
		buf_addf(out, ",\"before\":%zu,\"same\":%zu", episodes_count(b->before.episodes),
			b->diff.same);
		for (size_t bit = 0; bit < EPISODE_CHANGES; bit++)
			buf_addf(
				out, ",\"%s\":%zu", episode_change_name(bit), b->diff.changed[bit]);
	}
	buf_addc(out, '}');
}

static void add_errors(const BacktestVersion *v, Buf *out)
{
	buf_addf(out, ",\"refused\":%" PRId64 ",\"errors\":[", v->refused);
	for (size_t i = 0; i < v->nerrors; i++) {
		buf_addf(out, "%s{\"event\":%" PRId64, i > 0 ? "," : "", v->errors[i].event_id);
		add_text(out, "key", str_from(v->errors[i].key));
		add_text(out, "error", str_from(v->errors[i].message));
		buf_addc(out, '}');
	}
	buf_addc(out, ']');
}

static void add_version(Buf *out, const char *name, const BacktestVersion *v)
{
	const RuleCost *c = &v->cost;
	Str counts;

	buf_addf(out, ",\"%s\":", name);
	if (v->handler == NULL) {
		buf_adds(out, "null");
		return;
	}
	buf_addf(out, "{\"digest\":\"%s\",\"events\":%" PRId64 ",\"processor_ns\":%" PRId64,
		v->handler->ops->definition(v->handler)->digest, c->events, c->cpu_ns);
	buf_adds(out, ",\"ns_per_event\":");
	json_add_double(out, c->events > 0 ? (double)c->cpu_ns / (double)c->events : 0);
	buf_addf(out, ",\"keys\":%zu,\"state_bytes_per_key\":%zu", c->most_keys,
		c->keys > 0 ? c->bytes / c->keys : 0);
	add_errors(v, out);
	if (v->memory.s != NULL && json_path(v->memory, "counts", &counts))
		buf_addf(out, ",\"counts\":%.*s", (int)counts.len, counts.s);
	buf_addc(out, '}');
}

void backtest_show_json(const Backtest *b)
{
	Buf out = { 0 };

	buf_adds(&out, "{\"rule\":");
	json_add_string(&out, str_from(b->now.handler->ops->definition(b->now.handler)->name));
	add_text(&out, "against", str_from(b->before.label));
	add_time(&out, "since", b->since_us);
	add_time(&out, "until", b->until_us);
	buf_addf(&out, ",\"upto\":%" PRId64, b->upto);
	if (b->position >= 0)
		buf_addf(&out, ",\"live_position\":%" PRId64, b->position);
	add_summary(b, &out);
	add_version(&out, "now", &b->now);
	add_version(&out, "before", &b->before);
	buf_adds(&out, ",\"episodes\":[");
	for (size_t i = 0; i < b->diff.count; i++) {
		buf_adds(&out, i > 0 ? ",\n" : "\n");
		add_pair(b, &out, &b->diff.pairs[i]);
	}
	buf_adds(&out, "]}\n");
	fwrite(out.s, 1, out.len, stdout);
	buf_free(&out);
}
