#include "base/rolling.h"

#include "base/mem.h"

#include <stdlib.h>

#define MODULUS    INT64_C(4398046511093)
#define MULTIPLIER INT64_C(1048573)

static int64_t mul(int64_t a, int64_t b)
{
	return (int64_t)((__int128)a * b % MODULUS);
}

static int64_t minus(int64_t a, int64_t b)
{
	return a >= b ? a - b : a - b + MODULUS;
}

static int64_t power(int64_t base, int64_t exponent)
{
	int64_t result = 1;

	for (; exponent > 0; exponent >>= 1) {
		if (exponent & 1)
			result = mul(result, base);
		base = mul(base, base);
	}
	return result;
}

int64_t rolling_power(int64_t count)
{
	return power(MULTIPLIER, count);
}

/* Below 2^62 + 2^42: it fits. */
static int64_t step(int64_t hash, int64_t id)
{
	return (hash * MULTIPLIER + id % MODULUS) % MODULUS;
}

void rolling_add(Rolling *r, int64_t id)
{
	r->hash = step(r->hash, id);
	r->count++;
}

/* --- Computing a fault back
 * ------------------------------------------------------------------------- */

typedef struct {
	const int64_t *ids;
	size_t n;
	int64_t *upto;             /* upto[i]: the hash of the first i */
	int64_t *powers, *inverse; /* of the multiplier: to the powers 0 … n and 0 … -n */
} List;

/* Of ids[i] to the end. */
static int64_t from(const List *l, size_t i)
{
	return minus(l->upto[l->n], mul(l->upto[i], l->powers[l->n - i]));
}

/* Of the first i, followed by ids[j] to the end. */
static int64_t around(const List *l, size_t i, size_t j)
{
	return (mul(l->upto[i], l->powers[l->n - j]) + from(l, j)) % MODULUS;
}

static RollingFinding found(RollingFault fault, int64_t first, int64_t last, size_t count)
{
	return (RollingFinding){ fault, first, last, (int64_t)count };
}

/* A run of the list was left out, or followed by itself. */
static RollingFinding find_run(const List *l, int64_t hash, size_t run, RollingFault fault)
{
	for (size_t i = 0; i + run <= l->n; i++) {
		bool missed = fault == ROLLING_MISSED;

		if (around(l, missed ? i : i + run, missed ? i + run : i) == hash)
			return found(fault, l->ids[i], l->ids[i + run - 1], run);
	}
	return found(ROLLING_UNKNOWN, 0, 0, 0);
}

/* Which id makes the hash, between the first i and ids[j] to the end? It is one only if it lies
 * between its neighbours. */
static int64_t solve(const List *l, int64_t hash, size_t i, size_t j)
{
	int64_t before = mul(minus(hash, from(l, j)), l->inverse[l->n - j]);

	return minus(before, mul(l->upto[i], MULTIPLIER));
}

static RollingFinding find_one(
	const List *l, int64_t hash, bool replaced, int64_t lowest, int64_t highest)
{
	for (size_t i = 0; i + replaced <= l->n; i++) {
		size_t j = i + replaced;
		int64_t id = solve(l, hash, i, j);

		if (id >= (i > 0 ? l->ids[i - 1] + 1 : lowest) &&
			id <= (j < l->n ? l->ids[j] - 1 : highest))
			return replaced ? found(ROLLING_OTHER, id, l->ids[i], 1)
					: found(ROLLING_GONE, id, id, 1);
	}
	return found(ROLLING_UNKNOWN, 0, 0, 0);
}

static void list_init(List *l, const int64_t *ids, size_t n)
{
	int64_t inverse = power(MULTIPLIER, MODULUS - 2);

	*l = (List){ ids, n, mem_calloc(n + 1, sizeof(int64_t)), mem_calloc(n + 1, sizeof(int64_t)),
		mem_calloc(n + 1, sizeof(int64_t)) };
	l->powers[0] = l->inverse[0] = 1;
	for (size_t i = 0; i < n; i++) {
		l->upto[i + 1] = step(l->upto[i], ids[i]);
		l->powers[i + 1] = mul(l->powers[i], MULTIPLIER);
		l->inverse[i + 1] = mul(l->inverse[i], inverse);
	}
}

RollingFinding rolling_find(
	const int64_t *ids, size_t n, Rolling recorded, int64_t lowest, int64_t highest)
{
	int64_t more = recorded.count - (int64_t)n;
	RollingFinding finding = { .fault = ROLLING_UNKNOWN };
	List l;

	list_init(&l, ids, n);
	if (more == 0 && l.upto[n] == recorded.hash)
		finding.fault = ROLLING_SAME;
	else if (more == 0)
		finding = find_one(&l, recorded.hash, true, lowest, highest);
	else if (more < 0)
		finding = find_run(&l, recorded.hash, (size_t)-more, ROLLING_MISSED);
	else
		finding = find_run(&l, recorded.hash, (size_t)more, ROLLING_DOUBLED);
	if (more == 1 && finding.fault == ROLLING_UNKNOWN)
		finding = find_one(&l, recorded.hash, false, lowest, highest);
	free(l.upto);
	free(l.powers);
	free(l.inverse);
	return finding;
}
