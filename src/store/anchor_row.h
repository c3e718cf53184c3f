/*
 * Anchors: where a chain begins whose oldest entries were removed for their age. An anchor holds the
 * number and the hash of the last entry that is gone, is signed as checkpoints are, and names the
 * checkpoint that covers it: who moves an anchor, or makes one, without the node's key is found.
 */
#ifndef STORE_ANCHOR_ROW_H
#define STORE_ANCHOR_ROW_H

#include "store/checkpoint_row.h"

struct anchor_row {
    struct id org;
    struct id node;
    enum audit_type chain;
    int64_t seq; /* 0: nothing was removed */
    uint8_t hash[CHAIN_HASH_BYTES];
    int64_t checkpoint; /* number of one of the same node and chain, at seq or behind it */
    int64_t until_ms;   /* when that was made: what is gone was booked before */
    int64_t pruned_ms;
    uint8_t public_key[CHECKPOINT_KEY_BYTES];
    uint8_t signature[CHECKPOINT_SIGNATURE_BYTES];
};

enum { ANCHOR_MESSAGE_MAX = 192 };
/* The bytes that are signed; returns their number. Pure. */
size_t anchor_message(const struct anchor_row *r, uint8_t ret[static ANCHOR_MESSAGE_MAX]);

/* seq 0: there is none. */
enum err anchor_row_get(struct store_tx *tx, struct id org, struct id node, enum audit_type chain,
    struct anchor_row *ret, struct error *e) MUST_CHECK;
/* In the place of the chain's last one. */
enum err anchor_row_put(
    struct store_tx *tx, const struct anchor_row *r, struct error *e) MUST_CHECK;
/*
 * Is it signed, and does the checkpoint it names cover it, with the same key? *ret_why (arena) is
 * empty when all is well, also without an anchor.
 */
enum err anchor_row_verify(struct store_tx *tx, const struct anchor_row *r, struct arena *a,
    struct str *ret_why, struct error *e) MUST_CHECK;

/*
 * Calls of the org that were booked before *ret_ms may be gone from the ledger; 0: none are. org
 * zero: of any org.
 */
enum err anchor_row_ledger_until(
    struct store_tx *tx, struct id org, int64_t *ret_ms, struct error *e) MUST_CHECK;

#endif
