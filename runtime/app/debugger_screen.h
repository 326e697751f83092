#pragma once

#include "app/debugger.h"

/* What a replay shows on standard output: for people, or with --json one object a line. */

/* The event that we stand at, what took it, what it changed, and the hits. */
void screen_step(Debugger *d);

/* Why a run ended where it did, if the step does not say it: the end, the start, Ctrl-C. */
void screen_stop(Debugger *d, DebugStop why);

/* The lines of debugger_lines(). */
void screen_lines(Debugger *d, const TraceStep *steps, size_t n);

/* Lines of a script's file around one of them, which is marked. */
void screen_source(Debugger *d, const char *file, int line, int around);

/* A name and a JSON value: {"state": …, "key": …}. s == NULL: there is none. */
void screen_value(Debugger *d, const char *name, Str key, Str value);

/* An error of the session, which goes on. */
void screen_error(const Debugger *d, const Err *err);

/* Conditions that failed, and where first. */
void screen_conditions(const Debugger *d);
