/*
 * Checkpoints: signed statements "chain C of (org, node) had the hash H at entry N", numbered per
 * node without gaps. What a chain by itself cannot show, they do: entries cut off together with the
 * head, or a chain computed anew. The store keeps them; who signs is not its business.
 */
#ifndef STORE_CHECKPOINT_ROW_H
#define STORE_CHECKPOINT_ROW_H

#include "store/audit_row.h"

enum {
    CHECKPOINT_KEY_BYTES = 32, /* Ed25519 */
    CHECKPOINT_SIGNATURE_BYTES = 64,
    CHECKPOINT_MESSAGE_MAX = 192,
};

struct checkpoint_row {
    struct id node;
    int64_t number; /* 1, 2 ... within the node */
    struct id org;
    enum audit_type chain;
    int64_t seq;
    uint8_t hash[CHAIN_HASH_BYTES];
    int64_t created_ms;
    uint8_t public_key[CHECKPOINT_KEY_BYTES];
    uint8_t signature[CHECKPOINT_SIGNATURE_BYTES];
};

/* The bytes that are signed; returns their number. Pure. */
size_t checkpoint_message(
    const struct checkpoint_row *c, uint8_t ret[static CHECKPOINT_MESSAGE_MAX]);
/* Does the signature fit the row and its own public key? Pure. */
bool checkpoint_is_signed(const struct checkpoint_row *c);

/* The heads of this node's chains that moved since their last checkpoint; unsigned, number 0. */
enum err checkpoint_row_due(struct store_tx *tx, struct arena *a, struct checkpoint_row **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;
/* The number that comes next on this node. */
enum err checkpoint_row_next(struct store_tx *tx, int64_t *ret, struct error *e) MUST_CHECK;
enum err checkpoint_row_append(
    struct store_tx *tx, const struct checkpoint_row *c, struct error *e) MUST_CHECK;

/* In order of (node, number), beginning after (node, after); org zero: of all orgs. */
enum err checkpoint_row_list(struct store_tx *tx, struct id org, struct id node, int64_t after,
    size_t max, struct arena *a, struct checkpoint_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/* The newest of each chain. org zero: of all orgs. */
enum err checkpoint_row_newest(struct store_tx *tx, struct id org, struct arena *a,
    struct checkpoint_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;

/* Those of one chain behind entry seq, oldest first. */
enum err checkpoint_row_behind(struct store_tx *tx, const struct checkpoint_row *chain, int64_t seq,
    size_t max, struct arena *a, struct checkpoint_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/* The one of that number. ERR_NOT_FOUND. */
enum err checkpoint_row_get(struct store_tx *tx, struct id node, int64_t number,
    struct checkpoint_row *ret, struct error *e) MUST_CHECK;

/*
 * Holds what the checkpoint says against the chains as they are now. *ret_why (arena) is empty when
 * they agree. Of an entry that was removed for its age only the anchor can speak: it must be signed
 * with the checkpoint's own key.
 */
enum err checkpoint_row_verify(struct store_tx *tx, const struct checkpoint_row *c, struct arena *a,
    struct str *ret_why, struct error *e) MUST_CHECK;

enum { CHECKPOINT_KEYS_MAX = 8 };

struct checkpoint_summary {
    int64_t n;
    bool valid;
    struct str why; /* arena; not valid: the first bad one */
    uint8_t keys[CHECKPOINT_KEYS_MAX][CHECKPOINT_KEY_BYTES]; /* that signed; as many as fit */
    size_t keys_n;
};

/*
 * Every checkpoint of the org against the chains: signed, and what it says still holds. org zero: of
 * all orgs, and that no number is missing.
 */
enum err checkpoint_row_verify_all(struct store_tx *tx, struct id org, struct arena *a,
    struct checkpoint_summary *ret, struct error *e) MUST_CHECK;

#endif
