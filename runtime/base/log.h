#pragma once

#include "base/err.h"

/* One line per happening on stderr: "2026-01-02T03:04:05.123Z info  device_state: text". Levels
 * below the threshold are dropped. Only the top of the program logs; what is below returns an Err.
 */
typedef enum { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR } LogLevel;

void log_threshold(LogLevel least);
bool log_level_named(const char *name, LogLevel *out); /* debug, info, warn, error */
/* `subject`: a consumer's name, or NULL for the program itself. */
void log_line(LogLevel level, const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
