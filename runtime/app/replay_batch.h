#pragma once

#include "app/replay_source.h"

/* A whole replay at full speed: errors as they come, the summary at the end, also after Ctrl-C.
 * *failures: events that failed. */
bool replay_batch(Cli *cli, Handler *h, ReplaySource *source, int64_t *failures, Err *err);
