/*
 * The process between purserd and one agent (`purser _shim`). purserd spawns it with an empty
 * environment and one socket; it takes its order there (order.h), starts the agent, keeps its log
 * and its exit status (record.h), answers on a control socket (control.h) and ends when all of the
 * agent's processes are gone. It does not need purserd once the agent runs.
 */
#ifndef LAUNCH_SHIM_H
#define LAUNCH_SHIM_H

/* The inherited descriptor the order comes through and the answer goes back. */
enum { SHIM_ORDER_FD = 3 };

/* The body of the program. Single-threaded; closes every descriptor it does not know. */
int shim_main(int argc, char **argv);

#endif
