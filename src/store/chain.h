/*
 * Hash chains: entry n of (chain, org, node) has
 *
 *     hash = SHA-256(chain name || 0 || org || node || n || hash of n-1 || bytes)
 *
 * with n as 8 bytes, big end first, and a hash of zeros before the first entry. The last link is
 * kept in table heads, so that entries cut off at the end are missed too. Internal to this folder.
 */
#ifndef STORE_CHAIN_H
#define STORE_CHAIN_H

#include "base/buf.h"
#include "store/ledger_row.h"

struct chain {
    const char *name; /* "ledger", "decision" */
    struct id org;
    struct id node;
};

struct chain_link {
    int64_t seq; /* 0: nothing was appended yet */
    uint8_t hash[CHAIN_HASH_BYTES];
};

/* The last link; seq 0 when there is none that can be decoded. */
enum err chain_head(
    struct store_tx *tx, const struct chain *c, struct chain_link *ret, struct error *e) MUST_CHECK;
/* The link of the entry that stands, or is anchored, at seq now; seq 0 when there is none. */
enum err chain_link_at(struct store_tx *tx, const struct chain *c, int64_t seq,
    struct chain_link *ret, struct error *e) MUST_CHECK;
/* The last entry that was removed for its age (store/anchor_row.h); seq 0: none was. */
enum err chain_anchor(
    struct store_tx *tx, const struct chain *c, struct chain_link *ret, struct error *e) MUST_CHECK;
/* The link that would follow prev with these bytes. Pure. */
struct chain_link chain_next(
    const struct chain *c, const struct chain_link *prev, struct str bytes);
/* Makes link the head. */
enum err chain_set_head(struct store_tx *tx, const struct chain *c, const struct chain_link *link,
    struct error *e) MUST_CHECK;

/* A walk from the first link to the head. why is set by the first thing that is wrong. */
struct chain_walk {
    const struct chain *chain;
    struct chain_link last;
    const char *why; /* NULL: nothing wrong so far */
    int64_t at;      /* seq where it went wrong */
};

/* only 0: from the anchor, or the first link; otherwise from the one before that entry. */
enum err chain_walk_begin(
    struct store_tx *tx, struct chain_walk *w, int64_t only, struct error *e) MUST_CHECK;
/*
 * One stored entry, in the order of seq. stored and rebuilt are its bytes as kept and from its
 * columns.
 */
void chain_walk_step(struct chain_walk *w, int64_t seq, const uint8_t prev[static CHAIN_HASH_BYTES],
    const uint8_t hash[static CHAIN_HASH_BYTES], struct str stored, struct str rebuilt);
/* Steps over all stored entries from one to another, of the kind of chain they are written for. */
enum err ledger_chain_walk(struct store_tx *tx, struct chain_walk *w, int64_t from, int64_t to,
    struct error *e) MUST_CHECK;
enum err decision_chain_walk(struct store_tx *tx, struct chain_walk *w, int64_t from, int64_t to,
    struct error *e) MUST_CHECK;
/* A stored entry that can not even be decoded. */
void chain_walk_garbled(struct chain_walk *w);
/*
 * After the last entry: does the head agree (only 0), or was the one entry there that was looked
 * for? Then what ledger_chain_verify() tells; noun is what an entry is called.
 */
enum err chain_walk_told(struct store_tx *tx, struct chain_walk *w, int64_t only, const char *noun,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e) MUST_CHECK;

/*
 * Writers of canonical bytes: numbers as 8 bytes, big end first; texts with their length in front.
 */
void canonical_int(struct buf *b, int64_t v);
void canonical_text(struct buf *b, struct str s);

#endif
