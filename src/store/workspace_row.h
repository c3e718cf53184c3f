/*
 * Workspaces: what was asked for (desired) and what was seen (status). The model is not here: it is
 * the workspace secret MODEL. The billing override is kept as it was written, garbled or not:
 * judging it is core/billing's business.
 */
#ifndef STORE_WORKSPACE_ROW_H
#define STORE_WORKSPACE_ROW_H

#include "store/store.h"

enum workspace_desired {
    WORKSPACE_DESIRED_RUNNING,
    WORKSPACE_DESIRED_STOPPED,
    WORKSPACE_DESIRED_PAUSED,
    WORKSPACE_DESIRED_REMOVED,
    WORKSPACE_DESIRED_COUNT
};

enum workspace_status {
    WORKSPACE_PROVISIONING,
    WORKSPACE_ONLINE,
    WORKSPACE_OFFLINE,
    WORKSPACE_DEGRADED,
    WORKSPACE_FAILED,
    WORKSPACE_PAUSED,
    WORKSPACE_STOPPED,
    WORKSPACE_AWAITING_AGENT,
    WORKSPACE_REMOVED,
    WORKSPACE_STATUS_COUNT
};

struct str workspace_desired_name(enum workspace_desired d); /* "running" ... */
struct str workspace_status_name(enum workspace_status s);   /* "awaiting_agent" ... */
bool workspace_desired_from_name(struct str name, enum workspace_desired *ret);
bool workspace_status_from_name(struct str name, enum workspace_status *ret);

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
    int64_t uid; /* 0: none allotted */
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
 * extra_models, required_env, budget limit) when w->version is still the stored one; ERR_CONFLICT
 * otherwise.
 */
enum err workspace_row_update(
    struct store_tx *tx, const struct workspace_row *w, struct error *e) MUST_CHECK;
/* raw NULL clears. Any text is written as it is. */
enum err workspace_row_set_override(struct store_tx *tx, struct id org, struct id workspace,
    const struct str *raw, struct error *e) MUST_CHECK;
enum err workspace_row_set_desired(struct store_tx *tx, struct id org, struct id workspace,
    enum workspace_desired d, struct error *e) MUST_CHECK;
/*
 * Status and last error together; empty code and text clear it. A removed workspace stays removed:
 * ERR_GONE.
 */
enum err workspace_row_set_status(struct store_tx *tx, struct id org, struct id workspace,
    enum workspace_status s, struct str error_code, struct str error_text,
    struct error *e) MUST_CHECK;
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
