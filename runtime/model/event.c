#include "model/event.h"

#include <stdbool.h>

void event_uuid_text(const unsigned char uuid[16], char out[37])
{
	static const char hex[] = "0123456789abcdef";

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[uuid[i] >> 4];
		*out++ = hex[uuid[i] & 15];
	}
	*out = '\0';
}

/* The classic greedy match with one point of return: linear for a single star, never exponential.
 */
bool event_type_matches(Str pattern, Str type)
{
	size_t p = 0, t = 0, star = SIZE_MAX, from = 0;

	while (t < type.len) {
		if (p < pattern.len && pattern.s[p] == '*') {
			star = p++;
			from = t;
		} else if (p < pattern.len && pattern.s[p] == type.s[t]) {
			p++, t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			t = ++from;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.s[p] == '*')
		p++;
	return p == pattern.len;
}

int event_type_choose(const Str *patterns, size_t n, Str type)
{
	int best = -1;

	for (size_t i = 0; i < n; i++) {
		if (str_eq(patterns[i], type))
			return (int)i;
		if (event_type_matches(patterns[i], type) &&
			(best < 0 || patterns[i].len > patterns[best].len))
			best = (int)i;
	}
	return best;
}
