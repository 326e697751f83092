#pragma once

#include "base/err.h"
#include "base/mem.h"

/* Where deliveries go, as the files in rules/receivers say. */
typedef enum { RECEIVER_WEBHOOK, RECEIVER_ALERTMANAGER, RECEIVER_PROGRAM } ReceiverKind;

/* A text that may be a secret: only where it is to be found is kept, and it is read whenever it is
 * needed, so that a key can be exchanged without a word to us. */
typedef struct {
	const char *name; /* of a header; NULL otherwise */
	const char *text; /* as it stands, … */
	const char *file; /* … or in a file, … */
	const char *env;  /* … or in the environment */
} Secret;

typedef struct {
	const char *name;
	ReceiverKind kind;
	const char *format;    /* of a webhook's body: "standard", "alertmanager", "raw" */
	Secret url;            /* of a webhook */
	const Secret *secrets; /* that sign; all of them */
	size_t nsecrets;
	const Secret *headers;
	size_t nheaders;
	const char *const *words; /* an Alertmanager's instances, or a program with its arguments;
				     ends with NULL */
	size_t nwords;
	const double *retry; /* the pause before each try, in seconds: as many tries as numbers */
	size_t nretry;
	double timeout, resend; /* seconds */
	double stale_after;     /* older news is not told; 0: all is */
	bool allow_private;
	char digest[65]; /* changes whenever the definition does */
} Receiver;

/* Shared by all who use one of them. */
typedef struct {
	Receiver *items; /* by name */
	size_t n;
	Arena *arena;
	int holders;
} Receivers;

Receivers *receivers_new(size_t n); /* room for n; held once */
Receivers *receivers_hold(Receivers *r);
void receivers_release(Receivers *r);

/* Adds one. `definition`: the JSON that the checked Lua definition becomes; relative files are
 * below `workspace`. */
bool receivers_add(Receivers *r, Str definition, const char *workspace, Err *err);
const Receiver *receivers_find(const Receivers *r, const char *name);

/* Its text, appended to `out` without the space around it. */
bool secret_read(const Secret *s, Buf *out, Err *err);

/* Can everything that it needs be read at this moment, and used? */
bool receiver_check(const Receiver *r, Err *err);
