#include "daemon/metrics_gauges.h"

#include "registry/registry_load.h"

enum { BUDGETS_MAX = 1000 };

static void
add_number(struct buf *out, const char *name, const char *type, const char *help, int64_t n)
{
    metrics_head(out, name, type, help);
    buf_addf(out, "%s %lld\n", name, (long long)n);
}

static void
add_seconds(struct buf *out, const char *name, const char *help, int64_t ms)
{
    metrics_head(out, name, "gauge", help);
    buf_addf(out, "%s %lld.%03lld\n", name, (long long)(ms / 1000), (long long)(ms % 1000));
}

static void
add_drain(struct drain *d, struct buf *out)
{
    struct drain_status s = drain_status(d);

    add_number(out, "purser_recorder_slots", "gauge", "Slots of the recorder.", s.slots);
    add_number(out, "purser_recorder_used", "gauge", "Slots in use.", s.used);
    add_number(
        out, "purser_recorder_waiting", "gauge", "Ended calls that are not booked yet.", s.waiting);
    add_seconds(
        out, "purser_drain_lag_seconds", "How long the oldest of them has waited.", s.lag_ms);
    add_number(out, "purser_drain_booked_total", "counter", "Rows booked since the start.",
        (int64_t)s.booked);
    add_number(out, "purser_drain_recovered_total", "counter",
        "Of them: calls whose worker had died.", (int64_t)s.recovered);
    add_number(out, "purser_drain_damaged_total", "counter", "Slots that could not be read.",
        (int64_t)s.damaged);
    add_number(
        out, "purser_store_failing", "gauge", "1 while the store takes no rows.", s.store_failing);
}

struct fill {
    struct buf *out;
    size_t n;
};

/* Of orgs only, and a bounded number of them: workspaces come and go by the thousand. */
static void
add_budget(void *ctx, const struct budget_row *b, int64_t settled_nano, int64_t committed_nano)
{
    struct fill *f = ctx;
    char org[ID_TEXT_BYTES];

    if (!id_is_zero(b->workspace) || b->limit_nano_usd == 0 || f->n++ >= BUDGETS_MAX)
        return;
    id_text(b->org, org);
    buf_addf(f->out, "purser_budget_fill_ratio{org=\"%s\",period=\"%.*s\",mode=\"%s\"} %.4f\n", org,
        STR_ARG(budget_period_name(b->period)), b->hard ? "hard" : "warn",
        (double)settled_nano / (double)b->limit_nano_usd);
}

void
metrics_gauges(void *ctx, struct buf *out)
{
    struct metrics_sources *s = ctx;
    struct fill fill = {.out = out};
    char fingerprint[65];

    add_drain(s->drain, out);
    add_seconds(out, "purser_policy_age_seconds", "Since the policy was last confirmed.",
        edge_policy_age_ms(s->edge));
    add_number(out, "purser_gateway_up", "gauge", "1 while nginx's master lives.",
        edge_gateway_present(s->edge));
    metrics_head(out, "purser_budget_fill_ratio", "gauge",
        "Spent part of an org's budget in the period that runs.");
    budgets_each(s->budgets, add_budget, &fill);
    registry_fingerprint_hex(*s->registry, fingerprint);
    metrics_head(out, "purser_registry_info", "gauge", "The registry in force.");
    buf_addf(out, "purser_registry_info{fingerprint=\"%s\",version=\"%s\"} 1\n", fingerprint,
        PURSER_VERSION);
}
