#pragma once

#include "base/err.h"
#include "base/mem.h"

#include <sys/types.h>

/* An embedded PostgreSQL: a private cluster in the workspace's .moonwake/ folder, reached by a unix
 * socket in a short folder under /tmp, alive as long as the command that started it. */
typedef struct {
	char data[512];      /* the cluster's folder */
	char socket[64];     /* the socket's folder */
	char admin_dsn[160]; /* as the superuser, who may do anything in here */
	char run_dsn[160];   /* as moonwake_run, whom the migrations make */
	char log[512];       /* the server's log */
	char workspace[400];
	pid_t server; /* 0: started by another command, which will also stop it */
	bool owner;   /* this command started it */
	int lock;
} Cluster;

/* Starts the cluster, making it first where there is none, and waits until it answers. Where
 * another command runs it already, that one is used. A server left over by a killed command is
 * stopped first. */
bool cluster_start(const char *workspace, Cluster *out, Err *err);
void cluster_stop(Cluster *c);

/* The conninfo of the cluster that a living command runs for this workspace; "" where none does.
 * The text is in the arena. */
const char *cluster_running_dsn(const char *workspace, Arena *arena);
