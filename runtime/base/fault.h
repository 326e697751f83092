#pragma once

/* Named crash points for the specs: with MOONWAKE_FAULT=NAME[:N] in the environment the process
 * kills itself (SIGKILL, so that nothing is cleaned up) when it comes by NAME the Nth time.
 * Compiled out of `make install`. */
#ifdef MOONWAKE_FAULTS
void fault_at(const char *name);
#define FAULT(name) fault_at(name)
#else
#define FAULT(name) ((void)0)
#endif
