#pragma once

#include "flow/roster.h"

#include <uv.h>

/* Sees versions of projections that are being built through to their promotion: looks again and
 * again how far each is, lets the database compare it with the live one, and exchanges the two
 * where its definition allows that. On a connection of its own, since comparing takes time; there
 * is none while nothing is built. */
typedef struct Promoter Promoter;

typedef enum {
	PROMOTER_SETTLED,  /* nothing is to be waited for: see promoter_pending() */
	PROMOTER_PROMOTED, /* another version is live: the plan is stale */
} PromoterEvent;

typedef void (*PromoterHandler)(void *owner, PromoterEvent ev);

Promoter *promoter_new(uv_loop_t *loop, const PgTarget *target, RosterReport report,
	PromoterHandler fn, void *owner);
void promoter_free(Promoter *p);

/* Which of these are built here from now on. They must stay until the next call. */
void promoter_watch(Promoter *p, const RosterEntry *entries, size_t n);

/* True while one of them may still be promoted without anybody's approval. */
bool promoter_pending(const Promoter *p);
