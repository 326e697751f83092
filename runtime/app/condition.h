#pragma once

#include "model/handler.h"

/* A Lua expression over an event and a state, as --where, --break and `break` take it. Where it
 * fails it is not true (a field that only some events have is no reason to end a replay), and the
 * first failure is kept to be told. */
typedef struct {
	int number; /* the handler's; 0: there is none */
	char *text;
	int64_t failures;
	Err first; /* names the event */
} Condition;

/* `subject` begins its errors. */
bool condition_open(Condition *c, Handler *h, const char *subject, const char *text, Err *err);
void condition_close(Condition *c);

/* `event` may be NULL, the others s == NULL. */
bool condition_holds(Condition *c, Handler *h, const Event *event, Str key, Str before, Str state);
