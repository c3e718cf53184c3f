/*
 * The trail of a workspace: its decision records and its ledger entries in one order of time. And
 * the hash chains that both stand in, with what is wrong with each.
 */
#ifndef STORE_AUDIT_ROW_H
#define STORE_AUDIT_ROW_H

#include "store/decision_row.h"

enum audit_type { AUDIT_DECISION, AUDIT_LEDGER, AUDIT_TYPE_COUNT };

struct str audit_type_name(enum audit_type t); /* "decision", "ledger": the chains' names, too */

struct audit_row {
    enum audit_type type;
    struct decision_row decision; /* AUDIT_DECISION */
    struct ledger_row entry;      /* AUDIT_LEDGER */
};

/*
 * What happened in [from_ms, to_ms); to_ms 0: no end. A ledger entry happens when its call opens.
 */
struct audit_filter {
    struct id org;
    struct id workspace;
    int64_t from_ms, to_ms;
};

/* The newest first, leaving out skip of them; ret_total counts all that the filter lets through. */
enum err audit_row_list(struct store_tx *tx, const struct audit_filter *f, size_t skip, size_t max,
    struct arena *a, struct audit_row **ret, size_t *ret_n, int64_t *ret_total,
    struct error *e) MUST_CHECK;

/*
 * Does this one entry stand as it was booked, behind the one before it? What a page can afford: a
 * whole chain may have millions.
 */
enum err audit_row_verify(struct store_tx *tx, struct id org, const struct audit_row *row,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e) MUST_CHECK;

/* Is the newest entry of each of the org's chains the one its head names? *ret_why empty: yes. */
enum err audit_heads_verify(struct store_tx *tx, struct id org, struct arena *a,
    struct str *ret_why, struct error *e) MUST_CHECK;

struct audit_chain {
    enum audit_type type;
    struct id org, node;
    struct str slug; /* the org's; empty: it is gone */
    int64_t entries; /* as the head counts them */
    uint8_t head[CHAIN_HASH_BYTES];
    int64_t pruned; /* so many of them, the first ones, were removed for their age */
    int64_t pruned_until_ms, pruned_ms; /* booked before, removed at; 0: none were */
    int64_t pruned_checkpoint;          /* the one that covers them */
    bool valid;
    struct str why; /* not valid: which entry is the first bad one, and what is wrong with it */
};

/*
 * Walks every chain of the org from its anchor, or its first entry, to its head. org zero: of all orgs, also of
 * those that are gone (for the admin's audit only).
 */
enum err audit_chain_list(struct store_tx *tx, struct id org, struct arena *a,
    struct audit_chain **ret, size_t *ret_n, struct error *e) MUST_CHECK;

#endif
