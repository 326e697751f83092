#include "flow/type_filter.h"

/* Appends an element to a text[] literal; glob characters become LIKE's. */
static void add_element(Buf *array, Str type, bool glob)
{
	buf_adds(array, array->len ? ",\"" : "{\"");
	for (size_t i = 0; i < type.len; i++) {
		char c = type.s[i];

		if (glob && c == '*') {
			buf_addc(array, '%');
			continue;
		}
		if (glob && (c == '%' || c == '_' || c == '\\'))
			buf_adds(array, "\\\\");
		if (c == '"' || c == '\\')
			buf_addc(array, '\\');
		buf_addc(array, c);
	}
	buf_addc(array, '"');
}

void type_filter_add(TypeFilter *f, Str type)
{
	bool glob = memchr(type.s, '*', type.len) != NULL;

	f->all = f->all || str_eq(type, STR("*"));
	add_element(glob ? &f->like : &f->exact, type, glob);
}

void type_filter_close(TypeFilter *f)
{
	buf_adds(&f->exact, f->exact.len ? "}" : "{}");
	buf_adds(&f->like, f->like.len ? "}" : "{}");
}

void type_filter_free(TypeFilter *f)
{
	buf_free(&f->exact);
	buf_free(&f->like);
}
