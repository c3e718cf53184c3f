/*
 * Runs that are live: environments handed out to processes that purser does not watch. A run ends
 * when it is told to, or when it was not renewed in time; what is left of it then is its decision
 * record and its events.
 */
#ifndef STORE_RUN_ROW_H
#define STORE_RUN_ROW_H

#include "store/store.h"

struct run_row {
    struct id id; /* of its decision record, too */
    struct id org;
    struct id workspace;
    struct id token; /* its usage token; zero: the mode needs none */
    struct str mode;
    struct str model;
    int64_t created_ms;
    int64_t ttl_ms; /* how long each renewal is good for */
    int64_t expires_ms;
};

/* Drops those of the workspace that have expired, too. ERR_NOT_FOUND: no such workspace. */
enum err run_row_insert(
    struct store_tx *tx, const struct run_row *r, int64_t now_ms, struct error *e) MUST_CHECK;
/* A live one. ERR_NOT_FOUND when it is missing, ended, expired, or another workspace's. */
enum err run_row_get(struct store_tx *tx, struct id org, struct id workspace, struct id run,
    int64_t now_ms, struct arena *a, struct run_row *ret, struct error *e) MUST_CHECK;
/* The live ones of a workspace, newest first. */
enum err run_row_list(struct store_tx *tx, struct id org, struct id workspace, int64_t now_ms,
    struct arena *a, struct run_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
enum err run_row_extend(struct store_tx *tx, struct id org, struct id run, int64_t expires_ms,
    struct error *e) MUST_CHECK;
enum err run_row_delete(
    struct store_tx *tx, struct id org, struct id run, struct error *e) MUST_CHECK;

#endif
