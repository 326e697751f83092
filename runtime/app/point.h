#pragma once

#include "flow/fold.h"

/* A place in the history of an aggregate, as a person names it:
 *
 *   12, v12                         the version
 *   #1042, an event's uuid          that event, with what it did
 *   2026-01-02T03:04:05Z, "2h ago"  what the database knew then (UTC unless a zone is named)
 *   start, now                      before the first event, after the last
 */
typedef struct {
	FoldPoint kind;
	int64_t value;
	char uuid[37]; /* of an event that has yet to be looked up; "" otherwise */
} Point;

/* `subject` begins the error ("--at"). */
bool point_parse(const char *subject, const char *text, Point *out, Err *err);
bool point_parse_time(const char *subject, const char *text, int64_t *us, Err *err);
bool point_parse_event(const char *subject, const char *text, Point *out, Err *err);

/* Looks up what needs the database. */
bool point_resolve(Point *p, PgDb *db, const char *type, const char *id, Err *err);

/* Fills *err for a point at which the aggregate had no event yet: says when the first was. */
bool point_too_early(const Point *p, PgDb *db, const char *type, const char *id, Err *err);

/* 2026-01-02T03:04:05.123456Z, for programs. Returns out. */
const char *point_time_text(int64_t us, char out[32]);
