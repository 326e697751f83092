#include "app/row_key.h"

#include "base/json.h"

bool row_key_is(const char *word, Str key)
{
	Buf quoted = { 0 };
	bool same = str_eq(str_from(word), key);

	if (!same && key.len > 0 && key.s[0] == '"') {
		json_add_string(&quoted, str_from(word));
		same = str_eq(buf_str(&quoted), key);
		buf_free(&quoted);
	}
	return same;
}

const MemoryRow *row_key_find(const MemoryTable *t, const char *word)
{
	const MemoryRow *row = memory_table_get(t, str_from(word));
	Buf quoted = { 0 };

	if (row != NULL)
		return row;
	json_add_string(&quoted, str_from(word));
	row = memory_table_get(t, buf_str(&quoted));
	buf_free(&quoted);
	return row;
}

/* No state looks like that by itself: the members of one come in the order of their names. */
Str row_state(const Definition *def, Str state)
{
	const char *p = state.s, *end = p + state.len;
	Str inner;

	if (def->kind != KIND_REDUCER || state.len < 11 || memcmp(p, "{\"version\":", 11) != 0)
		return state;
	for (p += 11; p < end && *p >= '0' && *p <= '9';)
		p++;
	if (end - p < 9 || memcmp(p, ",\"state\":", 9) != 0 || !json_path(state, "state", &inner))
		return state;
	return inner;
}
