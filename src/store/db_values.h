/*
 * A statement's parameters between bind and run, for a driver that hands them over all at once: bytes
 * one behind the other, so that a statement that runs often allocates nothing. Internal to drivers.
 */
#ifndef STORE_DB_VALUES_H
#define STORE_DB_VALUES_H

#include "base/buf.h"
#include "store/db.h"

struct db_values {
    unsigned n; /* the highest number bound */
    struct db_bound {
        enum { DB_UNBOUND, DB_BOUND_NULL, DB_BOUND_DECIMAL, DB_BOUND_BYTES } kind;
        size_t at, n; /* its place in bytes; a decimal has a NUL behind it */
    } bound[DB_PARAMETERS_MAX];
    struct buf bytes;
};

/* Where each stands, NULL for NULL; valid until the next bind or clear. */
struct db_values_list {
    const char *values[DB_PARAMETERS_MAX];
    int lengths[DB_PARAMETERS_MAX];
    int are_bytes[DB_PARAMETERS_MAX]; /* 0: decimal text, or NULL */
};

void db_values_init(struct db_values *v);
/* Each number (from 1) once until the next clear. The value is copied. */
void db_values_bind(struct db_values *v, unsigned parameter, const struct db_value *value);
void db_values_list(const struct db_values *v, struct db_values_list *ret);
void db_values_clear(struct db_values *v);
void db_values_done(struct db_values *v);

#endif
