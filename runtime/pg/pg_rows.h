#pragma once

#include "base/err.h"
#include "base/mem.h"

/* The rows of one answer. Owned by whoever got it; pg_rows_free() when done. Cells are text format
 * unless said otherwise; NUL-terminated; they live as long as the rows. */
typedef struct pg_result PgRows;

int pg_rows_count(const PgRows *rows);
int pg_rows_columns(const PgRows *rows);
const char *pg_rows_name(const PgRows *rows, int column);
bool pg_rows_null(const PgRows *rows, int row, int column);
const char *pg_rows_text(const PgRows *rows, int row, int column); /* "" for NULL */
Str pg_rows_str(const PgRows *rows, int row, int column);          /* s == NULL for NULL */
int64_t pg_rows_i64(const PgRows *rows, int row, int column);      /* 0 for NULL */
double pg_rows_double(const PgRows *rows, int row, int column);    /* 0 for NULL */
bool pg_rows_bool(const PgRows *rows, int row, int column);        /* false for NULL */
int pg_rows_affected(const PgRows *rows);
void pg_rows_free(PgRows *rows);

/* Describes a failed answer: kind by SQLSTATE class, the server's message, its hint in brackets. */
bool pg_rows_error(const PgRows *rows, Err *err);
