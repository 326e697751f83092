#pragma once

#include "app/cli.h"
#include "app/term.h"

/* The verbs of `alerts`, each with the words behind it. Return the exit code. */
int alerts_list(Cli *cli, PgDb *db);
int alerts_show(Cli *cli, PgDb *db, const char *episode);
int alerts_watch(Cli *cli);
int alerts_silence(Cli *cli, PgDb *db, int argc, char **argv);
int alerts_silences(Cli *cli, PgDb *db);

/* An alert's episode from a prefix of it that only one alert has. */
bool alerts_find(PgDb *db, const char *prefix, char episode[40], Err *err);

/* --by, else the login of who types; NULL: the database's login will do. */
const char *alerts_person(const Cli *cli);

/* "90s", "5m", "1h30m", "2d", "1w" in microseconds; `what` is the option. */
bool alerts_span(const char *what, const char *text, int64_t *us, Err *err);

TermStyle alerts_style(const char *severity);

/* Text of a rule or a person, without control characters, in cli->arena; cut at so many columns
 * (-1: whole). */
const char *alerts_clean(Cli *cli, const char *text, int columns);
