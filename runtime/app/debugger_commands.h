#pragma once

#include "app/debugger.h"

/* What a session remembers between two commands. */
typedef struct {
	char *last; /* the command that Enter repeats; NULL: none yet */
	bool quit;
} DebugSession;

typedef struct {
	const char *name, *alias;
	const char *usage, *help;
	bool repeats; /* by Enter alone */
	/* `rest`: the words behind the name, without blanks around. False: err says why not. */
	bool (*run)(Debugger *d, DebugSession *s, const char *rest, Err *err);
} DebugCommand;

extern const DebugCommand debug_commands[]; /* in the order of the help; ends with a NULL name */

/* A count behind a command's name; 1 where there is none. */
bool debugger_count(const char *command, const char *rest, int64_t *n, Err *err);
void debugger_list_points(const Debugger *d, bool watches, bool breaks);

/* --- debugger_look.c: the commands that change nothing --- */
bool look_print(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_eval(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_event(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_lines(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_where(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_list(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_keys(Debugger *d, DebugSession *s, const char *rest, Err *err);
bool look_state(Debugger *d, DebugSession *s, const char *rest, Err *err);
