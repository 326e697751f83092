#include "base/zone.h"

#include "base/mem.h"
#include "base/zone_rule.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOLDER "/usr/share/zoneinfo"

enum {
	NAME_MAX_LEN = 64,
	FILE_MAX_LEN = 1 << 20, /* the longest of them has less than 4 kB */
	HEADER = 44,            /* "TZif", version, 15 bytes unused, six counts */
};

/* A table as RFC 8536 has it; all pointers go into `bytes`, which are big-endian. */
typedef struct Zone {
	struct Zone *next;
	char *name;
	unsigned char *bytes;
	const unsigned char *times; /* 8 bytes each, rising: from then on … */
	const unsigned char *kinds; /* … the number of its type, 1 byte each */
	const unsigned char *types; /* 6 bytes each: 4 of offset, then what is not needed here */
	uint32_t ntimes, ntypes;
	ZoneRule rule; /* behind the last of the times */
	bool has_rule;
} Zone;

static uint32_t get32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t get64(const unsigned char *p)
{
	return (int64_t)((uint64_t)get32(p) << 32 | get32(p + 4));
}

/* ---- a table ---- */

/* The six counts of a header, in the order of the file. */
typedef struct {
	uint32_t utc, standard, leaps, times, types, chars;
} Counts;

static bool read_header(const unsigned char *p, size_t len, Counts *n)
{
	if (len < HEADER || memcmp(p, "TZif", 4) != 0)
		return false;
	p += 20;
	*n = (Counts){ get32(p), get32(p + 4), get32(p + 8), get32(p + 12), get32(p + 16),
		get32(p + 20) };
	return (n->utc | n->standard | n->leaps | n->times | n->types | n->chars) < FILE_MAX_LEN;
}

/* How long the data behind a header are. */
static size_t data_size(const Counts *n, size_t time_size)
{
	return n->times * (time_size + 1) + n->types * 6 + n->chars + n->leaps * (time_size + 4) +
	       n->standard + n->utc;
}

static bool kinds_known(const Zone *z)
{
	for (uint32_t i = 0; i < z->ntimes; i++)
		if (z->kinds[i] >= z->ntypes)
			return false;
	return z->ntypes > 0;
}

static bool read_rule(Zone *z, const unsigned char *p, const unsigned char *end)
{
	const unsigned char *last;

	if (p >= end || *p++ != '\n' || (last = memchr(p, '\n', (size_t)(end - p))) == NULL)
		return false;
	z->has_rule = last > p;
	return !z->has_rule || zone_rule_parse((const char *)p, (int)(last - p), &z->rule);
}

/* NULL, or what is wrong with the file. */
static const char *read_table(Zone *z, size_t len)
{
	const unsigned char *p = z->bytes, *end = z->bytes + len;
	Counts n;

	if (!read_header(p, len, &n))
		return "no table of a time zone";
	if (p[4] < '2')
		return "a table of an old form, which ends in 2037";
	if (data_size(&n, 4) > len - HEADER)
		return "cut off";
	p += HEADER + data_size(&n, 4); /* the first table is for readers of 32 bits */
	if (!read_header(p, (size_t)(end - p), &n) || data_size(&n, 8) > (size_t)(end - p) - HEADER)
		return "cut off";
	if (n.leaps > 0)
		return "a table that counts leap seconds, which the log's clock does not";
	z->ntimes = n.times;
	z->ntypes = n.types;
	z->times = p + HEADER;
	z->kinds = z->times + n.times * 8;
	z->types = z->kinds + n.times;
	return kinds_known(z) && read_rule(z, p + HEADER + data_size(&n, 8), end) ? NULL : "broken";
}

static int type_offset(const Zone *z, uint32_t type)
{
	return (int32_t)get32(z->types + type * 6);
}

static int offset_at(const Zone *z, int64_t seconds)
{
	uint32_t low = 0, high = z->ntimes; /* the first time behind `seconds` */

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (get64(z->times + mid * 8) <= seconds)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == z->ntimes && z->has_rule)
		return zone_rule_offset(&z->rule, seconds);
	return type_offset(z, low > 0 ? z->kinds[low - 1] : 0);
}

/* ---- files ---- */

static bool name_good(const char *name)
{
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789_+-/";
	size_t len = strlen(name);

	return len > 0 && len <= NAME_MAX_LEN && strspn(name, allowed) == len && name[0] != '/' &&
	       strcmp(name, "localtime") != 0; /* which is another one on every machine */
}

static bool unknown(const char *name, Err *err)
{
	err_set(err, ERR_USAGE, "time zone '%.80s': there is none of that name", name);
	return err_hint(err, "names are those below " FOLDER ": UTC, Europe/Lisbon");
}

static bool system_has_zones(void)
{
	FILE *f = fopen(FOLDER "/Europe/Lisbon", "rb");

	if (f != NULL)
		fclose(f);
	return f != NULL;
}

static bool read_file(Zone *z, size_t *len, Err *err)
{
	char path[sizeof(FOLDER) + NAME_MAX_LEN + 1];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", FOLDER, z->name);
	f = fopen(path, "rb");
	if (f == NULL && !system_has_zones()) {
		err_set(err, ERR_IO, "time zone '%s': this system knows no time zones", z->name);
		return err_hint(err, "apt-get install tzdata");
	} else if (f == NULL) {
		return unknown(z->name, err);
	}
	z->bytes = mem_alloc(FILE_MAX_LEN);
	*len = fread(z->bytes, 1, FILE_MAX_LEN, f);
	fclose(f);
	z->bytes = mem_realloc(z->bytes, *len + 1);
	return *len > 0 ? true : unknown(z->name, err); /* a folder */
}

static void zone_free(Zone *z)
{
	free(z->name);
	free(z->bytes);
	free(z);
}

static Zone *zone_open(const char *name, Err *err)
{
	Zone *z = mem_calloc(1, sizeof(*z));
	const char *problem = NULL;
	size_t len = 0;
	bool ok;

	z->name = mem_strdup(name);
	ok = read_file(z, &len, err);
	if (ok && (problem = read_table(z, len)) != NULL)
		ok = err_set(err, ERR_IO, FOLDER "/%s: %s", name, problem);
	if (!ok) {
		zone_free(z);
		return NULL;
	}
	return z;
}

/* What was read stays: the tables do not change for a process, and there are some hundred. */
static const Zone *zone_named(const char *name, Err *err)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static Zone *known;
	Zone *z;

	pthread_mutex_lock(&lock);
	for (z = known; z != NULL && strcmp(z->name, name) != 0;)
		z = z->next;
	if (z == NULL && (z = zone_open(name, err)) != NULL) {
		z->next = known;
		known = z;
	}
	pthread_mutex_unlock(&lock);
	return z;
}

bool zone_offset(const char *zone, int64_t seconds, int *offset, Err *err)
{
	const Zone *z;

	*offset = 0;
	if (strcmp(zone, "UTC") == 0) /* also where the system has no tables */
		return true;
	if (!name_good(zone))
		return unknown(zone, err);
	z = zone_named(zone, err);
	if (z == NULL)
		return false;
	*offset = offset_at(z, seconds);
	return true;
}
