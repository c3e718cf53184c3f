/*
 * A process in a sandbox made by bubblewrap: it sees the machine's files read-only, its HOME and
 * working directory to write, a /tmp, a /run and a /proc of its own, and neither purser's state and
 * run directories, nor the HOMEs of others, nor anybody else's processes. It shares the network.
 */
#ifndef LAUNCH_SANDBOX_H
#define LAUNCH_SANDBOX_H

#include "launch/order.h"

/* Runs program (absolute) with the order's words and environment. Returns on failure, with errno. */
void sandbox_exec(const struct order *order, const char *program);

#endif
