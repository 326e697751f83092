#include "model/options.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX 64

static size_t min2(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t options_distance(const char *a, const char *b)
{
	size_t rows[3][WORD_MAX + 1], na = strlen(a), nb = strlen(b);

	if (na > WORD_MAX || nb > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= nb; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= na; i++) {
		size_t *row = rows[i % 3], *up = rows[(i + 2) % 3], *up2 = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= nb; j++) {
			row[j] = min2(up[j] + 1, row[j - 1] + 1);
			row[j] = min2(row[j], up[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = min2(row[j], up2[j - 2] + 1);
		}
	}
	return rows[na % 3][nb];
}

bool options_closer(const char *word, const char *candidate, size_t *best)
{
	size_t n = strlen(word), d = options_distance(word, candidate);
	bool begins = n >= 2 && strncmp(word, candidate, n) == 0;

	if (begins)
		d = 1;
	if (d > (n < 4 ? 1 : n / 3 + 1) || d >= *best)
		return false;
	*best = d;
	return true;
}

const Option *options_find(const Option *table, const char *word, const char **value)
{
	*value = NULL;
	for (const Option *o = table; o != NULL && o->name != NULL; o++) {
		size_t n = strlen(o->name);

		if (word[0] == '-' && word[1] != '-' && o->letter != 0 && word[1] == o->letter) {
			*value = word[2] != '\0' ? word + 2 : NULL;
			return o;
		}
		if (strncmp(word, "--", 2) != 0 || strncmp(word + 2, o->name, n) != 0)
			continue;
		if (word[2 + n] != '\0' && word[2 + n] != '=')
			continue;
		*value = word[2 + n] == '=' ? word + 2 + n + 1 : NULL;
		return o;
	}
	return NULL;
}

static bool unknown(const Options *o, const char *word, Err *err)
{
	char name[WORD_MAX + 1] = "";
	const char *nearest = NULL;
	size_t best = SIZE_MAX, n = strcspn(word, "=");

	err_set(err, ERR_USAGE, "unknown option '%.*s'", (int)min2(n, WORD_MAX), word);
	if (strncmp(word, "--", 2) == 0 && n - 2 <= WORD_MAX)
		memcpy(name, word + 2, n - 2);
	for (size_t t = 0; t < 2; t++)
		for (const Option *x = o->tables[t]; x != NULL && x->name != NULL; x++)
			if (name[0] != '\0' && options_closer(name, x->name, &best))
				nearest = x->name;
	if (nearest != NULL)
		err_hint(err, "did you mean '--%s'?", nearest);
	return false;
}

/* Takes the option at argv[*i] and its value. */
static bool take(Options *o, int argc, char **argv, int *i, Err *err)
{
	const char *value, *word = argv[*i];
	const Option *found = options_find(o->tables[0], word, &value);

	if (found == NULL)
		found = options_find(o->tables[1], word, &value);
	if (found == NULL)
		return unknown(o, word, err);
	if (o->ngiven == OPTIONS_GIVEN_MAX)
		return err_set(err, ERR_USAGE, "more than %d options", OPTIONS_GIVEN_MAX);
	if (found->arg == NULL && value != NULL)
		return err_set(err, ERR_USAGE, "option '--%s' takes no value", found->name);
	if (found->arg != NULL && value == NULL) {
		if (*i + 1 >= argc)
			return err_set(err, ERR_USAGE, "option '--%s' needs a value (--%s %s)",
				found->name, found->name, found->arg);
		value = argv[++*i];
	}
	o->given[o->ngiven].option = found;
	o->given[o->ngiven++].value = value;
	return true;
}

bool options_parse(Options *o, int *argc, char **argv, Err *err)
{
	int kept = 0, i;

	for (i = 0; i < *argc && strcmp(argv[i], "--") != 0; i++) {
		if (argv[i][0] != '-' || argv[i][1] == '\0')
			argv[kept++] = argv[i];
		else if (!take(o, *argc, argv, &i, err))
			return false;
	}
	for (i++; i < *argc; i++)
		argv[kept++] = argv[i];
	*argc = kept;
	return true;
}

static const Option *declared(const Options *o, const char *name)
{
	for (size_t t = 0; t < 2; t++)
		for (const Option *x = o->tables[t]; x != NULL && x->name != NULL; x++)
			if (strcmp(x->name, name) == 0)
				return x;
	assert(!"an option that no table declares");
	return NULL;
}

const char *options_value(const Options *o, const char *name)
{
	const Option *option = declared(o, name);

	for (size_t i = o->ngiven; i > 0; i--)
		if (o->given[i - 1].option == option)
			return o->given[i - 1].value;
	return option->def;
}

bool options_flag(const Options *o, const char *name)
{
	const Option *option = declared(o, name);

	for (size_t i = 0; i < o->ngiven; i++)
		if (o->given[i].option == option)
			return true;
	return false;
}

bool options_int(
	const Options *o, const char *name, int64_t min, int64_t max, int64_t *out, Err *err)
{
	const char *text = options_value(o, name);
	char *end;
	long long n;

	if (text == NULL)
		return true;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || n < min || n > max)
		return err_set(err, ERR_USAGE,
			"option '--%s': '%.40s' is not a whole number from %lld to %lld", name,
			text, (long long)min, (long long)max);
	*out = n;
	return true;
}
