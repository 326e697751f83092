#pragma once

#include <stddef.h>
#include <stdint.h>

/* A hash of ids in their order, the same as the server's rolling_hash(): each step is
 * (hash * 1048573 + id) modulo the largest prime below 2^42. Two of them can be joined, and from
 * one that is not what it should be a single fault can be computed back. */
typedef struct {
	int64_t count, hash; /* zeroes to start */
} Rolling;

void rolling_add(Rolling *r, int64_t id);
int64_t rolling_power(int64_t count); /* the multiplier to the power of count: what joins hashes */

typedef enum {
	ROLLING_SAME,
	ROLLING_MISSED,  /* ids first … last, `count` of the list, are not in the hash */
	ROLLING_DOUBLED, /* ids first … last, `count` of the list, are in it twice */
	ROLLING_GONE,    /* `first` is in the hash and not in the list */
	ROLLING_OTHER,   /* `first` is in the hash in the place of `last` */
	ROLLING_UNKNOWN, /* more than one fault */
} RollingFault;

typedef struct {
	RollingFault fault;
	int64_t first, last, count;
} RollingFinding;

/* In what a hash differs from that of `ids`, which ascend; every id lies from `lowest` to
 * `highest`. Takes time and memory proportional to n. */
RollingFinding rolling_find(
	const int64_t *ids, size_t n, Rolling recorded, int64_t lowest, int64_t highest);
