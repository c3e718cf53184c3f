/* Writing secrets: the checks and the one transaction step that seals and puts. */
#ifndef API_SECRET_H
#define API_SECRET_H

#include "api/gather.h"
#include "store/secret_row.h"

struct secret_write {
    struct str name;  /* after secret_check() */
    struct str value; /* borrowed from the request's body, which is wiped */
};

/* Name and value as they may be stored: valid, not reserved, not empty. name in the arena,
 * upper-cased. */
enum err secret_check(struct arena *a, struct str name, struct str value, struct secret_write *ret,
    struct error *e) MUST_CHECK;
/*
 * Seals and puts within a transaction. workspace zero: org scope. ERR_PLATFORM_KEY_IN_TENANT_STORE
 * when the value is one of the platform's own keys.
 */
enum err secret_put_tx(struct store_tx *tx, struct api *a, struct arena *arena, struct id org,
    struct id workspace, const struct secret_write *s, struct error *e) MUST_CHECK;
/* The write gate: may a workspace with this decision store this name? */
enum err secret_gate(struct call *c, const struct gathered *g, struct str name, struct id workspace,
    struct error *e) MUST_CHECK;

#endif
