#include "base/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	FAR = 1 << 30,        /* an exponent beyond everything */
	MANTISSA_DIGITS = 19, /* fit into 64 bits */
	SHORTEST_MAX = 17,    /* digits that tell any two doubles apart */
	PLAIN_ZEROS = 20,     /* written behind the digits before "e+…" takes over */
	PLAIN_LEADING = 6,    /* and between the point and the first digit */
};

/* Up to here neighbouring doubles lie at most half a digit apart, so that a decimal with so many
 * digits is the only one of its length, and no shorter one, that reads back as its double. */
static const double UNIQUE_MAX = (double)(1ull << 51);

static const double POW10[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12,
	1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
enum { POW10_MAX = 22 };

static bool is_digit(const char *p, const char *end)
{
	return p < end && (unsigned char)(*p - '0') < 10;
}

/* Adds the digits at `p` to the mantissa; zeros before the first other digit do not count. */
static const char *scan_digits(const char *p, const char *end, Number *out)
{
	for (; is_digit(p, end); p++) {
		if (out->ndigits == 0) {
			if (*p == '0')
				continue;
			out->digits = p;
		}
		if (out->ndigits < MANTISSA_DIGITS)
			out->mantissa = out->mantissa * 10 + (uint64_t)(*p - '0');
		out->ndigits++;
	}
	return p;
}

/* p is behind the 'e'. NULL where no digit follows. */
static const char *scan_exponent(const char *p, const char *end, int64_t *exponent)
{
	bool negative = false;
	int64_t value = 0;

	if (p < end && (*p == '+' || *p == '-'))
		negative = *p++ == '-';
	if (!is_digit(p, end))
		return NULL;
	for (; is_digit(p, end); p++)
		value = value < FAR ? value * 10 + (*p - '0') : FAR;
	*exponent += negative ? -value : value;
	return p;
}

void number_scan(const char *s, const char *end, Number *out)
{
	const char *p = s, *point;
	int64_t exponent = 0;

	*out = (Number){ .integer = true };
	if (p < end && *p == '-') {
		out->negative = true;
		p++;
	}
	if (!is_digit(p, end))
		return;
	p = *p == '0' ? p + 1 : scan_digits(p, end, out);
	if (p < end && *p == '.') {
		point = p + 1;
		if (!is_digit(point, end))
			return;
		p = scan_digits(point, end, out);
		exponent = point - p;
		out->integer = false;
	}
	out->digits_end = p;
	if (p < end && (*p == 'e' || *p == 'E')) {
		p = scan_exponent(p + 1, end, &exponent);
		out->integer = false;
	}
	out->exponent = exponent > FAR ? FAR : exponent < -FAR ? -FAR : (int)exponent;
	out->end = p;
}

/* Where the decimal point stands: the value is 0.digits × 10^point. */
static int64_t point_of(const Number *n)
{
	return (int64_t)n->exponent + n->ndigits;
}

/* Copies up to `max` digits without the point and without trailing zeros; returns how many the
 * number has, which may be more than `max`. */
static int copy_digits(const Number *n, char *out, int max)
{
	int count = 0, significant = 0;

	if (n->ndigits == 0)
		return 0;
	for (const char *p = n->digits; p < n->digits_end; p++) {
		if (*p == '.')
			continue;
		if (count < max)
			out[count] = *p;
		count++;
		if (*p != '0')
			significant = count;
	}
	return significant;
}

/* Reads digits × 10^exponent without a decimal point, so that no locale has a say. */
static double read_double(const char *digits, int n, int64_t exponent)
{
	char text[64];

	if (exponent > FAR || exponent < -FAR)
		exponent = exponent > 0 ? FAR : -FAR;
	snprintf(text, sizeof(text), "%.*se%d", n, digits, (int)exponent);
	return strtod(text, NULL);
}

/* The correctly rounded n digits of v > 0, and where the point stands before them. */
static void rounded_digits(double v, int n, char *digits, int *point)
{
	char text[32];

	snprintf(text, sizeof(text), "%.*e", n - 1, v);
	digits[0] = text[0];
	memcpy(digits + 1, text + 2, (size_t)n - 1); /* text[1] is the locale's point */
	*point = (int)strtol(strchr(text, 'e') + 1, NULL, 10) + 1;
}

/* Just above a power of two doubles lie twice as far apart as below it: the next decimal up may
 * read back where the closest, which is lower, does not. */
static bool next_up_fits(double v, char *digits, int n, int point)
{
	if (digits[n - 1] == '9')
		return false;
	digits[n - 1]++;
	return read_double(digits, n, point - n) == v;
}

/* The shortest digits of v > 0: returns how many. */
static int shortest_digits(double v, char digits[SHORTEST_MAX], int *point)
{
	int n = v < DBL_MIN ? 1 : DBL_DIG; /* a normal double is not tried with less than 15 */

	for (; n <= SHORTEST_MAX; n++) {
		rounded_digits(v, n, digits, point);
		if (n == SHORTEST_MAX || read_double(digits, n, *point - n) == v)
			break;
		if (n == SHORTEST_MAX - 1 && next_up_fits(v, digits, n, *point))
			break;
	}
	while (n > 1 && digits[n - 1] == '0')
		n--;
	return n;
}

/* Beyond the easy cases: reads the digits and looks what the double's own are. */
static bool exact_by_printing(const Number *n, double *value)
{
	char given[SHORTEST_MAX], own[SHORTEST_MAX];
	int count = copy_digits(n, given, SHORTEST_MAX), own_count, point;
	double v;

	if (count > SHORTEST_MAX)
		return false;
	v = read_double(given, count, point_of(n) - count);
	if (v == 0 || isinf(v))
		return false;
	own_count = shortest_digits(v, own, &point);
	if (own_count != count || point != point_of(n) || memcmp(own, given, (size_t)count) != 0)
		return false;
	*value = n->negative ? -v : v;
	return true;
}

bool number_exact(const Number *n, double *value)
{
	double v = (double)n->mantissa;
	int e = n->exponent;

	if (n->ndigits > MANTISSA_DIGITS)
		return exact_by_printing(n, value);
	if (n->mantissa == 0)
		v = 0;
	else if (e == 0 && n->mantissa <= 1ull << 53)
		; /* an integer: the double is the number itself */
	else if (n->mantissa <= 1ull << 51 && e >= -POW10_MAX && e <= POW10_MAX)
		v = e < 0 ? v / POW10[-e] : v * POW10[e]; /* rounded once */
	else
		return exact_by_printing(n, value);
	*value = n->negative && v != 0 ? -v : v;
	return true;
}

double number_nearest(const Number *n)
{
	char digits[800]; /* what lies behind the 768th digit cannot change the nearest double … */
	int count = copy_digits(n, digits, (int)sizeof(digits) - 1);
	char text[sizeof(digits) + 32];
	double v;

	if (count == 0)
		return 0;
	if (count >= (int)sizeof(digits)) {
		count = (int)sizeof(digits);
		digits[count - 1] = '1'; /* … but on which side of a half they are */
	}
	snprintf(text, sizeof(text), "%.*se%lld", count, digits, (long long)(point_of(n) - count));
	v = strtod(text, NULL);
	return n->negative ? -v : v;
}

bool number_in_range(const Number *n)
{
	if (n->exponent < NUMBER_MIN_EXPONENT || n->exponent >= FAR)
		return false;
	return n->ndigits == 0 || point_of(n) - 1 <= NUMBER_MAX_EXPONENT;
}

static size_t write_u64(char *out, uint64_t v)
{
	char reversed[20];
	size_t n = 0, i;

	do
		reversed[n++] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	for (i = 0; i < n; i++)
		out[i] = reversed[n - 1 - i];
	return n;
}

static size_t write_integer(char *out, bool negative, uint64_t magnitude)
{
	out[0] = '-';
	return negative + write_u64(out + negative, magnitude);
}

static size_t write_exponent(char *out, int exponent)
{
	out[0] = 'e';
	out[1] = exponent < 0 ? '-' : '+';
	return 2 + write_u64(out + 2, (uint64_t)abs(exponent));
}

/* Writes 0.digits × 10^point. Returns the length. */
static size_t write_number(char *out, bool negative, const char *digits, int n, int point)
{
	char *p = out;

	if (negative)
		*p++ = '-';
	if (point > 0 && point <= n + PLAIN_ZEROS) {
		int whole = point < n ? point : n;

		p = (char *)mempcpy(p, digits, (size_t)whole);
		for (int zeros = point - whole; zeros > 0; zeros--)
			*p++ = '0';
		if (whole < n)
			*p++ = '.';
		return (size_t)((char *)mempcpy(p, digits + whole, (size_t)(n - whole)) - out);
	}
	if (point <= 0 && point > -PLAIN_LEADING) {
		p = (char *)mempcpy(p, "0.", 2);
		for (; point < 0; point++)
			*p++ = '0';
		return (size_t)((char *)mempcpy(p, digits, (size_t)n) - out);
	}
	*p++ = *digits;
	if (n > 1)
		*p++ = '.';
	p = (char *)mempcpy(p, digits + 1, (size_t)n - 1);
	return (size_t)(p - out) + write_exponent(p, point - 1);
}

size_t number_canonical_room(const Number *n)
{
	return 2 * ((size_t)n->ndigits + NUMBER_PRINT_MAX);
}

size_t number_canonical(const Number *n, char *out)
{
	char *digits =
		out + n->ndigits + NUMBER_PRINT_MAX; /* behind the text that is made of them */
	int count = copy_digits(n, digits, n->ndigits);

	if (count == 0) {
		*out = '0';
		return 1;
	}
	return write_number(out, n->negative, digits, count, (int)point_of(n));
}

/* The next digit of a number; zeros behind the last one. */
static char next_digit(const char **p, const char *end)
{
	if (*p < end && **p == '.')
		++*p;
	return *p < end ? *(*p)++ : '0';
}

static int compare_digits(const Number *a, const Number *b)
{
	const char *p = a->digits, *q = b->digits;

	while (p < a->digits_end || q < b->digits_end) {
		char x = next_digit(&p, a->digits_end), y = next_digit(&q, b->digits_end);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}

static int sign_of(const Number *n)
{
	return n->ndigits == 0 ? 0 : n->negative ? -1 : 1;
}

int number_compare(const Number *a, const Number *b)
{
	int sign = sign_of(a);

	if (sign != sign_of(b))
		return sign < sign_of(b) ? -1 : 1;
	if (sign == 0)
		return 0;
	if (point_of(a) != point_of(b))
		return point_of(a) < point_of(b) ? -sign : sign;
	return sign * compare_digits(a, b);
}

/* The digits of 0 < v, where few stand behind the point: "1700000000.123456". Much cheaper than
 * asking printf for the shortest form. Returns 0 where it cannot tell. */
static int digits_behind_point(double v, char digits[20], int *point)
{
	for (int k = 0; k <= POW10_MAX && v * POW10[k] <= UNIQUE_MAX; k++) {
		double m = rint(v * POW10[k]);

		if (m / POW10[k] == v) {
			int n = (int)write_u64(digits, (uint64_t)m);

			*point = n - k;
			while (n > 1 && digits[n - 1] == '0')
				n--;
			return n;
		}
	}
	return 0;
}

size_t number_print(double v, char out[NUMBER_PRINT_MAX])
{
	char digits[NUMBER_PRINT_MAX];
	bool negative = v < 0;
	int n, point;

	v = fabs(v);
	if (v == 0) {
		out[0] = '0';
		return 1;
	}
	if (v <= 9007199254740992.0 && v == (double)(uint64_t)v)
		return write_integer(out, negative, (uint64_t)v);
	n = digits_behind_point(v, digits, &point);
	if (n == 0)
		n = shortest_digits(v, digits, &point);
	return write_number(out, negative, digits, n, point);
}
