#pragma once

#include "base/mem.h"

/* What the engine counted beside its alerts, from the rule's memory: "3 late events counted, 2
 * firings held back by the cooldown". Appends nothing where there is nothing. */
void rule_counts_show(Str memory, Buf *out);
