#pragma once

#include "flow/blame.h"

/* What `blame` prints on stdout: a table, or one JSON object per field. `subject` heads the table.
 */
void blame_show(const Blame *b, const Definition *def, const char *subject);
void blame_show_json(const Blame *b, const Definition *def);
