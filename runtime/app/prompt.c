#include "app/prompt.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY_LINES = 500 };

struct Prompt {
	Cli *cli;
	const char *path;
	const char *text;
	FILE *file; /* NULL: the terminal */
	char *line;
	size_t cap;
	EditLine *edit;
	History *history;
	/* While a line is typed these signals are blocked and read from here, between
	 * two keys: no handler ever runs in the middle of the editor. */
	sigset_t signals, mask;
	int signal_fd;
	int signal; /* the one that ended the line; 0: none */
	mbstate_t shift;
};

static void on_suspend(Prompt *p)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, SIGTSTP);
	el_set(p->edit, EL_PREP_TERM, 0);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &one, NULL); /* here it takes effect; SIGCONT goes on behind it */
	sigprocmask(SIG_BLOCK, &one, NULL);
	el_set(p->edit, EL_PREP_TERM, 1);
	el_set(p->edit, EL_REFRESH);
}

/* True where the line goes on. */
static bool take_signal(Prompt *p)
{
	struct signalfd_siginfo info;

	if (read(p->signal_fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return true;
	if (info.ssi_signo == SIGTSTP)
		on_suspend(p);
	else if (info.ssi_signo == SIGWINCH)
		el_resize(p->edit);
	else
		p->signal = (int)info.ssi_signo;
	return p->signal == 0;
}

/* A byte of the terminal: 1 where it completes a character, 0 at the end, -1
 * for an error. */
static int take_byte(Prompt *p, wchar_t *out, bool *whole)
{
	char byte;
	ssize_t n = read(STDIN_FILENO, &byte, 1);
	size_t used;

	*whole = true;
	if (n <= 0)
		return (int)n;
	used = mbrtowc(out, &byte, 1, &p->shift);
	if (used == (size_t)-2) {
		*whole = false;
	} else if (used == (size_t)-1) {
		p->shift = (mbstate_t){ 0 };
		*whole = false; /* no character of this terminal's: as if it had not been
				   typed */
	}
	return 1;
}

static int next_key(EditLine *edit, wchar_t *out)
{
	Prompt *p;

	el_get(edit, EL_CLIENTDATA, &p);
	for (;;) {
		struct pollfd fds[] = { { p->signal_fd, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };
		bool whole;
		int n;

		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -1;
		if (fds[0].revents != 0 && !take_signal(p))
			return -1;
		if (fds[1].revents == 0)
			continue;
		n = take_byte(p, out, &whole);
		if (whole)
			return n;
	}
}

static char *prompt_text(EditLine *edit)
{
	Prompt *p;

	el_get(edit, EL_CLIENTDATA, &p);
	return (char *)p->text;
}

static bool open_terminal(Prompt *p, Err *err)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH };
	HistEvent event;

	/* Without a locale that says how characters are written, they are written in
	 * UTF-8. */
	if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1)
		setlocale(LC_CTYPE, "C.UTF-8");
	sigemptyset(&p->signals);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaddset(&p->signals, caught[i]);
	p->signal_fd = signalfd(-1, &p->signals, SFD_CLOEXEC);
	p->edit = el_init("moonwake", stdin, stdout, stderr);
	p->history = history_init();
	if (p->signal_fd < 0 || p->edit == NULL || p->history == NULL)
		return err_set(err, ERR_IO, "the terminal cannot be used: %s", strerror(errno));
	history(p->history, &event, H_SETSIZE, HISTORY_LINES);
	history(p->history, &event, H_SETUNIQUE, 1);
	el_set(p->edit, EL_CLIENTDATA, p);
	el_set(p->edit, EL_PROMPT, prompt_text);
	el_set(p->edit, EL_EDITOR, "emacs");
	el_set(p->edit, EL_HIST, history, p->history);
	el_set(p->edit, EL_GETCFN, next_key);
	el_set(p->edit, EL_BIND, "^R", "em-inc-search-prev", NULL);
	return true;
}

Prompt *prompt_open(Cli *cli, const char *path, const char *text, Err *err)
{
	Prompt *p = mem_calloc(1, sizeof(*p));
	bool ok;

	p->cli = cli;
	p->path = path;
	p->text = text;
	p->signal_fd = -1;
	if (path == NULL) {
		ok = open_terminal(p, err);
	} else {
		p->file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
		ok = p->file != NULL || err_set(err, ERR_USAGE, "%s: %s", path, strerror(errno));
	}
	if (ok)
		return p;
	prompt_close(p);
	return NULL;
}

void prompt_close(Prompt *p)
{
	if (p == NULL)
		return;
	if (p->edit != NULL)
		el_end(p->edit);
	if (p->history != NULL)
		history_end(p->history);
	if (p->signal_fd >= 0)
		close(p->signal_fd);
	if (p->file != NULL && p->file != stdin)
		fclose(p->file);
	free(p->line);
	free(p);
}

static PromptResult stopped(const Prompt *p, Err *err)
{
	err_set(err, ERR_STOPPED, "%s: stopped", p->cli->command->name);
	return PROMPT_FAILED;
}

static PromptResult read_file(Prompt *p, const char **line, Err *err)
{
	ssize_t n = cli_stopped(p->cli) ? -1 : getline(&p->line, &p->cap, p->file);

	if (n < 0 && cli_stopped(p->cli))
		return stopped(p, err);
	if (n < 0 && ferror(p->file)) {
		err_set(err, ERR_IO, "%s: %s", p->path, strerror(errno));
		return PROMPT_FAILED;
	}
	if (n < 0)
		return PROMPT_END;
	p->line[strcspn(p->line, "\r\n")] = '\0';
	*line = p->line;
	return PROMPT_LINE;
}

static void keep(Prompt *p, const char *typed, int n)
{
	HistEvent event;

	free(p->line);
	p->line = mem_strndup(typed, (size_t)n);
	p->line[strcspn(p->line, "\r\n")] = '\0';
	if (p->line[strspn(p->line, " \t")] != '\0')
		history(p->history, &event, H_ENTER, p->line);
}

static PromptResult read_terminal(Prompt *p, const char **line, Err *err)
{
	const char *typed;
	int n = 0;

	do {
		p->signal = 0;
		sigprocmask(SIG_BLOCK, &p->signals, &p->mask);
		/* Before the prompt is seen: what is typed then is meant for the editor. */
		el_set(p->edit, EL_PREP_TERM, 1);
		typed = el_gets(p->edit, &n);
		sigprocmask(SIG_SETMASK, &p->mask, NULL);
		if (p->signal != 0)
			puts(p->signal == SIGINT ? "^C" : "");
	} while (p->signal == SIGINT);
	if (p->signal != 0) {
		p->cli->on_stop(p->signal);
		return stopped(p, err);
	}
	if (typed == NULL || n <= 0) {
		puts("");
		return PROMPT_END;
	}
	keep(p, typed, n);
	*line = p->line;
	return PROMPT_LINE;
}

PromptResult prompt_read(Prompt *p, const char **line, Err *err)
{
	if (p->file != NULL)
		return read_file(p, line, err);
	/* A Ctrl-C that came as a run was about to end has done its work. */
	if (*p->cli->stop == SIGINT)
		p->cli->on_stop(0);
	if (cli_stopped(p->cli))
		return stopped(p, err);
	return read_terminal(p, line, err);
}
