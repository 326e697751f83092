#pragma once

#include "app/debugger.h"
#include "app/prompt.h"

/* Commands of a person or a file, until they end. False: the session could not go on, or a SIGTERM
 * came; what a command refuses is shown, and is no reason to end. */
bool debugger_session(Debugger *d, Prompt *prompt, bool echo, Err *err);

/* Replays unseen what is before --from. */
bool debugger_begin(Debugger *d, Err *err);

/* What there is to say at the end, and at `summary`. */
bool debugger_summary(Debugger *d, Err *err);

/* The difference to the true history, up to where we stand or at the end. */
bool debugger_compare(Debugger *d, bool at_end, Err *err);
