#pragma once

/* The innermost loops over strings, to be inlined. Private to what reads and writes JSON. */

#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static inline int scan_is_special(unsigned char c)
{
	return c < ' ' || c == '"' || c == '\\';
}

/* The first byte in p … end that is a control character, a quote or a backslash, or, where `ascii`,
 * beyond ASCII. */
static inline const char *scan_string(const char *p, const char *end, int ascii)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
	const __m128i last_control = _mm_set1_epi8(' ' - 1);

	for (; end - p >= 16; p += 16) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i stop = _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, backslash));
		unsigned mask;

		stop = _mm_or_si128(stop, _mm_cmpeq_epi8(_mm_min_epu8(v, last_control), v));
		mask = (unsigned)_mm_movemask_epi8(ascii ? _mm_or_si128(stop, v) : stop);
		if (mask != 0)
			return p + __builtin_ctz(mask);
	}
#endif
	while (p < end && !scan_is_special((unsigned char)*p) &&
		!(ascii && (unsigned char)*p >= 0x80))
		p++;
	return p;
}

/* True where `s` is ASCII without a NUL, which most strings are. */
static inline int scan_is_text(const char *s, size_t len)
{
	const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
	uint64_t v, odd = 0;

	if (len < 8) {
		while (len > 0 && (signed char)s[len - 1] > 0)
			len--;
		return len == 0;
	}
	for (size_t i = 0; i + 8 <= len; i += 8) {
		memcpy(&v, s + i, 8);
		odd |= ((v - ones) | v) & highs;
	}
	memcpy(&v, s + len - 8, 8); /* the rest, with bytes that were seen already */
	return (odd | (((v - ones) | v) & highs)) == 0;
}
