#include "app/duration.h"

#include <inttypes.h>
#include <stdio.h>

static const struct {
	int64_t us;
	char name;
} units[] = { { INT64_C(86400000000), 'd' }, { INT64_C(3600000000), 'h' }, { 60000000, 'm' },
	{ 1000000, 's' } };

enum { UNITS = sizeof(units) / sizeof(units[0]), SECONDS = UNITS - 1 };

static void below_a_minute(int64_t us, const char *sign, char out[32])
{
	int64_t ms = us / 1000;

	if (us > 0 && ms == 0)
		snprintf(out, 32, "%s%" PRId64 "us", sign, us);
	else if (us > 0 && ms < 1000)
		snprintf(out, 32, "%s%" PRId64 "ms", sign, ms);
	else if (ms % 1000 >= 100)
		snprintf(out, 32, "%s%" PRId64 ".%" PRId64 "s", sign, ms / 1000, ms % 1000 / 100);
	else
		snprintf(out, 32, "%s%" PRId64 "s", sign, ms / 1000);
}

const char *duration_text(int64_t us, char out[32])
{
	const char *sign = us < 0 ? "-" : "";
	int first, second;
	size_t i = 0;

	us = us < 0 ? -us : us;
	while (i < SECONDS && us < units[i].us)
		i++;
	if (i == SECONDS) {
		below_a_minute(us, sign, out);
		return out;
	}
	first = (int)(us / units[i].us);
	second = (int)(us % units[i].us / units[i + 1].us);
	if (second > 0)
		snprintf(out, 32, "%s%d%c %d%c", sign, first, units[i].name, second,
			units[i + 1].name);
	else
		snprintf(out, 32, "%s%d%c", sign, first, units[i].name);
	return out;
}
