#pragma once

#include "app/replay_source.h"
#include "flow/memory_table.h"

/* What a replay comes to. */
typedef struct {
	int64_t events, taken, failures;
	int64_t before; /* of these events: before --from, unseen */
	double seconds; /* 0: a person set the pace */
	bool interrupted;
	const Definition *def;
	const MemoryTable *table;
	const char *key; /* whose final state is of interest; NULL: the only one there is */
} ReplaySummary;

void replay_summary_show(Cli *cli, const ReplaySource *s, const ReplaySummary *summary);
