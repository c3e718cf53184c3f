/* A new admin token for who owns the state directory and lost the old one. */
#ifndef CLI_ROTATE_OFFLINE_H
#define CLI_ROTATE_OFFLINE_H

#include "base/error.h"

/*
 * Writes a new token into the state directory, which only its owner can, and prints it. A purserd
 * that runs there is told and puts it in force at once; otherwise the next start does. The store is
 * not touched from here, so it does not matter which engine it is on.
 */
enum err rotate_offline(const char *state, struct error *e) MUST_CHECK;

#endif
