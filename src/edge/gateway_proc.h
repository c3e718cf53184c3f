/* nginx's processes as purserd sees them: its master by the pid file, its workers below it. */
#ifndef EDGE_GATEWAY_PROC_H
#define EDGE_GATEWAY_PROC_H

#include "core/str.h"

#include <stdint.h>
#include <sys/types.h>

enum { GATEWAY_WORKERS_MAX = 512 };

/* nginx's master, 0 when there is none. A pid file may outlive its process: the name is checked. */
pid_t gateway_master(struct str run_dir);
/* The master's children; returns how many were filled in. */
size_t gateway_workers(pid_t master, pid_t ret[static GATEWAY_WORKERS_MAX]);
/* True while the worker takes new connections: it lives and was not told to finish. */
bool gateway_worker_accepts(pid_t worker);

#endif
