#pragma once

#include "app/cli.h"
#include "app/episodes.h"
#include "flow/history.h"
#include "flow/rule_run.h"

/* What `backtest` finds out: the episodes that a rule raises over a history, and those that it is
 * compared with. */

enum { BACKTEST_ERRORS = 5 /* that are told in words */ };

/* One version of the rule over the history; or what it raised live. */
typedef struct {
	const char *label;
	Handler *handler; /* NULL: live */
	Episodes *episodes;
	RuleCost cost;
	int64_t emitted, acts; /* events and actions that it would have sent */
	int64_t refused;       /* events and timers that failed, or waited behind one that did */
	struct {
		int64_t event_id;
		char *key, *message;
	} errors[BACKTEST_ERRORS];
	size_t nerrors;
	Str memory; /* the engine's, as it ended; in the cli's arena */
} BacktestVersion;

typedef enum { AGAINST_NONE, AGAINST_LIVE, AGAINST_VERSION } BacktestAgainst;

typedef struct {
	Cli *cli;
	PgDb *db;
	BacktestAgainst against;
	BacktestVersion now, before;
	const char *key;            /* NULL: all */
	int64_t since_us, until_us; /* episodes in [since, until) */
	bool since_given, until_given;
	int64_t after;    /* live, the rule saw nothing up to this event */
	int64_t upto;     /* the last event; 0: not known yet */
	int64_t position; /* where it stands live; -1: it never ran */
	EpisodeDiff diff; /* `before` is empty where nothing is compared */
} Backtest;

/* Replays one version; both end at the same event. Fills in since and until where they were not
 * given. */
bool backtest_run(Backtest *b, BacktestVersion *v, Err *err);

void backtest_show(const Backtest *b);
void backtest_show_json(const Backtest *b);
void backtest_timeline(const Backtest *b);
