#pragma once

#include "app/loader.h"
#include "pg/pg_db.h"

/* What is to run: of each script its file; of a projection the version that is live and the one
 * that is being built beside it, each from the file or, where that is another version by now, from
 * the text that the database kept. */
typedef struct {
	char name[80];    /* the consumer's */
	Handler *handler; /* NULL: the file does not load, so whoever runs by this name goes on */
	bool next;
} Candidate;

typedef struct {
	Candidate *candidates;
	size_t n;
	size_t broken;  /* scripts that do not load */
	char stamp[40]; /* of the plan: another one wherever this is no longer true; "": there is
			   none */
} Lineup;

/* `fresh`: the files were just saved, or nothing runs yet: only then new versions begin to be
 * built. `only`: nothing but this projection, from what is kept where it has no file; NULL:
 * everything. Takes the handlers out of `scripts`. */
bool lineup_plan(const PgTarget *target, const LuaOptions *lua, LoadedScripts *scripts, bool fresh,
	const char *only, Lineup *out, Err *err);
void lineup_free(Lineup *l); /* closes the handlers that are still in it */

/* The name that a file defines: "projections/x.lua" -> "x". */
void lineup_name(const char *path, char out[64]);

/* True where other scripts would run than those of the entries. */
bool lineup_differs(const Lineup *l, const RosterEntry *entries, size_t n);

/* The entries to go on with, in new memory; what stays as it is is copied from the old ones, whose
 * handlers the caller closes where they are in none of the new. */
RosterEntry *lineup_adopt(Lineup *l, const RosterEntry *old, size_t nold, bool replan, size_t *n);
