/* RUN after a clean stop: nothing in it is needed any more once no agent runs. */
#ifndef DAEMON_RUN_DIR_H
#define DAEMON_RUN_DIR_H

#include <stdbool.h>

/*
 * Removes RUN, unless an agent of it still runs or its end was not told to the store yet. Agents'
 * homes stay, and RUN with them. The caller holds the lock of STATE and nginx has ended. Returns
 * whether RUN is gone.
 */
bool run_dir_remove(const char *run);

#endif
