/*
 * The ledger: append-only rows, each chained to the one before it of the same (org, node) by
 *     hash = SHA-256(domain || org || node || seq || previous hash || canonical bytes).
 * The canonical bytes are stored beside the columns; verification demands that both agree.
 */
#ifndef STORE_LEDGER_ROW_H
#define STORE_LEDGER_ROW_H

#include "store/store.h"

enum { LEDGER_CANONICAL_MAX = 1024, CHAIN_HASH_BYTES = 32 };

struct ledger_row {
    struct ledger_entry entry;
    struct id node;
    int64_t seq; /* 1, 2 ... within (org, node) */
    int64_t booked_ms;
    uint8_t hash[CHAIN_HASH_BYTES];
};

struct ledger_totals {
    int64_t calls;   /* attempts that reached a vendor and did not fail */
    int64_t failed;  /* attempts that cost nothing */
    int64_t inexact; /* of calls: those whose certainty is not exact */
    struct usage usage;
    int64_t cost_nano_usd; /* of all rows, corrections included */
};

/* The unambiguous bytes of an entry that are hashed; returns their number. Pure. */
size_t ledger_entry_canonical(
    const struct ledger_entry *entry, uint8_t ret[static LEDGER_CANONICAL_MAX]);

/*
 * Books an entry exactly once: a key (call id, attempt, kind) that is there already leaves the
 * ledger as it is (*ret_new false), whatever else the entry says. ret_new may be NULL. Never fails
 * because org or workspace is gone: what was spent was spent. Use it under store_tx_durable.
 */
enum err ledger_row_append(struct store_tx *tx, const struct ledger_entry *entry, bool *ret_new,
    struct error *e) MUST_CHECK;
/*
 * The same for many, cheapest when those of one org stand together: each org's chain is read and
 * written once. Unless may_be_booked, none is looked for before: one that is there is ERR_CONFLICT,
 * perhaps at the commit only. So is a chain whose head was tampered with; with may_be_booked they are
 * appended to it all the same, and verification finds the break.
 */
enum err ledger_row_append_all(struct store_tx *tx, const struct ledger_entry *entries, size_t n,
    bool may_be_booked, struct error *e) MUST_CHECK;
/* The newest max rows of a workspace (zero: of the org), newest first. */
enum err ledger_row_list(struct store_tx *tx, struct id org, struct id workspace, size_t max,
    struct arena *a, struct ledger_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* Those that were opened from from_ms until before to_ms (0: without end). */
enum err ledger_row_list_between(struct store_tx *tx, struct id org, struct id workspace,
    int64_t from_ms, int64_t to_ms, size_t max, struct arena *a, struct ledger_row **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;
/* The entry at that place of its chain. ERR_NOT_FOUND. */
enum err ledger_row_at(struct store_tx *tx, struct id org, struct id node, int64_t seq,
    struct ledger_row *ret, struct error *e) MUST_CHECK;
/* The entry of an attempt, whatever its org. ERR_NOT_FOUND. */
enum err ledger_row_find(struct store_tx *tx, struct id call, int64_t attempt,
    struct ledger_entry *ret, struct error *e) MUST_CHECK;
/* Sums over rows opened in [from_ms, to_ms); to_ms 0: no end. workspace zero: of the whole org. */
enum err ledger_row_totals(struct store_tx *tx, struct id org, struct id workspace, int64_t from_ms,
    int64_t to_ms, struct ledger_totals *ret, struct error *e) MUST_CHECK;

/*
 * Walks the chain of (org, node) from its first entry to its head. *ret_valid false: an entry was
 * altered, is missing, doubled or out of order; the sentence in ret_why (arena) says which.
 * only not 0: looks at that one entry and whether it follows the one before it.
 */
enum err ledger_chain_verify(struct store_tx *tx, struct id org, struct id node, int64_t only,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e) MUST_CHECK;

#endif
