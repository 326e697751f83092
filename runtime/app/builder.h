#pragma once

#include "app/cli.h"

/* One new version of a projection on its way: begun or joined, and watched until it is live or
 * waits for approval. Where no daemon works on it, a child of this process does. */
typedef enum { BUILD_READY, BUILD_LIVE } BuildOutcome;

typedef struct {
	Cli *cli;
	PgDb *db;
	const char *name;
	bool approved; /* promote it when it is complete */
	char build[24];
	BuildOutcome outcome;
} Build;

/* From the workspace's file, or where it has none, from the text of the live version. */
bool builder_start(Build *b, Err *err);

/* Shows how far it is on stderr. ERR_STOPPED where somebody asked to stop: the build goes on, or
 * can. */
bool builder_await(Build *b, Err *err);
