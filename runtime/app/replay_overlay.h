#pragma once

#include "app/cli.h"
#include "flow/tape.h"

/* What-if: --drop, --edit, --insert and --swap, as the command line has them. */
typedef struct {
	enum { OVERLAY_DROP, OVERLAY_EDIT, OVERLAY_INSERT, OVERLAY_SWAP } kind;
	int64_t a, b;
	Str json;       /* the patch, or the event */
	char from[256]; /* of an insertion: "events.json:3" */
} Overlay;

typedef struct {
	Overlay *at;
	size_t count;
} Overlays;

/* Texts are in cli->arena. */
bool overlays_read(Overlays *o, Cli *cli, Err *err);
void overlays_free(Overlays *o);

bool overlays_apply(const Overlays *o, Tape *tape, Err *err);

/* "drop #17, edit #20" for people. */
void overlays_describe(const Overlays *o, Buf *out);

/* The place in the true history of the event with this id: for a swapped one its partner's. */
int64_t overlays_place(const Overlays *o, int64_t id);
