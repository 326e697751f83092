#pragma once

#include "app/cli.h"

/* Why a row of a projection's new version is what it is: the event, and the line, that gave a field
 * its value there. For projections whose rows are aggregates, since that is a quick look. */
typedef struct Causes Causes;

/* By the workspace's file. Nothing is known where that does not load. */
Causes *causes_open(Cli *cli, PgDb *db, const char *projection);
void causes_close(Causes *c);

/* Appends "#1042 device.offline, projections/x.lua:51", or nothing where it is not known. `key` is
 * the object of the key's columns, `field` a JSON string. */
void causes_find(Causes *c, Str key, Str field, Buf *out);
