/* A folder with all that is in it. */
#ifndef BASE_TREE_H
#define BASE_TREE_H

#include "base/error.h"

/*
 * Removes path and everything below it; symbolic links are removed, never followed. A path that is
 * not there is fine.
 */
enum err tree_remove(const char *path, struct error *e) MUST_CHECK;

#endif
