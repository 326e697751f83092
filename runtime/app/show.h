#pragma once

#include "app/term.h"
#include "base/json_diff.h"
#include "model/event.h"

#include <stdio.h>

/* How commands show events, states and what became of them: readable on a terminal, coloured where
 * that is allowed. What a publisher wrote is shown without control characters: they become \u001b
 * and the like, and so do those that turn the direction of writing. */

/* "#1042  2026-01-02 03:04:05.678  container.crashed  device/d-17 v12" */
void show_event(FILE *f, const Event *e);

/* "  by user/u-1"; nothing where there is no actor. */
void show_actor(FILE *f, Str type, Str id);

/* A JSON value over several lines, each with this indentation; what fits into a line stands in one.
 */
void show_json(FILE *f, Str json, int indent);

/* "  ~ apps.agent.image  \"a:1\" -> \"a:2\"", "  + path  value", "  - path  value"; nothing for
 * none. On a terminal long values are cut at its width. */
void show_changes(FILE *f, const JsonDiff *diff, int indent);

/* The same for some of them: `which` says of each whether it is shown. */
void show_changes_of(FILE *f, const JsonDiff *diff, int indent,
	bool (*which)(void *owner, size_t change), void *owner);

/* Text of a publisher; and one with at most so many columns, where "…" stands for what is left out
 * (columns < 0: no limit). */
void show_text(FILE *f, Str text);
void show_styled(FILE *f, TermStyle style, Str text);
void show_clean(Buf *out, Str text, int columns);

/* The event as one JSON object, as `tail --json` gives it. */
void show_event_json(Buf *out, const Event *e);

/* [{"path", "before", "after"}, …]; a missing value has no member. */
void show_changes_json(Buf *out, const JsonDiff *diff);
void show_change_json(Buf *out, const JsonChange *change);

/* A time (UTC) as `2026-01-02 03:04:05.678` into out[32]. Returns out. */
const char *show_time(int64_t us, char out[32]);
