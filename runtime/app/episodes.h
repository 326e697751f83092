#pragma once

#include "pg/pg_rows.h"

/* The episodes of one rule: from the first sign of an alert to its end. They come from what a rule
 * raises in memory, or from the table of alerts. */

#define EPISODE_NEVER INT64_MIN

typedef struct {
	Str id;  /* a uuid's text */
	Str key; /* JSON text, as in DeadLetter.key */
	Str severity, summary;
	Str reason, muted; /* s == NULL: none */
	int64_t since_us;  /* the condition came on */
	int64_t fired_us;  /* EPISODE_NEVER: it was pending only */
	int64_t ended_us;  /* EPISODE_NEVER: it goes on */
	bool signal;       /* an instant, without an end */
} Episode;

typedef struct Episodes Episodes;

Episodes *episodes_new(void);
void episodes_free(Episodes *e);

/* Takes over an object of Effects.raised; what is no alert is passed over. */
void episodes_take(Episodes *e, Str effect);
/* Rows of backtest_alerts.sql; `key`: only of this one, as rule_key_is() knows it. NULL: of all. */
void episodes_read(Episodes *e, const PgRows *rows, const char *key);

/* Leaves those that fired and were still firing at or after `from_us`, and fired before `until_us`;
 * one that ended later goes on, as far as one can see. In the order of their keys, then times. */
void episodes_clip(Episodes *e, int64_t from_us, int64_t until_us);

size_t episodes_count(const Episodes *e);
const Episode *episodes_at(const Episodes *e, size_t i);
size_t episodes_pending(const Episodes *e); /* those that clip left out: they never fired */

/* ---- two versions ---- */

enum {
	EPISODE_ADDED = 1,
	EPISODE_REMOVED = 2,
	EPISODE_MOVED = 4, /* fires at another time */
	EPISODE_LONGER = 8,
	EPISODE_SHORTER = 16,
	EPISODE_SEVERITY = 32, /* it ended with, or has, another severity */
	EPISODE_CHANGES = 6
};

/* One episode in both versions, or in one of them (the other is NULL). */
typedef struct {
	const Episode *before, *now;
	unsigned changes;  /* 0: the same */
	int64_t moved_us;  /* how much later it fires */
	int64_t longer_us; /* how much longer it lasts */
} EpisodePair;

typedef struct {
	EpisodePair *pairs; /* in the order of their times, then keys */
	size_t count;
	size_t same, changed[EPISODE_CHANGES]; /* by the bit's number; a pair may count in several
						*/
} EpisodeDiff;

/* Both clipped to [from_us, until_us): what lies outside is no difference. Those of a key belong
 * together that began with the same sign, then those that overlap most. */
void episodes_compare(const Episodes *before, const Episodes *now, int64_t from_us,
	int64_t until_us, EpisodeDiff *out);
void episode_diff_free(EpisodeDiff *d);

const char *episode_change_name(size_t bit);

/* What lies within the bounds of the comparison. */
int64_t episode_start(const Episode *e, int64_t from_us);
int64_t episode_end(const Episode *e, int64_t until_us);
