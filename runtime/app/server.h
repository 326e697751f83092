#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <sys/types.h>

/* PostgreSQL's programs: where they are, and running them as a user that they accept. */
typedef struct {
	bool drop; /* this process is root: PostgreSQL's programs run as the user below */
	uid_t uid;
	gid_t gid;
	char name[64];
} ServerUser;

/* The unprivileged user for a root process: postgres, else nobody. For others: themselves. */
bool server_user_find(ServerUser *out, Err *err);

/* True where the user may pass through the folder and every one above it. */
bool server_user_reaches(const ServerUser *user, const char *folder);

/* The folder of PostgreSQL's programs: the newest of version 15 or later, or the one of `major`
 * where that is not 0. */
bool server_find_programs(int major, char *out, size_t size, Err *err);

/* Starts a program in a session of its own, with its output in `log`; returns its pid, or -1 and
 * why. With `bound`, the kernel sends it SIGINT should this process die. */
pid_t server_spawn(
	const ServerUser *user, char *const argv[], const char *log, bool bound, Err *err);

/* The same, waiting for its end; an error ends with the last line of the log. */
bool server_execute(const ServerUser *user, char *const argv[], const char *log, Err *err);

/* Copies what a log says to have gone wrong into the error. */
bool server_log_error(const char *log, const char *subject, Err *err);
