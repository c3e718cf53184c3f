/*
 * Decision records: one per start, run and refusal, append-only and chained per (org, node) as the
 * ledger is. The JSON text is the record; the columns beside it are for queries. Holds names, never
 * values.
 */
#ifndef STORE_DECISION_ROW_H
#define STORE_DECISION_ROW_H

#include "store/ledger_row.h"

enum decision_kind { DECISION_START, DECISION_RUN, DECISION_REFUSAL, DECISION_KIND_COUNT };

struct str decision_kind_name(enum decision_kind k); /* "start", "run", "refusal" */

struct decision_row {
    struct id id;
    struct id org;
    struct id workspace;
    enum decision_kind kind;
    struct str code; /* refusal: its code; otherwise empty */
    struct str mode, source, provider, model, runtime;
    uint8_t registry_fingerprint[32];
    struct str json; /* canonical text: inputs, result, trace, plan */
    int64_t created_ms;
    struct id node; /* from here on: set by the store */
    int64_t seq;
    uint8_t hash[CHAIN_HASH_BYTES];
};

/* ERR_CONFLICT when the id is there already. */
enum err decision_row_append(
    struct store_tx *tx, const struct decision_row *d, struct error *e) MUST_CHECK;
enum err decision_row_get(struct store_tx *tx, struct id org, struct id decision, struct arena *a,
    struct decision_row *ret, struct error *e) MUST_CHECK;
/* The record at that place of its chain. ERR_NOT_FOUND. */
enum err decision_row_at(struct store_tx *tx, struct id org, struct id node, int64_t seq,
    struct arena *a, struct decision_row *ret, struct error *e) MUST_CHECK;

/* Which records: of one workspace (zero: of the whole org); org zero: of all, for the admin. */
struct decision_filter {
    struct id org;
    struct id workspace;
    struct id before; /* only those older than this record; zero: from the newest on */
};
/* The newest max, newest first. */
enum err decision_row_list(struct store_tx *tx, const struct decision_filter *f, size_t max,
    struct arena *a, struct decision_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* As ledger_chain_verify. */
enum err decision_chain_verify(struct store_tx *tx, struct id org, struct id node, int64_t only,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e) MUST_CHECK;

#endif
