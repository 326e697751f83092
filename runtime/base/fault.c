#include "base/fault.h"

#ifdef MOONWAKE_FAULTS
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void fault_at(const char *name)
{
	static long passed;
	const char *want = getenv("MOONWAKE_FAULT");
	size_t len = strlen(name);

	if (want == NULL || strncmp(want, name, len) != 0 ||
		(want[len] != '\0' && want[len] != ':'))
		return;
	if (want[len] == ':' && ++passed < strtol(want + len + 1, NULL, 10))
		return;
	kill(getpid(), SIGKILL);
}
#endif
