#include "app/condition.h"

#include <stdlib.h>

bool condition_open(Condition *c, Handler *h, const char *subject, const char *text, Err *err)
{
	*c = (Condition){ .text = mem_strdup(text) };
	c->number = h->ops->expression(h, subject, str_from(text), err);
	if (c->number == 0)
		condition_close(c);
	return c->number != 0;
}

void condition_close(Condition *c)
{
	free(c->text);
	*c = (Condition){ 0 };
}

bool condition_holds(Condition *c, Handler *h, const Event *event, Str key, Str before, Str state)
{
	bool truth = false;
	Err err;

	if (h->ops->evaluate(h, c->number, event, key, before, state, &truth, NULL, &err))
		return truth;
	if (c->failures++ == 0) {
		c->first = err;
		if (event != NULL)
			c->first.event_id = event->id;
	}
	return false;
}
