/* The numbered migrations, embedded from sql/, and the runner. Internal to this folder. */
#ifndef STORE_MIGRATION_H
#define STORE_MIGRATION_H

#include "store/db.h"

/* Migration n is migrations[n - 1]. */
struct migration {
    const char *name;
    const char *up;
    const char *down;
};

extern const struct migration migrations[];
extern const int migrations_n;

/* The version the store is at; 0 when it is empty. Changes nothing. */
enum err migration_version(struct db *db, int *ret, struct error *e) MUST_CHECK;
/* One transaction a step. ERR_STORE_TOO_NEW when the store is past the last known migration. */
enum err migration_run(struct db *db, int version, struct error *e) MUST_CHECK;

/* The sentence for a store that a later purser made. */
enum err migration_too_new(int version, struct error *e);

#endif
