#pragma once

#include "base/mem.h"

/* Times are microseconds since 1970-01-01 UTC, in the proleptic Gregorian calendar, years 1 to
 * 9999: what ISO 8601 writes with four digits. */

enum { ISO_TIME_SIZE = 28, ISO_DATE_SIZE = 11 }; /* with the NUL */

/* Reads "2026-01-02", "2026-01-02T03:04", "2026-01-02 03:04:05.123456+02:00", "…Z". Without a zone
 * it is UTC. Digits behind the microsecond are rounded. False where it is no such text, or no such
 * day. */
bool iso_time_parse(Str text, int64_t *us);

/* True for a day that exists, written as "2026-01-02". */
bool iso_date_valid(Str text);

bool iso_time_in_range(int64_t us);

/* "2026-01-02T03:04:05.123456Z" and "2026-01-02", of a time in range. */
void iso_time_format(int64_t us, char out[ISO_TIME_SIZE]);
void iso_date_format(int64_t us, char out[ISO_DATE_SIZE]);
