/*
 * What is left of orgs that were deleted: who, when, how many rows of what, and the digest of the
 * export as it would have been just then. A chain of its own (hash over the record and the hash of
 * the one before), so that no record is taken out or altered unseen.
 */
#ifndef STORE_ORG_DELETION_ROW_H
#define STORE_ORG_DELETION_ROW_H

#include "store/ledger_row.h"

enum { EXPORT_DIGEST_BYTES = 32 };

struct org_deletion_row {
    struct id org;
    struct str slug, name;
    bool ledger_kept;
    struct str counts; /* JSON: rows by table */
    uint8_t export_digest[EXPORT_DIGEST_BYTES];
    int64_t deleted_ms;
    int64_t seq; /* from here on: set by the store */
    uint8_t hash[CHAIN_HASH_BYTES];
};

/* Sets ret_row->seq and ret_row->hash. */
enum err org_deletion_row_append(
    struct store_tx *tx, struct org_deletion_row *row, struct error *e) MUST_CHECK;
/*
 * All of them, oldest first. *ret_valid false: one was altered, is missing or out of order; the
 * sentence in ret_why (arena) says which.
 */
enum err org_deletion_row_list(struct store_tx *tx, struct arena *a, struct org_deletion_row **ret,
    size_t *ret_n, bool *ret_valid, struct str *ret_why, struct error *e) MUST_CHECK;
/* Was the org deleted, and its chain with it? ledger: is it the one that may be kept? */
enum err org_deletion_row_took(
    struct store_tx *tx, struct id org, bool ledger, bool *ret, struct error *e) MUST_CHECK;

#endif
