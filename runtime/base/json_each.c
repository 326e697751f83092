#include "base/json_each.h"

#include "base/json_scan.h"

static const char *skip(const char *p, const char *end)
{
	while (p < end &&
		(*p == ' ' || *p == ',' || *p == ':' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

/* p is behind the opening quote. */
static const char *string_end(const char *p, const char *end)
{
	while (p < end) {
		p = scan_string(p, end, 0);
		if (p < end && *p == '"')
			return p + 1;
		if (p < end)
			p += *p == '\\' && end - p > 1 ? 2 : 1;
	}
	return end;
}

static int is_end_of_scalar(char c)
{
	return c == ',' || c == '}' || c == ']' || c == ' ' || c == ':' || c == '\n' || c == '\r' ||
	       c == '\t';
}

const char *json_value_end(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		char c = *p++;

		if (c == '"') {
			p = string_end(p, end);
		} else if (c == '{' || c == '[') {
			depth++;
		} else if (c == '}' || c == ']') {
			depth--;
		} else if (depth == 0) {
			while (p < end && !is_end_of_scalar(*p))
				p++;
		} else {
			continue;
		}
		if (depth == 0)
			return p;
	}
	return end;
}

JsonEach json_each(Str container)
{
	const char *end = container.s + container.len, *p = container.s;

	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p < end && (*p == '{' || *p == '[') ? (JsonEach){ p + 1, end, *p == '{' }
						   : (JsonEach){ end, end, false };
}

bool json_each_next(JsonEach *each, Str *name, Str *value)
{
	*name = (Str){ NULL, 0 };
	each->p = skip(each->p, each->end);
	if (each->p >= each->end)
		return false;
	if (*each->p == '}' || *each->p == ']') {
		each->p++;
		return false;
	}
	if (each->object) {
		name->s = each->p;
		each->p = json_value_end(each->p, each->end);
		name->len = (size_t)(each->p - name->s);
		each->p = skip(each->p, each->end);
	}
	value->s = each->p;
	each->p = json_value_end(each->p, each->end);
	value->len = (size_t)(each->p - value->s);
	return true;
}

bool json_each_enter(JsonEach *each, JsonEach *inner)
{
	each->p = skip(each->p, each->end);
	if (each->p >= each->end || (*each->p != '{' && *each->p != '['))
		return false;
	*inner = (JsonEach){ each->p + 1, each->end, *each->p == '{' };
	return true;
}
