#include "base/iso_time.h"

#define DAY_US INT64_C(86400000000)

typedef struct {
	const char *s, *end;
} Cursor;

/* Days since 1970-01-01: years begin in March, so that the leap day is a year's last. */
static int64_t days_from_civil(int64_t y, int m, int d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = y / 400; /* y is never negative here */
	yoe = y - era * 400;
	doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void civil_from_days(int64_t days, int *y, int *m, int *d)
{
	int64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;

	*d = (int)(doy - (153 * mp + 2) / 5 + 1);
	*m = (int)(mp < 10 ? mp + 3 : mp - 9);
	*y = (int)(yoe + era * 400 + (*m <= 2));
}

static bool take(Cursor *c, char ch)
{
	if (c->s < c->end && *c->s == ch) {
		c->s++;
		return true;
	}
	return false;
}

static bool number(Cursor *c, int digits, int max, int *out)
{
	*out = 0;
	for (; digits > 0; digits--, c->s++) {
		if (c->s >= c->end || *c->s < '0' || *c->s > '9')
			return false;
		*out = *out * 10 + (*c->s - '0');
	}
	return *out <= max;
}

static bool date(Cursor *c, int64_t *days)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int y, m, d;
	bool leap;

	if (!number(c, 4, 9999, &y) || !take(c, '-') || !number(c, 2, 12, &m) || !take(c, '-') ||
		!number(c, 2, 31, &d))
		return false;
	leap = y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
	if (y < 1 || m < 1 || d < 1 || d > lengths[m - 1] + (m == 2 && leap))
		return false;
	*days = days_from_civil(y, m, d);
	return true;
}

static bool fraction(Cursor *c, int64_t *us)
{
	int64_t scale = 100000, up = 0;
	const char *first = c->s;

	*us = 0;
	for (; c->s < c->end && *c->s >= '0' && *c->s <= '9'; c->s++) {
		if (scale == 0 && c->s - first == 6)
			up = *c->s >= '5';
		*us += (*c->s - '0') * scale;
		scale /= 10;
	}
	*us += up;
	return c->s > first;
}

static bool clock_time(Cursor *c, int64_t *us)
{
	int h, m, s = 0;
	int64_t part = 0;

	if (!number(c, 2, 24, &h) || !take(c, ':') || !number(c, 2, 59, &m))
		return false;
	if (take(c, ':') && !number(c, 2, 59, &s))
		return false;
	if ((take(c, '.') || take(c, ',')) && !fraction(c, &part))
		return false;
	if (h == 24 && (m > 0 || s > 0 || part > 0))
		return false;
	*us = ((int64_t)h * 3600 + m * 60 + s) * 1000000 + part;
	return true;
}

static bool zone(Cursor *c, int64_t *us)
{
	int h, m = 0, sign;

	*us = 0;
	if (c->s == c->end || take(c, 'Z') || take(c, 'z'))
		return true;
	sign = take(c, '+') ? 1 : take(c, '-') ? -1 : 0;
	if (sign == 0 || !number(c, 2, 23, &h))
		return false;
	if (c->s < c->end) {
		take(c, ':');
		if (!number(c, 2, 59, &m))
			return false;
	}
	*us = sign * ((int64_t)h * 3600 + m * 60) * 1000000;
	return true;
}

bool iso_time_parse(Str text, int64_t *us)
{
	Cursor c = { text.s, text.s + text.len };
	int64_t days, within = 0, offset = 0;

	if (!date(&c, &days))
		return false;
	if (c.s < c.end) {
		if (!take(&c, 'T') && !take(&c, 't') && !take(&c, ' '))
			return false;
		if (!clock_time(&c, &within) || !zone(&c, &offset) || c.s != c.end)
			return false;
	}
	*us = days * DAY_US + within - offset;
	return iso_time_in_range(*us);
}

bool iso_date_valid(Str text)
{
	Cursor c = { text.s, text.s + text.len };
	int64_t days;

	return date(&c, &days) && c.s == c.end;
}

bool iso_time_in_range(int64_t us)
{
	return us >= days_from_civil(1, 1, 1) * DAY_US &&
	       us < days_from_civil(10000, 1, 1) * DAY_US;
}

static int64_t split(int64_t us, int64_t *within)
{
	int64_t days = us / DAY_US;

	*within = us % DAY_US;
	if (*within < 0) {
		*within += DAY_US;
		days--;
	}
	return days;
}

static void digits(char *out, int64_t v, int n)
{
	while (n-- > 0) {
		out[n] = (char)('0' + v % 10);
		v /= 10;
	}
}

void iso_date_format(int64_t us, char out[ISO_DATE_SIZE])
{
	int64_t within;
	int y, m, d;

	civil_from_days(split(us, &within), &y, &m, &d);
	memcpy(out, "0000-00-00", ISO_DATE_SIZE);
	digits(out, y, 4);
	digits(out + 5, m, 2);
	digits(out + 8, d, 2);
}

void iso_time_format(int64_t us, char out[ISO_TIME_SIZE])
{
	int64_t within;

	iso_date_format(us, out);
	split(us, &within);
	memcpy(out + 10, "T00:00:00.000000Z", 18);
	digits(out + 11, within / 3600000000, 2);
	digits(out + 14, within / 60000000 % 60, 2);
	digits(out + 17, within / 1000000 % 60, 2);
	digits(out + 20, within % 1000000, 6);
}
