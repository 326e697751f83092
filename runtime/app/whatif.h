#pragma once

#include "app/cli.h"
#include "app/replay_source.h"
#include "flow/replay.h"

/* A script over the true history and over a changed one: what differs in the end. */
typedef struct WhatIf WhatIf;

/* `truth` up to its event number `ntruth`, `changed` up to `nchanged` (SIZE_MAX: all). The handler
 * is forgotten before and after. NULL and why; ERR_STOPPED after Ctrl-C. */
WhatIf *whatif_compare(
	Cli *cli, Handler *h, Tape *truth, size_t ntruth, Tape *changed, size_t nchanged, Err *err);
void whatif_free(WhatIf *w);

/* How many events of the true history lie behind the first `n` of the changed one. */
bool whatif_truth_at(
	const ReplaySource *s, Tape *truth, Tape *changed, size_t n, size_t *out, Err *err);

/* On standard output. `overlays`: what was changed, for people. */
void whatif_show(const WhatIf *w, const char *overlays);
void whatif_show_json(const WhatIf *w, const char *overlays);

int64_t whatif_failures(const WhatIf *w); /* of the changed history */
