#include "app/rule_counts.h"

#include <stdlib.h>

#include "app/term.h"
#include "base/json.h"
#include "base/json_each.h"

static const struct {
	const char *name, *words;
} counts[] = {
	{ "cooldown", "firings held back by the cooldown" },
	{ "late_amended", "late events put in their place" },
	{ "late_counted", "late events counted as they came" },
	{ "late_dropped", "late events dropped" },
	{ "max_keys", "events of keys beyond max_keys refused" },
	{ "muted_limit", "alerts beyond max_alerts muted" },
	{ "too_deep", "alerts about alerts not raised: eight stood upon another" },
	{ "buffer_full", "events handled before their time, as too many waited for it" },
	{ "window_full", "entries of full windows dropped" },
	{ "without_value", "events without a value passed over" },
};

static Str words_of(Str name)
{
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		if (str_eq(name, str_from(counts[i].name)))
			return str_from(counts[i].words);
	return name;
}

void rule_counts_show(Str memory, Buf *out)
{
	const char *before = "";
	Str all, name, value;
	JsonEach each;

	if (memory.s == NULL || !json_path(memory, "counts", &all))
		return;
	for (each = json_each(all); json_each_next(&each, &name, &value); before = ", ") {
		Str words = words_of((Str){ name.s + 1, name.len - 2 });
		char n[32];

		buf_addf(out, "%s%s %.*s", before, term_count(strtoll(value.s, NULL, 10), n),
			(int)words.len, words.s);
	}
}
