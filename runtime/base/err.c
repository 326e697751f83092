#include "base/err.h"

#include <stdio.h>
#include <string.h>

bool err_set(Err *err, ErrKind kind, const char *fmt, ...)
{
	char text[sizeof(err->message)];
	va_list ap;

	if (err == NULL)
		return false;
	va_start(ap, fmt); /* by way of `text`: an argument may point into err->message */
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_clear(err);
	err->kind = kind;
	memcpy(err->message, text, sizeof(text));
	return false;
}

bool err_hint(Err *err, const char *fmt, ...)
{
	char hint[512];
	size_t len;
	va_list ap;

	if (err == NULL)
		return false;
	va_start(ap, fmt);
	vsnprintf(hint, sizeof(hint), fmt, ap);
	va_end(ap);
	len = strlen(err->message);
	snprintf(err->message + len, sizeof(err->message) - len, " (%s)", hint);
	return false;
}

bool err_prefix(Err *err, const char *fmt, ...)
{
	char text[2 * sizeof(err->message)], subject[512];
	va_list ap;

	if (err == NULL)
		return false;
	va_start(ap, fmt);
	vsnprintf(subject, sizeof(subject), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text), "%s: %s", subject, err->message);
	snprintf(err->message, sizeof(err->message), "%.*s", (int)sizeof(err->message) - 1, text);
	return false;
}

void err_clear(Err *err)
{
	err->kind = ERR_NONE;
	err->sqlstate[0] = err->message[0] = err->trace[0] = '\0';
	err->event_id = 0;
}

bool err_is_retryable(const Err *err)
{
	return err->kind == ERR_CONN || err->kind == ERR_BUSY;
}

const char *err_kind_name(ErrKind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",
		[ERR_USAGE] = "usage",
		[ERR_IO] = "io",
		[ERR_NOMEM] = "memory",
		[ERR_SCRIPT] = "script",
		[ERR_DATA] = "data",
		[ERR_CONN] = "connection",
		[ERR_BUSY] = "busy",
		[ERR_SQL] = "sql",
		[ERR_STALE] = "stale",
		[ERR_LIMIT] = "limit",
		[ERR_STOPPED] = "stopped",
	};

	return names[kind];
}
