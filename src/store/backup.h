/* A copy of an SQLite store while it is served, and the engine's own look at its health. */
#ifndef STORE_BACKUP_H
#define STORE_BACKUP_H

#include "base/arena.h"
#include "store/store.h"

/*
 * Writes a consistent copy of the store at url to path, which must not exist; mode 0600. The store
 * may be served meanwhile; what is committed later is not in the copy. ERR_USAGE for an engine that
 * brings tools of its own: the sentence names them.
 */
enum err store_backup(struct str url, struct str path, struct error *e) MUST_CHECK;
/*
 * Asks the engine whether what it keeps is whole. *ret_problem is empty when it is, otherwise what
 * the engine says, in the arena. ERR_STORE_UNAVAILABLE when the store cannot be asked.
 */
enum err store_check(
    struct str url, struct arena *a, struct str *ret_problem, struct error *e) MUST_CHECK;

#endif
