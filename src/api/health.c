/* GET /health: open, and without anything that an outsider may not know. */
#include "api/isolation.h"
#include "api/impl.h"

static enum err
probe_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    bool *touched = ctx;

    *touched = !id_is_zero(store_tx_node(tx));
    return ERR_OK;
}

static json_t *
number_or_null(int64_t n)
{
    return n < 0 ? json_null() : json_integer(n);
}

/* Vendors that calls cannot reach now: their names do not resolve. */
static json_t *
unresolved(struct call *c)
{
    enum { MAX = 64 };
    struct str names[MAX];
    size_t n = edge_unresolved(c->api->o.edge, &c->http->arena, names, MAX);
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_str(names[i]));
    return list;
}

static json_t *
warnings(const struct api *a)
{
    json_t *list = json_array();

    isolation_warn(a, list);
    return list;
}

enum err
health_get(struct call *c, struct error *e)
{
    struct api *a = c->api;
    const struct registry *r = call_registry(c);
    struct api_health h = {.gateway_present = edge_gateway_present(a->o.edge),
        .policy_age_ms = edge_policy_age_ms(a->o.edge),
        .recorder_used = -1,
        .recorder_slots = -1,
        .recorder_waiting = -1,
        .drain_lag_ms = -1};
    struct error store_error;
    bool touched = false;
    json_t *j;

    if (a->o.health != NULL)
        a->o.health(a->o.health_ctx, &h);
    if (store_read(a->o.store, probe_tx, &touched, &store_error) != ERR_OK)
        h.not_ok = STR("the store is not available");
    else if (h.not_ok.n == 0 && !h.gateway_present)
        h.not_ok = STR("the gateway is not there");
    j = json_pack("{s:s, s:s, s:o, s:b, s:o, s:o, s:I, s:o}", "status",
        h.not_ok.n == 0 ? "ok" : "failing", "version", PURSER_VERSION, "registry_fingerprint",
        json_hex(r->fingerprint, sizeof(r->fingerprint)), "gateway", (int)h.gateway_present,
        "policy_age_ms", number_or_null(h.policy_age_ms), "recorder",
        json_pack("{s:o, s:o, s:o, s:o}", "used", number_or_null(h.recorder_used), "slots",
            number_or_null(h.recorder_slots), "waiting", number_or_null(h.recorder_waiting),
            "lag_ms", number_or_null(h.drain_lag_ms)),
        "uptime_ms", (json_int_t)(clock_ms() - a->started_ms), "vendors_unresolved", unresolved(c));
    json_object_set_new(j, "warnings", warnings(a));
    if (h.not_ok.n > 0)
        json_object_set_new(j, "error", json_str(h.not_ok));
    return call_answer(c, h.not_ok.n == 0 ? 200 : 503, j);
}
