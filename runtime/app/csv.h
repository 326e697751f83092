#pragma once

#include "app/lines.h"

/* Records of a CSV file (RFC 4180, by libcsv): the first row names the fields, each record becomes
 * a JSON object of strings. Quoted fields may hold newlines. A broken record costs its first line
 * only: reading goes on with the line after it. */
typedef struct Csv Csv;

typedef enum {
	CSV_RECORD,
	CSV_BAD, /* this record cannot be read: err says why */
	CSV_END,
	CSV_FAILED, /* the file cannot be read further */
} CsvResult;

typedef struct {
	Str json;     /* CSV_RECORD: the object */
	Str raw;      /* the record's lines as they stand */
	int64_t line; /* where it begins */
} CsvRecord;

/* Reads the head. The lines stay the caller's, and must outlive the reader. */
Csv *csv_open(Lines *lines, char delimiter, Err *err);
void csv_close(Csv *c);

/* The record lives until the next call. */
CsvResult csv_next(Csv *c, CsvRecord *out, Err *err);
