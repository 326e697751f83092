#include "base/zone_rule.h"

#include <time.h>

enum { HOUR = 3600, DAY = 86400 };

/* ---- reading ---- */

typedef struct {
	const char *s, *end;
} Cursor;

static bool take(Cursor *c, char ch)
{
	if (c->s < c->end && *c->s == ch) {
		c->s++;
		return true;
	}
	return false;
}

static bool is_digit(char ch)
{
	return ch >= '0' && ch <= '9';
}

static bool number(Cursor *c, int max, int *out)
{
	const char *first = c->s;

	*out = 0;
	for (; c->s < c->end && is_digit(*c->s) && *out <= max; c->s++)
		*out = *out * 10 + (*c->s - '0');
	return c->s > first && *out <= max;
}

/* "CET", or "<+0330>" */
static bool name(Cursor *c)
{
	const char *first = c->s;
	bool quoted = take(c, '<');

	while (c->s < c->end && *c->s != '>' && *c->s != ',' &&
		(quoted || (!is_digit(*c->s) && *c->s != '-' && *c->s != '+')))
		c->s++;
	return (quoted ? take(c, '>') : true) && c->s - first >= 3;
}

/* "-3:30", "2", "-167:00:00": as seconds */
static bool clock_time(Cursor *c, int *out)
{
	int sign = take(c, '-') ? -1 : 1, h, m = 0, s = 0;

	if (sign > 0)
		take(c, '+');
	if (!number(c, 167, &h) || (take(c, ':') && !number(c, 59, &m)) ||
		(take(c, ':') && !number(c, 59, &s)))
		return false;
	*out = sign * (h * HOUR + m * 60 + s);
	return true;
}

static bool change(Cursor *c, ZoneChange *out)
{
	*out = (ZoneChange){ .kind = ZONE_DAY, .time = 2 * HOUR };
	if (!take(c, ','))
		return false;
	if (take(c, 'M')) {
		out->kind = ZONE_DAY_OF_MONTH;
		if (!number(c, 12, &out->month) || !take(c, '.') || !number(c, 5, &out->week) ||
			!take(c, '.') || !number(c, 6, &out->day) || out->month < 1 ||
			out->week < 1)
			return false;
	} else {
		out->kind = take(c, 'J') ? ZONE_DAY_BUT_LEAP : ZONE_DAY;
		if (!number(c, 365, &out->day) || (out->kind == ZONE_DAY_BUT_LEAP && out->day < 1))
			return false;
	}
	return !take(c, '/') || clock_time(c, &out->time);
}

bool zone_rule_parse(const char *text, int len, ZoneRule *rule)
{
	Cursor c = { text, text + len };
	int west;

	*rule = (ZoneRule){ 0 };
	if (!name(&c) || !clock_time(&c, &west))
		return false;
	rule->standard = -west;
	if (c.s == c.end)
		return true;
	rule->has_summer = true;
	rule->summer = rule->standard + HOUR;
	if (!name(&c))
		return false;
	if (c.s < c.end && *c.s != ',') {
		if (!clock_time(&c, &west))
			return false;
		rule->summer = -west;
	}
	return change(&c, &rule->begin) && change(&c, &rule->end) && c.s == c.end;
}

/* ---- using ---- */

/* Seconds at midnight, by UTC, of a day that is counted from 0. */
static int64_t midnight(int year, int month, int day)
{
	struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day + 1 };

	return timegm(&tm);
}

static int weekday(int64_t at_midnight)
{
	int64_t days = at_midnight / DAY;

	return (int)(((days + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
}

/* When the clocks change in a year, as they show it themselves until then. */
static int64_t change_in(const ZoneChange *c, int year)
{
	int64_t at, next;
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	switch (c->kind) {
	case ZONE_DAY:
		at = midnight(year, 1, c->day);
		break;
	case ZONE_DAY_BUT_LEAP: /* J60 is always March 1 */
		at = midnight(year, 1, c->day - 1 + (leap && c->day >= 60));
		break;
	default:
		at = midnight(year, c->month, 0);
		at += (c->day - weekday(at) + 7) % 7 * DAY + (c->week - 1) * 7 * DAY;
		next = midnight(year, c->month + 1, 0);
		if (at >= next) /* the fifth is the last, where there are four */
			at -= 7 * DAY;
	}
	return at + c->time;
}

int zone_rule_offset(const ZoneRule *rule, int64_t seconds)
{
	time_t local = (time_t)(seconds + rule->standard);
	struct tm tm = { 0 };
	int64_t begin, end;
	bool summer;

	if (!rule->has_summer)
		return rule->standard;
	gmtime_r(&local, &tm);
	begin = change_in(&rule->begin, tm.tm_year + 1900) - rule->standard;
	end = change_in(&rule->end, tm.tm_year + 1900) - rule->summer;
	if (begin < end)
		summer = seconds >= begin && seconds < end;
	else /* the south */
		summer = seconds >= begin || seconds < end;
	return summer ? rule->summer : rule->standard;
}
