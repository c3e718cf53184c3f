/* What each agent last said of itself: when, whether it can work, its figures, its card. */
#ifndef STORE_HEARTBEAT_ROW_H
#define STORE_HEARTBEAT_ROW_H

#include "store/store.h"

struct heartbeat_row {
    struct id org;
    struct id workspace;
    int64_t seen_ms; /* 0: not heard since its last start */
    bool says_configured;
    bool configured;   /* when says_configured */
    struct str reason; /* why not; empty: it gives none */
    struct str report; /* JSON object; "{}": none */
    struct str card;   /* JSON object; "{}": none */
};

/* Zero row, "{}" in the texts, when it was never heard. */
enum err heartbeat_row_get(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct heartbeat_row *ret, struct error *e) MUST_CHECK;
/* Inserts or replaces. Empty report and card are written as "{}". */
enum err heartbeat_row_put(
    struct store_tx *tx, const struct heartbeat_row *h, struct error *e) MUST_CHECK;
/* At the workspace's start and end: not heard, nothing said. Its card stays. */
enum err heartbeat_row_reset(
    struct store_tx *tx, struct id org, struct id workspace, struct error *e) MUST_CHECK;

struct heartbeat_missed {
    struct id org;
    struct id workspace;
    int64_t seen_ms;
};
/*
 * This node's workspaces that are online or degraded, were heard since their last start, and not
 * since before_ms; external ones (their agents run elsewhere) not since external_before_ms.
 */
enum err heartbeat_row_missed(struct store_tx *tx, int64_t before_ms, int64_t external_before_ms,
    struct arena *a, struct heartbeat_missed **ret, size_t *ret_n, struct error *e) MUST_CHECK;

#endif
