#include "base/log.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *const names[] = { "debug", "info", "warn", "error" };
static LogLevel threshold = LOG_INFO; /* of the process, as stderr is */

void log_threshold(LogLevel least)
{
	threshold = least;
}

bool log_level_named(const char *name, LogLevel *out)
{
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++)
		if (strcmp(name, names[i]) == 0) {
			*out = (LogLevel)i;
			return true;
		}
	return false;
}

void log_line(LogLevel level, const char *subject, const char *fmt, ...)
{
	char text[4096], when[32];
	int64_t now = clock_wall_us();
	time_t seconds = (time_t)(now / 1000000);
	struct tm tm;
	va_list ap;

	if (level < threshold)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	gmtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(stderr, "%s.%03dZ %-5s %s%s%s\n", when, (int)(now / 1000 % 1000), names[level],
		subject ? subject : "", subject ? ": " : "", text);
}
