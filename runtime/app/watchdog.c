#include "app/watchdog.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct {
	const GroupProgress *who;
	const HandlerProgress *what;
	double limit_s;
	int fd;
	clockid_t clock; /* processor time of the thread that scripts run on */
} Watch;

static void expire(const Watch *w, const char *script, double seconds)
{
	Quarantine q = { .event_id = __atomic_load_n(&w->what->event_id, __ATOMIC_RELAXED),
		.seconds = seconds };

	strncpy(q.script, script, sizeof(q.script) - 1);
	log_line(LOG_ERROR, script,
		"hangs since %.0f s at event %lld: the process ends, and it stays parked", seconds,
		(long long)q.event_id);
	if (w->fd >= 0 && write(w->fd, &q, sizeof(q)) != sizeof(q))
		log_line(LOG_ERROR, NULL, "watchdog: the supervisor is gone");
	_exit(WATCHDOG_EXIT);
}

static double seconds_of(clockid_t clock)
{
	struct timespec now = { 0 };

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* One call of one script for too long: many calls in one slice may take as long as they want. A
 * script does nothing but compute, so its time is the processor's: on a machine that is busy with
 * other things nobody hangs. */
static void *watch(void *arg)
{
	const Watch *w = arg;
	uint64_t seen = 0;
	double since = seconds_of(w->clock);

	for (;; usleep(100000)) {
		const char *script = atomic_load(&w->who->script);
		uint64_t calls = __atomic_load_n(&w->what->calls, __ATOMIC_RELAXED);
		double now = seconds_of(w->clock);

		if (script == NULL || calls != seen) {
			seen = calls;
			since = now;
		} else if (now - since > w->limit_s) {
			expire(w, script, now - since);
		}
	}
	return NULL;
}

bool watchdog_start(const GroupProgress *who, const HandlerProgress *what, double limit_s, int fd)
{
	Watch *w = mem_alloc(sizeof(*w)); /* the thread's, for as long as the process lives */
	pthread_t thread;
	sigset_t all, old;
	bool ok;

	*w = (Watch){ who, what, limit_s, fd, CLOCK_PROCESS_CPUTIME_ID };
	pthread_getcpuclockid(pthread_self(), &w->clock);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	ok = pthread_create(&thread, NULL, watch, w) == 0;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ok)
		pthread_detach(thread);
	else
		free(w);
	return ok;
}

static int run_child(int (*child)(void *, const Quarantine *, int), void *owner,
	const Quarantine *q, int fd, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would restart us */
	if (getppid() != parent)
		_exit(1);
	return child(owner, q, fd);
}

static bool is_stop(int sig)
{
	return sig == SIGINT || sig == SIGTERM || sig == SIGHUP;
}

/* Waits for the child; a signal that came to us goes to it. `stopped`: one was to stop it. */
static int await(pid_t pid, const sigset_t *signals, bool *stopped)
{
	int status = 0;

	for (;;) {
		siginfo_t info;
		int sig = sigwaitinfo(signals, &info);

		if (sig == SIGCHLD && waitpid(pid, &status, WNOHANG) == pid)
			return status;
		*stopped = *stopped || is_stop(sig);
		if (is_stop(sig) || sig == SIGUSR1)
			kill(pid, sig);
	}
}

int watchdog_supervise(int (*child)(void *owner, const Quarantine *q, int fd), void *owner)
{
	const struct timespec pause = { .tv_sec = 5 };
	Quarantine q = { 0 };
	sigset_t signals, before;
	bool stopped = false;
	int crashes = 0;

	sigemptyset(&signals);
	for (size_t i = 0; i < 5; i++)
		sigaddset(&signals, (int[]){ SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGCHLD }[i]);
	sigprocmask(SIG_BLOCK, &signals, &before);
	for (;;) {
		uint64_t started = clock_monotonic_ns();
		pid_t self = getpid(), pid;
		int fds[2], status;

		if (pipe(fds) != 0)
			return 1;
		fflush(NULL);
		pid = fork();
		if (pid == 0) {
			close(fds[0]);
			sigprocmask(SIG_SETMASK, &before, NULL);
			exit(run_child(child, owner, &q, fds[1], self));
		}
		close(fds[1]);
		status = pid > 0 ? await(pid, &signals, &stopped) : 1 << 8;
		if (read(fds[0], &q, sizeof(q)) != sizeof(q))
			q = (Quarantine){ 0 };
		close(fds[0]);
		if (WIFEXITED(status) && WEXITSTATUS(status) != WATCHDOG_EXIT) {
			sigprocmask(SIG_SETMASK, &before, NULL);
			return WEXITSTATUS(status);
		}
		crashes = clock_monotonic_ns() - started < UINT64_C(10000000000) ? crashes + 1 : 0;
		log_line(LOG_ERROR, NULL, "the working process ended (%s %d)%s",
			WIFSIGNALED(status) ? "signal" : "exit",
			WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
			stopped ? "" : ": starting another");
		if (stopped || (crashes > 5 && is_stop(sigtimedwait(&signals, NULL, &pause))))
			return 1;
	}
}
