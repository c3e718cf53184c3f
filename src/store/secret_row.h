/*
 * Sealed secrets of both scopes. A zero workspace id means org scope throughout. What is sealed,
 * and how it is bound to its row, is vault/vault.h's business: seal under a version of
 * vault_version() and put under the same version, both within the transaction, since the key may be
 * retired between its runs.
 */
#ifndef STORE_SECRET_ROW_H
#define STORE_SECRET_ROW_H

#include "store/store.h"

struct secret_row {
    struct id org;
    struct id workspace;    /* zero: org scope */
    struct str name;        /* upper-cased and trimmed by the caller (arena_name) */
    struct str sealed;      /* empty in lists */
    int64_t key_id;         /* which key of the keyring sealed it */
    int64_t version;        /* no order, never the same again: what the sealed bytes are bound to */
    struct str fingerprint; /* keyed; equal for equal values */
    int64_t created_ms;
    int64_t updated_ms;
};

/*
 * Inserts or replaces. ERR_CONFLICT when its key was retired meanwhile; ERR_NOT_FOUND when org or
 * workspace is not there or the workspace is another org's. created_ms is kept on replacement.
 */
enum err secret_row_put(
    struct store_tx *tx, const struct secret_row *s, struct error *e) MUST_CHECK;
/* ERR_NOT_FOUND when there is none. */
enum err secret_row_delete(struct store_tx *tx, struct id org, struct id workspace, struct str name,
    struct error *e) MUST_CHECK;
/* One row with its sealed bytes, of exactly this scope. ERR_NOT_FOUND. */
enum err secret_row_get(struct store_tx *tx, struct id org, struct id workspace, struct str name,
    struct arena *a, struct secret_row *ret, struct error *e) MUST_CHECK;
/*
 * What applies, without sealed bytes, by name. workspace zero: the org's own. Otherwise merged: the
 * workspace's rows, and those of the org whose name the workspace does not have.
 */
enum err secret_row_list(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* As secret_row_list, with the sealed bytes: what a start needs, from one snapshot. */
enum err secret_row_load(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* The org's live workspaces that inherit this org-scope name (have no row of their own). */
enum err secret_row_list_inheritors(struct store_tx *tx, struct id org, struct str name,
    struct arena *a, struct id **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/*
 * For the admin's audit only: rows of all orgs, without sealed bytes, at most max.
 * Those with this fingerprint; but_org zero: of every org, otherwise of every other one.
 */
enum err secret_row_list_equal(struct store_tx *tx, struct str fingerprint, struct id but_org,
    size_t max, struct arena *a, struct secret_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/* Those whose value is one of the platform's keys. */
enum err secret_row_list_platforms(struct store_tx *tx, size_t max, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* The fingerprints that more than one org has. */
enum err secret_row_list_shared(struct store_tx *tx, size_t max, struct arena *a, struct str **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;
/*
 * Is anything sealed at all, platform keys included, or was a key ever retired? Before a missing
 * keyring is made anew.
 */
enum err secret_row_any(struct store_tx *tx, bool *ret, struct error *e) MUST_CHECK;

#endif
