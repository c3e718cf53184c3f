/*
 * Removal of what is older than it is to be kept: in small portions, each a transaction that is
 * whole by itself, so that writers never wait long and a kill at any moment leaves nothing half.
 */
#ifndef STORE_PRUNE_H
#define STORE_PRUNE_H

#include "store/anchor_row.h"

/* At most so many rows go in one transaction. */
enum { PRUNE_ROWS_MAX = 500 };

/* Fills in public_key and signature; the store has no keys. */
typedef void prune_sign_fn(void *ctx, struct anchor_row *r);

/* The beginning of a chain of this node. */
struct prune_chain {
    struct id org;
    enum audit_type chain;
    int64_t before_ms; /* only what a checkpoint covers that was signed before */
    uint8_t public_key[CHECKPOINT_KEY_BYTES]; /* and with this key */
    prune_sign_fn *sign;
    void *sign_ctx;
};

/* The orgs of whose chains of this node there is something to remove. */
enum err prune_chain_orgs(struct store_tx *tx, enum audit_type chain, int64_t before_ms,
    struct arena *a, struct id **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/*
 * One portion: checks the entries, signs the anchor, removes them. *ret_removed 0: nothing (more) to
 * do. *ret_why (arena) not empty: the chain does not hold, and all of it stays as evidence. What
 * ledger entries cost is kept as a sum. Use it under store_tx_durable.
 */
enum err prune_chain(struct store_tx *tx, const struct prune_chain *p, struct arena *a,
    int64_t *ret_removed, struct str *ret_why, struct error *e) MUST_CHECK;
/* What entries that were removed had cost; workspace zero: those of the whole org. */
enum err prune_spent(struct store_tx *tx, struct id org, struct id workspace, int64_t *ret_nano_usd,
    struct error *e) MUST_CHECK;
/* The same of the entries of this node. */
enum err prune_spent_here(struct store_tx *tx, struct id org, struct id workspace,
    int64_t *ret_nano_usd, struct error *e) MUST_CHECK;

/* The orgs that have events. */
enum err prune_event_orgs(struct store_tx *tx, struct arena *a, struct id **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/* One portion of the org's oldest events. */
enum err prune_events(struct store_tx *tx, struct id org, int64_t before_ms, int64_t *ret_removed,
    struct error *e) MUST_CHECK;

enum prune_kind {
    PRUNE_TOKENS,        /* revoked or expired before */
    PRUNE_RUNS,          /* not renewed since */
    PRUNE_BUDGET_ALERTS, /* of periods; those of budgets over all time stay */
    PRUNE_IDEMPOTENCY_KEYS,
    PRUNE_KIND_COUNT,
};
/* One portion of rows that ended before. */
enum err prune_rows(struct store_tx *tx, enum prune_kind kind, int64_t before_ms,
    int64_t *ret_removed, struct error *e) MUST_CHECK;

/* Notes that this node has just been through all of it; when it last was (0: never). */
enum err prune_note(struct store_tx *tx, int64_t now_ms, struct error *e) MUST_CHECK;
enum err prune_last(struct store_tx *tx, int64_t *ret_ms, struct error *e) MUST_CHECK;

#endif
