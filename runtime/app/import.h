#pragma once

#include "app/lines.h"
#include "base/err.h"
#include "base/mem.h"

/* Foreign files: records are read one by one, each becomes an event. */
typedef enum { IMPORT_AUTO, IMPORT_NDJSON, IMPORT_CSV, IMPORT_CLOUDEVENTS } ImportFormat;

typedef struct ImportReader ImportReader;

typedef enum {
	IMPORT_RECORD,
	IMPORT_BAD, /* this record cannot be read: err says why; the next call goes on */
	IMPORT_END,
	IMPORT_FAILED, /* the file cannot be read further */
} ImportResult;

typedef struct {
	Str json;     /* IMPORT_RECORD: one valid JSON object that jsonb can hold */
	Str raw;      /* the record as it stands in the file, or its first bytes */
	int64_t line; /* where it begins */
} ImportRecord;

/* IMPORT_AUTO: by the file's name (.csv, .tsv, .ndjson, .jsonl, .json, .cloudevents.json …, each
 * also with .gz), else by its first bytes. `delimiter` 0: a comma, or a tab in .tsv. */
ImportReader *import_open(const char *path, ImportFormat format, char delimiter, Err *err);
void import_close(ImportReader *r);

/* The record lives until the next call. */
ImportResult import_next(ImportReader *r, ImportRecord *out, Err *err);

ImportFormat import_format(const ImportReader *r); /* what it turned out to be */
int64_t import_taken(const ImportReader *r);       /* bytes of the file that were read */
int64_t import_size(const ImportReader *r);        /* -1: not known */

/* Reads JSON values one after another, objects or arrays of objects, whatever their layout. */
typedef struct ImportDocument ImportDocument;
ImportDocument *import_document_new(Lines *lines, size_t limit);
void import_document_free(ImportDocument *d);
ImportResult import_document_next(ImportDocument *d, ImportRecord *out, Err *err);

/* Turns a CloudEvent 1.0 (JSON format) into an event, as publish_events() takes it. */
bool import_cloudevent(Str record, const char *aggregate_type, Buf *event, Err *err);

/* Event ids for records without one: derived from the record's bytes and how many equal records
 * came before it, so that the same file gives the same ids. */
typedef struct ImportIds ImportIds;
ImportIds *import_ids_new(void);
void import_ids_free(ImportIds *ids);
void import_ids_next(ImportIds *ids, Str record, char uuid[37]);
