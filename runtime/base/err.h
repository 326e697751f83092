#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

/* What went wrong, as a value. The lowest function describes, callers pass it up, and only the
 * top (a command, a consumer) reports it. The kind decides what happens next, so it is chosen
 * by what a caller can do about the failure, not by where it occurred. */
typedef enum {
	ERR_NONE,
	ERR_USAGE,   /* the person typed something wrong: exit code 2 */
	ERR_IO,      /* a file or a pipe */
	ERR_NOMEM,   /* a limit on memory was reached */
	ERR_SCRIPT,  /* a user's script failed: deterministic, never retried as it stands */
	ERR_DATA,    /* a value cannot be read or stored: deterministic */
	ERR_CONN,    /* the database cannot be reached or the connection was lost: retried */
	ERR_BUSY,    /* serialization failure, deadlock, lock not available: retried */
	ERR_SQL,     /* the server refused a statement: deterministic */
	ERR_STALE,   /* another daemon owns this consumer now (MW001) */
	ERR_LIMIT,   /* an instruction, time or size budget ran out: deterministic */
	ERR_STOPPED, /* asked to stop */
} ErrKind;

typedef struct {
	ErrKind kind;
	char sqlstate[6];   /* of the server's answer; "" otherwise */
	int64_t event_id;   /* the event that was being handled; 0 otherwise */
	char message[1024]; /* "subject: what is wrong (what to do)" */
	char trace[2048];   /* a script's traceback; "" otherwise */
} Err;

/* Fills *err and returns false, so that a function can fail with `return err_set(...)`.
 * Clears what was there before. A NULL err is allowed: the caller does not want to know. */
bool err_set(Err *err, ErrKind kind, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Appends " (hint)" to the message that is there, and returns false. */
bool err_hint(Err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "subject: " before the message that is there, and returns false. */
bool err_prefix(Err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void err_clear(Err *err);

/* True where trying the same again may succeed: lost connections and serialization failures. */
bool err_is_retryable(const Err *err);

/* A short lower-case word for the kind ("script", "connection", …), for logs and --json. */
const char *err_kind_name(ErrKind kind);
