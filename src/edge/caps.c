#include "edge/caps.h"

#include <stdlib.h>

struct cap {
    struct id id, org, workspace;
    uint32_t slot;
};

static int
compare_cap(const void *a, const void *b)
{
    const struct cap *x = a, *y = b;
    int order = memcmp(x->org.b, y->org.b, sizeof(x->org.b));

    return order != 0 ? order : memcmp(x->workspace.b, y->workspace.b, sizeof(x->workspace.b));
}

static int
compare_limit(const void *a, const void *b)
{
    const struct edge_limit *x = a, *y = b;
    int order = memcmp(x->workspace.b, y->workspace.b, sizeof(x->workspace.b));

    return order != 0 ? order : (int)x->per_token - (int)y->per_token;
}

static bool
same_caps(const struct caps *c, const struct cap *fresh, size_t n)
{
    if (n != c->budgets_n)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (compare_cap(&fresh[i], &c->budgets[i]) != 0 || fresh[i].slot != c->budgets[i].slot)
            return false;
    }
    return true;
}

static bool
same_limits(const struct caps *c, const struct edge_limit *fresh, size_t n)
{
    return n == c->limits_n && (n == 0 || memcmp(fresh, c->limits, n * sizeof(*fresh)) == 0);
}

static int
compare_id(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id));
}

/* Budgets that are in the file and not among those in force any more. */
static void
drop_others(struct caps *c, const struct cap *fresh, size_t n)
{
    struct counters_file *f = &c->file;
    struct id *ids = calloc(n + 1, sizeof(*ids));

    ENSURE(ids != NULL);
    for (size_t i = 0; i < n; i++)
        ids[i] = fresh[i].id;
    qsort(ids, n, sizeof(*ids), compare_id);
    for (uint32_t slot = 0; slot < f->budgets.used; slot++) {
        const struct budget_slot *b = &f->counters.budgets[slot];
        struct id id;

        memcpy(id.b, b->id, sizeof(id.b));
        if (atomic_load(&b->limit_nano) != BUDGET_GONE &&
            bsearch(&id, ids, n, sizeof(*ids), compare_id) == NULL)
            counters_file_budget_drop(f, id);
    }
    free(ids);
}

static enum err
set_budgets(
    struct caps *c, struct edge_budget *budgets, size_t n, bool *ret_changed, struct error *e)
{
    struct cap *fresh = calloc(n + 1, sizeof(*fresh));
    enum err err = ERR_OK;

    ENSURE(fresh != NULL);
    for (size_t i = 0; err == ERR_OK && i < n; i++) {
        struct edge_budget *b = &budgets[i];
        const struct counters_budget x = {b->id,
            id_is_zero(b->workspace) ? BUDGET_ORG : BUDGET_WORKSPACE, b->period, b->hard,
            b->limit_nano, b->shared};

        fresh[i] = (struct cap){.id = b->id, .org = b->org, .workspace = b->workspace};
        err = counters_file_budget(&c->file, &x, &fresh[i].slot, &b->is_new, e);
        b->slot = fresh[i].slot;
    }
    if (err != ERR_OK) {
        free(fresh);
        return err;
    }
    drop_others(c, fresh, n);
    qsort(fresh, n, sizeof(*fresh), compare_cap);
    *ret_changed = *ret_changed || !same_caps(c, fresh, n);
    free(c->budgets);
    c->budgets = fresh;
    c->budgets_n = n;
    return ERR_OK;
}

static bool
has_limit(const struct edge_limit *l, size_t n, const struct edge_limit *wanted)
{
    return bsearch(wanted, l, n, sizeof(*l), compare_limit) != NULL;
}

enum err
caps_set(struct caps *c, struct edge_budget *budgets, size_t budgets_n,
    const struct edge_limit *limits, size_t limits_n, bool *ret_changed, struct error *e)
{
    struct edge_limit *fresh;
    bool changed = false;
    enum err err = set_budgets(c, budgets, budgets_n, &changed, e);

    if (err != ERR_OK)
        return err;
    fresh = calloc(limits_n + 1, sizeof(*fresh));
    ENSURE(fresh != NULL);
    if (limits_n > 0)
        memcpy(fresh, limits, limits_n * sizeof(*fresh));
    qsort(fresh, limits_n, sizeof(*fresh), compare_limit);
    *ret_changed = changed || !same_limits(c, fresh, limits_n);
    for (size_t i = 0; i < c->limits_n; i++) {
        if (!c->limits[i].per_token && !has_limit(fresh, limits_n, &c->limits[i]))
            counters_file_limit_drop(&c->file, c->limits[i].workspace);
    }
    free(c->limits);
    c->limits = fresh;
    c->limits_n = limits_n;
    return ERR_OK;
}

static size_t
first_cap(const struct caps *c, struct id org, struct id workspace)
{
    const struct cap wanted = {.org = org, .workspace = workspace};
    size_t low = 0, high = c->budgets_n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare_cap(&c->budgets[middle], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static enum err
add_budgets(const struct caps *c, struct policy_token *t, struct id org, struct id workspace,
    struct error *e)
{
    const struct cap wanted = {.org = org, .workspace = workspace};

    for (size_t i = first_cap(c, org, workspace);
         i < c->budgets_n && compare_cap(&c->budgets[i], &wanted) == 0; i++) {
        if (t->budgets_n == BUDGETS_PER_CALL_MAX)
            return fail(e, ERR_STATE_UNUSABLE,
                "more than %d budgets of an org and a workspace hold for one call: remove one",
                BUDGETS_PER_CALL_MAX);
        t->budgets[t->budgets_n++] = c->budgets[i].slot;
    }
    return ERR_OK;
}

static enum err
add_limit(
    struct caps *c, struct policy_token *t, struct id workspace, bool per_token, struct error *e)
{
    const struct edge_limit wanted = {.workspace = workspace, .per_token = per_token};
    const struct edge_limit *l = c->limits_n == 0
        ? NULL
        : bsearch(&wanted, c->limits, c->limits_n, sizeof(*c->limits), compare_limit);
    struct id id = workspace;

    t->limits[per_token] = LIMIT_NONE;
    if (per_token)
        memcpy(id.b, t->token_id, sizeof(id.b));
    if (l == NULL) {
        counters_file_limit_drop(&c->file, id);
        return ERR_OK;
    }
    return counters_file_limit(&c->file, id, l->requests_per_min, l->tokens_per_min, l->concurrent,
        &t->limits[per_token], e);
}

enum err
caps_token(struct caps *c, struct policy_token *t, struct error *e)
{
    struct id org, workspace;
    enum err err;

    memcpy(org.b, t->org_id, sizeof(org.b));
    memcpy(workspace.b, t->workspace_id, sizeof(workspace.b));
    t->budgets_n = 0;
    memset(t->budgets, 0, sizeof(t->budgets));
    err = add_budgets(c, t, org, (struct id){0}, e);
    if (err == ERR_OK)
        err = add_budgets(c, t, org, workspace, e);
    if (err == ERR_OK)
        err = add_limit(c, t, workspace, false, e);
    return err == ERR_OK ? add_limit(c, t, workspace, true, e) : err;
}

void
caps_token_gone(struct caps *c, const struct policy_token *t)
{
    struct id id;

    memcpy(id.b, t->token_id, sizeof(id.b));
    counters_file_limit_drop(&c->file, id);
}

void
caps_done(struct caps *c)
{
    counters_file_done(&c->file);
    free(c->budgets);
    free(c->limits);
    *c = (struct caps){.file.fd = -1};
}
