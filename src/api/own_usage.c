/* What a workspace spent today, and, for its agent, what is left of the budgets that hold for it. */
#include "api/budget.h"
#include "api/usage.h"
#include "api/workspace.h"

struct own {
    struct call *c;
    struct id workspace;
    struct ledger_totals today;
    struct budget_view *views;
    size_t n;
    int64_t from_ms, to_ms;
};

static enum err
own_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct own *o = ctx;
    enum err code =
        ledger_row_totals(tx, o->c->org, o->workspace, o->from_ms, o->to_ms, &o->today, e);

    if (code == ERR_OK)
        code = budget_views(tx, o->c, o->workspace, &o->views, &o->n, e);
    return code;
}

static struct own
own_of(struct call *c, struct id workspace)
{
    int64_t day = budget_period_number(BUDGET_DAY, clock_ms());

    return (struct own){.c = c,
        .workspace = workspace,
        .from_ms = budget_period_start(BUDGET_DAY, day),
        .to_ms = budget_period_start(BUDGET_DAY, day + 1)};
}

/* With the usage token: own spend and what is left. */
enum err
usage_of_agent(struct call *c, struct error *e)
{
    struct own o = own_of(c, c->principal.workspace);
    json_t *today;
    enum err code = store_read(c->api->o.store, own_tx, &o, e);

    if (code != ERR_OK)
        return code;
    today = json_pack("{s:I, s:I}", "from_ms", (json_int_t)o.from_ms, "to_ms", (json_int_t)o.to_ms);
    usage_totals_fields(today, &o.today);
    return call_answer(c, 200,
        json_pack("{s:o, s:o, s:o}", "workspace_id", json_id(o.workspace), "today", today,
            "budgets", budget_views_json(o.views, o.n)));
}

enum err
metrics_of_workspace(struct call *c, struct error *e)
{
    struct own o = own_of(c, c->id);
    struct workspace_row w;
    char from[25], to[25], cost[32];
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK)
        code = store_read(c->api->o.store, own_tx, &o, e);
    if (code != ERR_OK)
        return code;
    clock_text(o.from_ms, from);
    clock_text(o.to_ms, to);
    snprintf(cost, sizeof(cost), "%lld.%06lld", (long long)(o.today.cost_nano_usd / 1000000000),
        (long long)(o.today.cost_nano_usd % 1000000000 / 1000));
    return call_answer(c, 200,
        json_pack("{s:I, s:I, s:I, s:s, s:s, s:s}", "input_tokens",
            (json_int_t)(o.today.usage.input + o.today.usage.cache_read +
                o.today.usage.cache_write_5m + o.today.usage.cache_write_1h),
            "output_tokens", (json_int_t)o.today.usage.output, "total_calls",
            (json_int_t)o.today.calls, "estimated_cost_usd", cost, "period_start", from,
            "period_end", to));
}
