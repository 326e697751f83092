#include "app/debugger_session.h"

#include "app/debugger_commands.h"
#include "app/debugger_screen.h"
#include "app/term.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

/* The first word and the rest; both are cut out of `line`. */
static char *cut(char *line, char **rest)
{
	char *word = line + strspn(line, " \t");
	size_t n = strcspn(word, " \t");

	*rest = word + n;
	if (**rest != '\0')
		*(*rest)++ = '\0';
	*rest += strspn(*rest, " \t");
	for (size_t len = strlen(*rest); len > 0 && strchr(" \t", (*rest)[len - 1]); len--)
		(*rest)[len - 1] = '\0';
	return word;
}

static bool unknown(const char *word, Err *err)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX;

	for (const DebugCommand *c = debug_commands; c->name != NULL; c++)
		if (options_closer(word, c->name, &best))
			nearest = c->name;
	err_set(err, ERR_USAGE, "unknown command '%.40s'", word);
	return nearest != NULL ? err_hint(err, "did you mean '%s'?", nearest)
			       : err_hint(err, "`help` lists them");
}

/* By its name, its short name, or the beginning of one name only. */
static const DebugCommand *find(const char *word, Err *err)
{
	const DebugCommand *found = NULL;
	bool several = false;

	for (const DebugCommand *c = debug_commands; c->name != NULL; c++) {
		if (strcmp(word, c->name) == 0 || strcmp(word, c->alias) == 0)
			return c;
		if (strncmp(word, c->name, strlen(word)) == 0) {
			several = found != NULL;
			found = c;
		}
	}
	if (found == NULL || several) {
		unknown(word, err);
		return NULL;
	}
	return found;
}

static bool run_line(Debugger *d, DebugSession *s, const char *line, Err *err)
{
	char *copy = mem_strdup(line), *rest, *word = cut(copy, &rest);
	const DebugCommand *command;
	bool ok;

	err_clear(err);
	command = find(word, err);
	if (command != NULL && command->repeats && line != s->last) {
		free(s->last);
		s->last = mem_strdup(line);
	}
	ok = command != NULL && command->run(d, s, rest, err);
	free(copy);
	return ok;
}

static bool is_blank(const char *line)
{
	size_t n = strspn(line, " \t");

	return line[n] == '\0' || line[n] == '#';
}

/* A database that is gone, or a tape that cannot be read: the states can still be looked at. */
static void run_shown(Debugger *d, DebugSession *s, const char *line)
{
	Err err;

	if (!run_line(d, s, line, &err))
		screen_error(d, &err);
	fflush(stdout);
}

bool debugger_session(Debugger *d, Prompt *prompt, bool echo, Err *err)
{
	DebugSession s = { 0 };
	PromptResult result = PROMPT_LINE;
	const char *line;

	while (!s.quit && !ferror(stdout)) {
		result = prompt_read(prompt, &line, err);
		if (result != PROMPT_LINE)
			break;
		if (echo && !is_blank(line))
			term_print(stdout, TERM_BOLD, "> %s\n", line);
		/* Enter alone repeats what moves. */
		if (is_blank(line) && (s.last == NULL || line[0] != '\0' || echo))
			continue;
		run_shown(d, &s, line[0] != '\0' ? line : s.last);
	}
	free(s.last);
	return result != PROMPT_FAILED;
}
