#pragma once

#include "base/err.h"
#include "base/mem.h"

/* Numbers as JSON writes them. A text and a double are equal here when the shortest decimal that
 * reads back as the double has the text's value: 0.1 is 0.1, 1.10 is 1.1, and
 * 1152921504606846976 is not 2^60, whose shortest decimal is 1152921504606847000. */

enum {
	NUMBER_PRINT_MAX = 40,        /* bytes that number_print() may write */
	NUMBER_MAX_EXPONENT = 131071, /* of the first digit: what PostgreSQL's numeric holds … */
	NUMBER_MIN_EXPONENT = -16383, /* … and of the last digit */
};

/* A number's parts: (-)digits × 10^exponent, as they stand in the text. */
typedef struct {
	const char *end;        /* behind the number; NULL: not a number of JSON's grammar */
	const char *digits;     /* the first significant digit; a '.' may stand among them */
	const char *digits_end; /* behind the last digit of the mantissa */
	uint64_t mantissa;      /* the significant digits, where there are at most 19 */
	int ndigits;            /* significant digits, trailing zeros included; 0 for zero */
	int exponent;           /* of the last digit; ± 2^30 stands for anything beyond */
	bool negative;
	bool integer; /* neither '.' nor an exponent */
} Number;

/* Splits the number that begins at `s`. Never reads at or behind `end`. */
void number_scan(const char *s, const char *end, Number *out);

/* True where `n` equals a double, which is then in *value. -0 is 0. */
bool number_exact(const Number *n, double *value);

/* The nearest double; ±HUGE_VAL where there is none. */
double number_nearest(const Number *n);

/* True where PostgreSQL's numeric can hold the number. */
bool number_in_range(const Number *n);

/* Writes the one text that all equal numbers share, valid JSON: plain digits where that is short,
 * "1.5e+400" otherwise; returns its length (no NUL). `out` has room for number_canonical_room(n)
 * bytes. The number must be in range. */
size_t number_canonical(const Number *n, char *out);
size_t number_canonical_room(const Number *n);

/* -1, 0 or 1 by value. */
int number_compare(const Number *a, const Number *b);

/* Writes the shortest decimal that reads back as `v` and returns its length (no NUL). Integers
 * below 2^63 are plain digits, -0 is 0. `v` must be finite. */
size_t number_print(double v, char out[NUMBER_PRINT_MAX]);
