/*
 * Answers to writes that a client may repeat, by the client's own key. Never put an answer here
 * that carries a credential: it would stay readable.
 */
#ifndef STORE_IDEMPOTENCY_ROW_H
#define STORE_IDEMPOTENCY_ROW_H

#include "store/store.h"

struct idempotency_row {
    struct id org; /* zero: the admin's own */
    struct str key;
    uint8_t request[32]; /* digest of method, path and body: the same key for another request is an
                            error */
    int64_t status;
    struct str body;
    int64_t created_ms;
};

/* ERR_NOT_FOUND when the key was not used. */
enum err idempotency_row_get(struct store_tx *tx, struct id org, struct str key, struct arena *a,
    struct idempotency_row *ret, struct error *e) MUST_CHECK;
/* ERR_CONFLICT when it was. */
enum err idempotency_row_insert(
    struct store_tx *tx, const struct idempotency_row *r, struct error *e) MUST_CHECK;
/* Forgets all that are older. */
enum err idempotency_row_prune(struct store_tx *tx, int64_t before_ms, struct error *e) MUST_CHECK;

#endif
