#pragma once

#include <stdint.h>

/* For measuring and for limits only: what scripts see as time comes from the log. */
uint64_t clock_monotonic_ns(void);
int64_t clock_wall_us(void); /* microseconds since 1970-01-01 UTC */
