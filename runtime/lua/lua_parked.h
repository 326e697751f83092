#pragma once

#include "base/mem.h"

/* The keys whose later events wait behind a dead letter. What was added since the last commit is
 * undone with it: the batch is handled again, and the same event fails again and says why. */
typedef struct Parked Parked;

Parked *parked_open(void);
void parked_close(Parked *p);

bool parked_has(const Parked *p, Str key);
bool parked_any(const Parked *p);
void parked_add(Parked *p, Str key);              /* by an event of this batch */
void parked_set(Parked *p, Str key, bool parked); /* as the database has it */
void parked_clear(Parked *p);

void parked_collected(Parked *p); /* what was added is in a commit under way … */
void parked_settled(Parked *p);   /* … which went through */
void parked_forget(Parked *p); /* … or did not: what was added since the last settled() never was */
