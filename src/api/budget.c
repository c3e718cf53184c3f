/* Budgets of orgs and workspaces: what is capped, what is spent, what is left. */
#include "api/budget.h"

#include "api/workspace.h"
#include "store/budget_lease.h"
#include "store/watch.h"
#include "store/event_row.h"

/* As the reference names the periods; ours besides. */
static const char *const period_keys[BUDGET_PERIOD_COUNT] = {
    [BUDGET_HOUR] = "hourly",
    [BUDGET_DAY] = "daily",
    [BUDGET_WEEK] = "weekly",
    [BUDGET_MONTH] = "monthly",
    [BUDGET_TOTAL] = "total",
};

/* --- shown ----------------------------------------------------------------------------------- */

enum err
budget_views(struct store_tx *tx, struct call *c, struct id workspace, struct budget_view **ret,
    size_t *ret_n, struct error *e)
{
    const struct api_options *o = &c->api->o;
    struct arena *a = &c->http->arena;
    struct budget_row *rows = NULL;
    struct budget_view *views;
    int64_t now = clock_ms();
    size_t n = 0;
    enum err code = budget_row_list(tx, c->org, workspace, &o->budget_default, a, &rows, &n, e);

    if (code != ERR_OK)
        return code;
    views = arena_array(a, n + 1, sizeof(*views));
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        int64_t committed = 0;

        views[i].row = rows[i];
        /* The gateway's counters are ahead of the ledger by what is not drained yet. */
        if (o->budget_sums != NULL &&
            o->budget_sums(o->budgets_ctx, rows[i].id, &views[i].spent, &committed))
            views[i].open = committed - views[i].spent;
        else
            code = budget_row_spent(tx, &rows[i], now, &views[i].spent, e);
    }
    *ret = views;
    *ret_n = n;
    return code;
}

static json_t *
view_json(const struct budget_view *v, int64_t now)
{
    const struct budget_row *b = &v->row;
    int64_t number = budget_period_number(b->period, now);
    json_t *j = json_pack("{s:o, s:s, s:o, s:o, s:s, s:b}", "id", json_id(b->id), "scope",
        id_is_zero(b->workspace) ? "org" : "workspace", "workspace_id",
        id_is_zero(b->workspace) ? json_null() : json_id(b->workspace), "period",
        json_str(budget_period_name(b->period)), "mode", b->hard ? "hard" : "warn", "default",
        (int)b->is_default);

    json_object_set_new(j, "limit_nano_usd", json_integer(b->limit_nano_usd));
    json_object_set_new(j, "spent_nano_usd", json_integer(v->spent));
    json_object_set_new(j, "open_nano_usd", json_integer(v->open));
    json_object_set_new(j, "left_nano_usd", json_integer(b->limit_nano_usd - v->spent - v->open));
    json_object_set_new(j, "resets_ms",
        b->period == BUDGET_TOTAL ? json_null()
                                  : json_integer(budget_period_start(b->period, number + 1)));
    return j;
}

json_t *
budget_views_json(const struct budget_view *views, size_t n)
{
    json_t *list = json_array();
    int64_t now = clock_ms();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, view_json(&views[i], now));
    return list;
}

struct shown {
    struct call *c;
    struct budget_view *views;
    size_t n;
    int64_t spent[BUDGET_PERIOD_COUNT]; /* of the workspace, budget or not */
    bool exempt;
};

static enum err
workspace_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct shown *s = ctx;
    enum err code = budget_views(tx, s->c, s->c->id, &s->views, &s->n, e);

    for (int p = 0; code == ERR_OK && p < BUDGET_PERIOD_COUNT; p++) {
        const struct budget_row any = {
            .org = s->c->org, .workspace = s->c->id, .period = (enum budget_period)p};

        code = budget_row_spent(tx, &any, clock_ms(), &s->spent[p], e);
    }
    return code;
}

static int64_t
cents(int64_t nano)
{
    return (nano + (nano < 0 ? -BUDGET_NANO_PER_CENT : BUDGET_NANO_PER_CENT) / 2) /
        BUDGET_NANO_PER_CENT;
}

static json_t *
period_json(const struct shown *s, enum budget_period p)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct budget_view *v = &s->views[i];

        if (v->row.period == p && !id_is_zero(v->row.workspace))
            return json_pack("{s:I, s:I, s:I, s:s}", "limit",
                (json_int_t)cents(v->row.limit_nano_usd), "spend", (json_int_t)cents(v->spent),
                "remaining", (json_int_t)cents(v->row.limit_nano_usd - v->spent), "mode",
                v->row.hard ? "hard" : "warn");
    }
    return json_pack("{s:n, s:I, s:n, s:n}", "limit", "spend", (json_int_t)cents(s->spent[p]),
        "remaining", "mode");
}

enum err
budget_of_workspace(struct call *c, struct error *e)
{
    struct shown s = {.c = c};
    struct workspace_row w;
    json_t *periods, *month;
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK)
        code = store_read(c->api->o.store, workspace_tx, &s, e);
    if (code != ERR_OK)
        return code;
    periods = json_object();
    for (int p = 0; p < BUDGET_PERIOD_COUNT; p++)
        json_object_set_new(periods, period_keys[p], period_json(&s, (enum budget_period)p));
    month = json_object_get(periods, period_keys[BUDGET_MONTH]);
    return call_answer(c, 200,
        json_pack("{s:o, s:O, s:O, s:O, s:o}", "periods", periods, "budget_limit",
            json_object_get(month, "limit"), "monthly_spend", json_object_get(month, "spend"),
            "budget_remaining", json_object_get(month, "remaining"), "budgets",
            budget_views_json(s.views, s.n)));
}

static enum err
org_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct shown *s = ctx;
    enum err code = budget_row_is_exempt(tx, s->c->org, &s->exempt, e);

    return code == ERR_OK ? budget_views(tx, s->c, (struct id){0}, &s->views, &s->n, e) : code;
}

enum err
budget_of_org(struct call *c, struct error *e)
{
    struct shown s = {.c = c};
    enum err code = store_read(c->api->o.store, org_tx, &s, e);

    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:o, s:b, s:o}", "org_id", json_id(c->org), "exempt", (int)s.exempt, "budgets",
            budget_views_json(s.views, s.n)));
}

/* --- set ------------------------------------------------------------------------------------- */

static enum err
told_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    (void)ctx;
    return store_notify(tx, STORE_CHANGE_BUDGETS, STR("-"), e);
}

enum err
budgets_changed(struct api *a, struct error *e)
{
    if (store_is_shared(a->o.store) && store_tx(a->o.store, told_tx, NULL, e) != ERR_OK)
        return e->code;
    return a->o.budgets_changed == NULL ? ERR_OK : a->o.budgets_changed(a->o.budgets_ctx, e);
}

struct change {
    struct call *c;
    struct id workspace;
    struct budget_row rows[BUDGET_PERIOD_COUNT];
    size_t n;
    bool clear; /* those that are not in rows go */
    enum budget_period remove;
    bool has_remove, has_exempt, exempt;
    const struct workspace_row *w;
};

enum err
budget_put_monthly(struct store_tx *tx, const struct workspace_row *w, struct error *e)
{
    const struct budget_row b = {.org = w->org,
        .workspace = w->id,
        .period = BUDGET_MONTH,
        .hard = true,
        .limit_nano_usd = w->budget_limit_cents * BUDGET_NANO_PER_CENT};
    enum err code;

    if (w->has_budget_limit)
        return budget_row_put(tx, &b, e);
    code = budget_row_remove(tx, w->org, w->id, BUDGET_MONTH, e);
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* The workspace's own "budget_limit" is its monthly budget under another name. */
static enum err
mirror_limit(struct store_tx *tx, struct change *k, struct error *e)
{
    struct workspace_row w = *k->w;

    w.has_budget_limit = false;
    for (size_t i = 0; i < k->n; i++) {
        if (k->rows[i].period == BUDGET_MONTH) {
            w.has_budget_limit = true;
            w.budget_limit_cents = k->rows[i].limit_nano_usd / BUDGET_NANO_PER_CENT;
        }
    }
    return workspace_row_update(tx, &w, e);
}

/* A call counts against at most BUDGETS_PER_CALL_MAX: half of them the org's. */
static enum err
check_number(struct store_tx *tx, const struct change *k, struct error *e)
{
    const struct budget_default none = {.limit_nano_usd = -1};
    struct budget_row *rows;
    size_t n, of_scope = 0;
    enum err code =
        budget_row_list(tx, k->c->org, k->workspace, &none, &k->c->http->arena, &rows, &n, e);

    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < n; i++)
        of_scope += id_equal(rows[i].workspace, k->workspace);
    return of_scope <= BUDGETS_PER_CALL_MAX / 2
        ? ERR_OK
        : fail(e, ERR_INVALID_REQUEST, "at most %d budgets of one scope: remove another one first",
              BUDGETS_PER_CALL_MAX / 2);
}

static enum err
change_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct change *k = ctx;
    struct event_row event = {.org = k->c->org,
        .workspace = k->workspace,
        .type = STR("budget.changed"),
        .json = STR("{}"),
        .created_ms = clock_ms()};
    enum err code = ERR_OK;

    if (k->has_exempt)
        code = budget_row_exempt(tx, k->c->org, k->exempt, e);
    if (code == ERR_OK && k->has_remove)
        code = budget_row_remove(tx, k->c->org, k->workspace, k->remove, e);
    for (int p = 0; code == ERR_OK && k->clear && p < BUDGET_PERIOD_COUNT; p++) {
        bool stays = false;

        for (size_t i = 0; i < k->n; i++)
            stays = stays || k->rows[i].period == (enum budget_period)p;
        if (!stays)
            code = budget_row_remove(tx, k->c->org, k->workspace, (enum budget_period)p, e);
        code = code == ERR_NOT_FOUND ? ERR_OK : code;
    }
    for (size_t i = 0; code == ERR_OK && i < k->n; i++)
        code = budget_row_put(tx, &k->rows[i], e);
    if (code == ERR_OK)
        code = check_number(tx, k, e);
    if (code == ERR_OK && k->w != NULL)
        code = mirror_limit(tx, k, e);
    return code == ERR_OK ? event_row_append(tx, &event, NULL, e) : code;
}

static enum err
change_apply(struct change *k, struct error *e)
{
    enum err code = store_tx_durable(k->c->api->o.store, change_tx, k, e);

    return code == ERR_OK ? budgets_changed(k->c->api, e) : code;
}

/* A number of cents, or {limit, mode}. *ret_set false: null. */
static enum err
limit_read(json_t *v, const char *what, struct budget_row *b, bool *ret_set, struct error *e)
{
    struct str mode = STR("hard");
    json_t *limit = json_is_object(v) ? json_object_get(v, "limit") : v;

    *ret_set = v != NULL && !json_is_null(v);
    if (!*ret_set)
        return ERR_OK;
    if (json_is_object(v) && json_get_str(v, "mode", &mode, e) != ERR_OK)
        return e->code;
    if (!json_is_integer(limit) || json_integer_value(limit) < 0)
        return fail(e, ERR_INVALID_REQUEST,
            "budget limit for %s must be an integer >= 0 (USD cents)", what);
    if (json_integer_value(limit) > BUDGET_SUM_MAX / BUDGET_NANO_PER_CENT)
        return fail(e, ERR_INVALID_REQUEST, "budget limit for %s is above %lld cents, the largest",
            what, (long long)(BUDGET_SUM_MAX / BUDGET_NANO_PER_CENT));
    if (!str_equal(mode, STR("hard")) && !str_equal(mode, STR("warn")))
        return fail(e, ERR_INVALID_REQUEST, "the mode of a budget is \"hard\" or \"warn\"");
    b->limit_nano_usd = json_integer_value(limit) * BUDGET_NANO_PER_CENT;
    b->hard = str_equal(mode, STR("hard"));
    return ERR_OK;
}

static enum err
change_add(struct change *k, enum budget_period p, json_t *v, const char *what, struct error *e)
{
    struct budget_row b = {.org = k->c->org, .workspace = k->workspace, .period = p};
    bool set = false;
    enum err code = limit_read(v, what, &b, &set, e);

    if (code == ERR_OK && set)
        k->rows[k->n++] = b;
    return code;
}

static enum err
limits_read(struct change *k, json_t *limits, struct error *e)
{
    const char *name;
    json_t *v;
    enum err code = ERR_OK;

    if (!json_is_object(limits))
        return fail(e, ERR_INVALID_REQUEST, "budget_limits must be an object");
    json_object_foreach(limits, name, v)
    {
        int p = 0;

        while (p < BUDGET_PERIOD_COUNT && strcmp(period_keys[p], name) != 0)
            p++;
        if (p == BUDGET_PERIOD_COUNT)
            return fail(e, ERR_INVALID_REQUEST,
                "unknown budget period: %.64s (allowed: hourly, daily, weekly, monthly, total)",
                name);
        code = change_add(k, (enum budget_period)p, v, name, e);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum err
budget_patch(struct call *c, struct error *e)
{
    struct change k = {.c = c, .workspace = c->id, .clear = true};
    struct workspace_row w;
    json_t *limits, *limit;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = workspace_load(c, &w, e);
    if (code != ERR_OK)
        return code;
    limits = json_object_get(c->body, "budget_limits");
    limit = json_object_get(c->body, "budget_limit");
    if (limits == NULL && limit == NULL)
        return fail(e, ERR_INVALID_REQUEST, "budget_limits or budget_limit field is required");
    if (limits == NULL && !json_is_null(limit) && !json_is_integer(limit))
        return fail(e, ERR_INVALID_REQUEST, "budget_limit must be an integer (USD cents) or null");
    k.w = &w;
    code = limits != NULL ? limits_read(&k, limits, e)
                          : change_add(&k, BUDGET_MONTH, limit, "monthly", e);
    if (code == ERR_OK)
        code = change_apply(&k, e);
    return code == ERR_OK ? budget_of_workspace(c, e) : code;
}

static enum err
period_of_path(struct call *c, enum budget_period *ret, struct error *e)
{
    if (budget_period_from_name(c->name, ret))
        return ERR_OK;
    return fail(e, ERR_INVALID_REQUEST, "a budget's period is hour, day, week, month or total");
}

enum err
budget_org_put(struct call *c, struct error *e)
{
    struct change k = {.c = c};
    enum budget_period period;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = period_of_path(c, &period, e);
    if (code == ERR_OK)
        code = change_add(&k, period, c->body, period_keys[period], e);
    if (code == ERR_OK)
        code = change_apply(&k, e);
    return code == ERR_OK ? budget_of_org(c, e) : code;
}

enum err
budget_org_delete(struct call *c, struct error *e)
{
    struct change k = {.c = c, .has_remove = true};
    enum err code = period_of_path(c, &k.remove, e);

    if (code == ERR_OK)
        code = change_apply(&k, e);
    if (code == ERR_NOT_FOUND)
        return fail(e, code, "the org has no budget of its own for this period");
    return code == ERR_OK ? budget_of_org(c, e) : code;
}

enum err
budget_org_exempt(struct call *c, struct error *e)
{
    struct change k = {.c = c, .has_exempt = true};
    enum err code = call_body(c, false, e);

    if (code == ERR_OK && !json_is_boolean(json_object_get(c->body, "exempt")))
        return fail(
            e, ERR_INVALID_REQUEST, "\"exempt\" is true (no default budget for this org) or false");
    if (code == ERR_OK)
        code = json_get_bool(c->body, "exempt", &k.exempt, e);
    if (code == ERR_OK)
        code = change_apply(&k, e);
    return code == ERR_OK ? budget_of_org(c, e) : code;
}
