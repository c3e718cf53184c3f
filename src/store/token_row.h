/*
 * Credentials that were given out, as digests. Usage tokens carry their grant beside them, so that
 * the gateway's policy can be rebuilt from here alone.
 */
#ifndef STORE_TOKEN_ROW_H
#define STORE_TOKEN_ROW_H

#include "store/store.h"

struct token_row {
    struct id id;
    struct id org;       /* zero: admin */
    struct id workspace; /* zero: not bound to one */
    enum token_kind kind;
    uint8_t digest[TOKEN_DIGEST_BYTES];
    struct str prefix; /* its first characters, for people */
    struct str name;
    bool read_only;
    int64_t created_ms;
    int64_t last_used_ms; /* 0: never */
    int64_t expires_ms;   /* 0: never */
    int64_t revoked_ms;   /* 0: not */
    struct id decision;   /* of the start or run it was made for; zero: for none */
    struct str models;    /* usage tokens: JSON array of platform ids, ["*"]: the whole menu */
};

struct str token_kind_name(enum token_kind kind); /* "admin", "org", "workspace", "usage" */

/* ERR_CONFLICT when id or digest is there already; ERR_NOT_FOUND when org or workspace is not. */
enum err token_row_insert(
    struct store_tx *tx, const struct token_row *t, struct error *e) MUST_CHECK;
/*
 * The live token with this digest: not revoked, not expired at now_ms; *ret_suspended: its org is.
 * ERR_NOT_FOUND otherwise. Takes no org: it is what tells the org.
 */
enum err token_row_find(struct store_tx *tx, const uint8_t digest[static TOKEN_DIGEST_BYTES],
    int64_t now_ms, struct arena *a, struct token_row *ret, bool *ret_suspended,
    struct error *e) MUST_CHECK;
/* A live token of the org, by its id. ERR_NOT_FOUND. */
enum err token_row_get(struct store_tx *tx, struct id org, struct id token, int64_t now_ms,
    struct arena *a, struct token_row *ret, struct error *e) MUST_CHECK;
/* Notes the use; writes at most once a minute, so that it may be called for every request. */
enum err token_row_touch(
    struct store_tx *tx, struct id token, int64_t now_ms, struct error *e) MUST_CHECK;
/*
 * org zero: admin tokens. ret is what the gateway must be told. ERR_NOT_FOUND, also when revoked
 * before.
 */
enum err token_row_revoke(struct store_tx *tx, struct id org, struct id token, int64_t now_ms,
    struct arena *a, struct token_row *ret, struct error *e) MUST_CHECK;
/*
 * Revokes all live tokens of a kind. org zero: the admin's; workspace is not looked at. The digests
 * that the gateway must be told come from token_row_list() in the same transaction.
 */
enum err token_row_revoke_all(struct store_tx *tx, struct id org, enum token_kind kind,
    int64_t now_ms, struct error *e) MUST_CHECK;
/* A new end for a live usage token (a run that is renewed). ERR_NOT_FOUND. */
enum err token_row_extend(struct store_tx *tx, struct id org, struct id token, int64_t now_ms,
    int64_t expires_ms, struct error *e) MUST_CHECK;
/*
 * Live tokens of one kind, newest first. org zero: admin's. workspace zero: all of the org's.
 */
enum err token_row_list(struct store_tx *tx, struct id org, struct id workspace,
    enum token_kind kind, int64_t now_ms, struct arena *a, struct token_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/* Live tokens of every kind, newest first: all that somebody could act for the org with. */
enum err token_row_list_org(struct store_tx *tx, struct id org, int64_t now_ms, struct arena *a,
    struct token_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/*
 * Live tokens that end with a start of the workspace, of whatever kind (those of runs end by
 * themselves). org and workspace zero: of every workspace of the node, newest last.
 */
enum err token_row_list_bound(struct store_tx *tx, struct id org, struct id workspace,
    int64_t now_ms, struct arena *a, struct token_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/* Workspace tokens that were made for a start are not counted. */
enum err token_row_count_live(struct store_tx *tx, struct id org, struct id workspace,
    enum token_kind kind, int64_t now_ms, int64_t *ret, struct error *e) MUST_CHECK;
/* Every live usage token of every org: what the gateway's policy is rebuilt from. */
enum err token_row_list_live_usage(struct store_tx *tx, int64_t now_ms, struct arena *a,
    struct token_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;

#endif
