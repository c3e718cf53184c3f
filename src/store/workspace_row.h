/*
 * Workspaces: what was asked for (desired) and what was seen (status). The model is not here: it is
 * the workspace secret MODEL. The billing override is kept as it was written, garbled or not:
 * judging it is core/billing's business.
 */
#ifndef STORE_WORKSPACE_ROW_H
#define STORE_WORKSPACE_ROW_H

#include "core/lifecycle.h"
#include "store/store.h"

struct workspace_row {
    struct id id;
    struct id org;
    struct id node;   /* set by the store on insert */
    struct id parent; /* zero: none; of the same org */
    struct str name;
    struct str role;
    struct str runtime;
    struct str url;
    bool override_present;   /* llm_billing_mode is not NULL */
    struct str override_raw; /* as written */
    struct str command;      /* JSON array of strings, "[]": none */
    struct str workspace_dir;
    struct str extra_models; /* JSON array of strings */
    struct str required_env; /* JSON array of strings */
    bool has_budget_limit;
    int64_t budget_limit_cents;
    enum workspace_desired desired;
    enum workspace_status status;
    struct str last_error_code; /* empty: none */
    struct str last_error;
    struct lifecycle_care care; /* what it says itself; api/care.h has the rest */
    struct str launch;          /* JSON object: container and limits; "{}": neither */
    int64_t restarts;           /* how often it was started again in a row */
    int64_t start_due_ms;       /* when it is to be started again; 0: it is not */
    int64_t uid;                /* 0: none allotted */
    int64_t created_ms;
    int64_t updated_ms;
    int64_t version; /* grows with every write of the row; 1 on insert */
};

/*
 * Inserts; node, version, uid and updated_ms are the store's. ERR_CONFLICT when the id is taken,
 * ERR_NOT_FOUND when the org or the parent is not there. Empty JSON columns are written as "[]".
 */
enum err workspace_row_insert(
    struct store_tx *tx, const struct workspace_row *w, struct error *e) MUST_CHECK;
/* Removed ones too: look at status. ERR_NOT_FOUND when it is missing or another org's. */
enum err workspace_row_get(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct workspace_row *ret, struct error *e) MUST_CHECK;
/* The org's, oldest first, removed ones left out. */
enum err workspace_row_list(struct store_tx *tx, struct id org, struct arena *a,
    struct workspace_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/*
 * All orgs' workspaces of this node that are not removed: for the daemon's own start, never for an
 * answer.
 */
enum err workspace_row_list_node(struct store_tx *tx, struct arena *a, struct workspace_row **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;
/* Whose it is: for the admin, who may name a workspace without its org. ERR_NOT_FOUND. */
enum err workspace_row_find_org(
    struct store_tx *tx, struct id workspace, struct id *ret_org, struct error *e) MUST_CHECK;

/* The ids of all workspaces the org ever had on this node, removed ones too: for its end. */
enum err workspace_row_list_ids(struct store_tx *tx, struct id org, struct arena *a,
    struct id **ret, size_t *ret_n, struct error *e) MUST_CHECK;

/*
 * Writes the columns that describe it (name, role, runtime, parent, url, command, workspace_dir,
 * extra_models, required_env, budget limit, readiness, restart, start time-out) when w->version is still the stored one; ERR_CONFLICT
 * otherwise.
 */
enum err workspace_row_update(
    struct store_tx *tx, const struct workspace_row *w, struct error *e) MUST_CHECK;
/* raw NULL clears. Any text is written as it is. */
enum err workspace_row_set_override(struct store_tx *tx, struct id org, struct id workspace,
    const struct str *raw, struct error *e) MUST_CHECK;
/*
 * The columns of its life, all at once: for api/move.c, which knows what may follow what. version is
 * not looked at: who calls has read the row in this very transaction. A removed workspace stays
 * removed: ERR_GONE.
 */
struct workspace_life {
    enum workspace_desired desired;
    enum workspace_status status; /* not removed: workspace_row_remove() is the one way there */
    struct str error_code;        /* empty: none */
    struct str error_text;
    int64_t restarts;
    int64_t start_due_ms;
};
enum err workspace_row_set_life(struct store_tx *tx, struct id org, struct id workspace,
    const struct workspace_life *life, struct error *e) MUST_CHECK;
/*
 * The uid its agent runs under: the one it has, or else the smallest of [first, first + count) that
 * no workspace of this node has. ERR_CONFLICT when all are taken.
 */
enum err workspace_row_allot_uid(struct store_tx *tx, struct id org, struct id workspace,
    int64_t first, int64_t count, int64_t *ret_uid, struct error *e) MUST_CHECK;
/*
 * The end, once nothing of it runs: desired and status removed, the uid free again, its secrets
 * deleted, its tokens revoked. The row stays for those who ask what became of it. Tell the gateway
 * first (token_row_list). ERR_GONE when it is removed already.
 */
enum err workspace_row_remove(
    struct store_tx *tx, struct id org, struct id workspace, struct error *e) MUST_CHECK;

#endif
