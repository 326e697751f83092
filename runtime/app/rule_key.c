#include "app/rule_key.h"

#include <stdlib.h>

#include "app/key_words.h"
#include "base/json.h"
#include "base/json_each.h"

static void add_part(Str json, Buf *out)
{
	if (!json_unescape(out, json))
		buf_add(out, json.s, json.len);
}

void rule_key_show(Str key, Buf *out)
{
	JsonEach each = json_each(key);
	Str name, part;

	if (key.len == 0 || key.s[0] != '[') {
		add_part(key, out);
		return;
	}
	for (const char *between = ""; json_each_next(&each, &name, &part); between = "/") {
		buf_adds(out, between);
		add_part(part, out);
	}
}

bool rule_key_is(const char *word, Str key)
{
	Buf shown = { 0 };
	bool same;

	rule_key_show(key, &shown);
	same = str_eq(str_from(word), key) || str_eq(str_from(word), buf_str(&shown));
	buf_free(&shown);
	return same;
}

static size_t count_parts(const Definition *def)
{
	Str key, name, value;
	JsonEach each;
	size_t n = 0;

	if (!json_path(def->spec, "key", &key))
		return 1;
	for (each = json_each(key); json_each_next(&each, &name, &value);)
		n++;
	return n;
}

bool rule_key_read(const Definition *def, int n, char **words, Buf *out, Err *err)
{
	enum { PARTS = 16 };
	size_t wanted = count_parts(def);
	char *one[PARTS], *text, *p;
	int count = 0, used;

	if (n != 1 || words[0][0] == '[' || wanted < 2 || wanted > PARTS) {
		used = key_from_words(def, n, words, out, err);
		return used == n ||
		       (used > 0 &&
			       err_set(err, ERR_USAGE, "%s: unexpected word '%.80s' behind the key",
				       def->path, words[used]));
	}
	text = mem_strdup(words[0]);
	for (p = text; p != NULL && count < PARTS; count++) {
		one[count] = p;
		p = (size_t)count + 1 < wanted ? strchr(p, '/') : NULL;
		if (p != NULL)
			*p++ = '\0';
	}
	used = key_from_words(def, count, one, out, err);
	free(text);
	return used > 0;
}
