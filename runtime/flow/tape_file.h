#pragma once

#include "base/err.h"
#include "model/event.h"

/* Events in a temporary file that has no name: larger than memory if need be, gone with the
 * process. What was put in stays where it is until the file is closed. */
typedef struct TapeFile TapeFile;

/* One event in the file. */
typedef struct TapeRecord TapeRecord;

/* In $TMPDIR, or /tmp. NULL and why: it cannot be made there. */
TapeFile *tape_file_open(Err *err);
void tape_file_close(TapeFile *f);

/* Copies the event; NULL and why: the disk is full. */
const TapeRecord *tape_file_add(TapeFile *f, const Event *event, Err *err);

/* The texts point into the file. */
void tape_record_event(const TapeRecord *record, Event *out);
