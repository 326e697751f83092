#pragma once

#include "base/err.h"

/* What clocks show in a time zone ("Europe/Lisbon") at an instant (seconds since 1970-01-01 UTC):
 * by how many seconds they are ahead of UTC, negative in the west. From the system's tables
 * (/usr/share/zoneinfo), each of which is read once and kept for the life of the process: a replay
 * must not change its mind when the system is updated meanwhile. From any thread. */
bool zone_offset(const char *zone, int64_t seconds, int *offset, Err *err);
