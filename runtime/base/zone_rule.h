#pragma once

#include <stdbool.h>
#include <stdint.h>

/* The rule behind the last change that a zone's table knows, as POSIX writes it in TZ:
 * "CET-1CEST,M3.5.0,M10.5.0/3". */
typedef struct {
	enum { ZONE_DAY_OF_MONTH, ZONE_DAY_BUT_LEAP, ZONE_DAY } kind;
	int month, week, day; /* M3.5.0: the last Sunday of March; the others only have a day */
	int time;             /* seconds after midnight, by the clocks until then; any sign */
} ZoneChange;

typedef struct {
	int standard, summer; /* seconds ahead of UTC */
	bool has_summer;
	ZoneChange begin, end; /* of summer time */
} ZoneRule;

/* `text` is `len` bytes, without newlines. False: it is no such rule. */
bool zone_rule_parse(const char *text, int len, ZoneRule *rule);
int zone_rule_offset(const ZoneRule *rule, int64_t seconds);
