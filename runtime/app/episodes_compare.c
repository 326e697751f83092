#include "app/episodes.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
	const Episodes *before, *now;
	int64_t from_us, until_us;
} Sides;

/* Two that may be one. */
typedef struct {
	size_t before, now;
	bool same_sign;
	int64_t overlap;
} Candidate;

typedef struct {
	Candidate *at;
	size_t count, cap;
} Candidates;

const char *episode_change_name(size_t bit)
{
	static const char *const names[EPISODE_CHANGES] = { "added", "removed", "moved", "longer",
		"shorter", "severity" };

	return names[bit];
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int compare_keys(const Episode *a, const Episode *b)
{
	size_t n = a->key.len < b->key.len ? a->key.len : b->key.len;
	int order = memcmp(a->key.s, b->key.s, n);

	return order ? order : (a->key.len > b->key.len) - (a->key.len < b->key.len);
}

/* ---- who belongs together ---- */

static void consider(Candidates *c, const Sides *s, size_t before, size_t now)
{
	const Episode *a = episodes_at(s->before, before), *b = episodes_at(s->now, now);
	int64_t start = most(episode_start(a, s->from_us), episode_start(b, s->from_us));
	int64_t end = least(episode_end(a, s->until_us), episode_end(b, s->until_us));
	bool same_sign = a->since_us == b->since_us;

	if (!same_sign && end < start)
		return;
	if (c->count == c->cap) {
		c->cap = c->cap ? c->cap * 2 : 64;
		c->at = mem_realloc(c->at, c->cap * sizeof(*c->at));
	}
	c->at[c->count++] = (Candidate){ before, now, same_sign, most(end - start, 0) };
}

/* Behind the last episode of the key at `i`. */
static size_t key_end(const Episodes *e, size_t i)
{
	size_t end = i;

	while (end < episodes_count(e) && compare_keys(episodes_at(e, i), episodes_at(e, end)) == 0)
		end++;
	return end;
}

/* The episodes of a key follow each other: the first that can have to do with the next one is never
 * before the first that could with this one. */
static void consider_key(
	Candidates *c, const Sides *s, size_t a, size_t a_end, size_t b, size_t b_end)
{
	for (; a < a_end; a++) {
		const Episode *x = episodes_at(s->before, a);

		while (b < b_end && episode_end(episodes_at(s->now, b), s->until_us) <
					    least(x->since_us, episode_start(x, s->from_us)))
			b++;
		for (size_t i = b; i < b_end; i++) {
			const Episode *y = episodes_at(s->now, i);

			if (least(y->since_us, episode_start(y, s->from_us)) >
				episode_end(x, s->until_us))
				break;
			consider(c, s, a, i);
		}
	}
}

static void find_candidates(Candidates *c, const Sides *s)
{
	size_t a = 0, b = 0;

	while (a < episodes_count(s->before) && b < episodes_count(s->now)) {
		int order = compare_keys(episodes_at(s->before, a), episodes_at(s->now, b));
		size_t a_end = key_end(s->before, a), b_end = key_end(s->now, b);

		if (order == 0)
			consider_key(c, s, a, a_end, b, b_end);
		a = order <= 0 ? a_end : a;
		b = order >= 0 ? b_end : b;
	}
}

static int best_first(const void *x, const void *y)
{
	const Candidate *a = x, *b = y;

	if (a->same_sign != b->same_sign)
		return a->same_sign ? -1 : 1;
	if (a->overlap != b->overlap)
		return a->overlap > b->overlap ? -1 : 1;
	if (a->before != b->before)
		return a->before < b->before ? -1 : 1;
	return (a->now > b->now) - (a->now < b->now);
}

/* ---- what became of them ---- */

static void judge(EpisodePair *p, const Sides *s)
{
	const Episode *a = p->before, *b = p->now;
	int64_t from[2], to[2];

	if (a == NULL || b == NULL) {
		p->changes = a == NULL ? EPISODE_ADDED : EPISODE_REMOVED;
		return;
	}
	from[0] = episode_start(a, s->from_us);
	from[1] = episode_start(b, s->from_us);
	to[0] = episode_end(a, s->until_us);
	to[1] = episode_end(b, s->until_us);
	p->moved_us = from[1] - from[0];
	p->longer_us = (to[1] - from[1]) - (to[0] - from[0]);
	p->changes = (p->moved_us != 0 ? EPISODE_MOVED : 0) |
		     (p->longer_us > 0 ? EPISODE_LONGER : 0) |
		     (p->longer_us < 0 ? EPISODE_SHORTER : 0) |
		     (!str_eq(a->severity, b->severity) ? EPISODE_SEVERITY : 0);
}

static void add_pair(EpisodeDiff *d, const Sides *s, const Episode *before, const Episode *now)
{
	EpisodePair *p = &d->pairs[d->count++];

	*p = (EpisodePair){ .before = before, .now = now };
	judge(p, s);
	d->same += p->changes == 0;
	for (size_t bit = 0; bit < EPISODE_CHANGES; bit++)
		d->changed[bit] += p->changes >> bit & 1;
}

static const Episode *either(const EpisodePair *p)
{
	return p->now != NULL ? p->now : p->before;
}

static int by_time(const void *x, const void *y)
{
	const Episode *a = either(x), *b = either(y);

	if (a->fired_us != b->fired_us)
		return a->fired_us < b->fired_us ? -1 : 1;
	return compare_keys(a, b);
}

static void add_pairs(EpisodeDiff *d, const Sides *s, const Candidates *c)
{
	bool *before = mem_calloc(episodes_count(s->before) + 1, sizeof(*before));
	bool *now = mem_calloc(episodes_count(s->now) + 1, sizeof(*now));

	for (size_t i = 0; i < c->count; i++) {
		const Candidate *x = &c->at[i];

		if (before[x->before] || now[x->now])
			continue;
		before[x->before] = now[x->now] = true;
		add_pair(d, s, episodes_at(s->before, x->before), episodes_at(s->now, x->now));
	}
	for (size_t i = 0; i < episodes_count(s->before); i++)
		if (!before[i])
			add_pair(d, s, episodes_at(s->before, i), NULL);
	for (size_t i = 0; i < episodes_count(s->now); i++)
		if (!now[i])
			add_pair(d, s, NULL, episodes_at(s->now, i));
	free(before);
	free(now);
}

void episodes_compare(const Episodes *before, const Episodes *now, int64_t from_us,
	int64_t until_us, EpisodeDiff *out)
{
	Sides s = { before, now, from_us, until_us };
	Candidates c = { 0 };

	*out = (EpisodeDiff){ 0 };
	out->pairs =
		mem_calloc(episodes_count(before) + episodes_count(now) + 1, sizeof(*out->pairs));
	find_candidates(&c, &s);
	if (c.count > 0)
		qsort(c.at, c.count, sizeof(*c.at), best_first);
	add_pairs(out, &s, &c);
	qsort(out->pairs, out->count, sizeof(*out->pairs), by_time);
	free(c.at);
}

void episode_diff_free(EpisodeDiff *d)
{
	free(d->pairs);
	*d = (EpisodeDiff){ 0 };
}
