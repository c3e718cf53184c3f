/*
 * Corrections: when the vendor's bill tells what a call of uncertain cost really was. The ledger is
 * append-only, so the difference becomes a row of its own, at the time of the call.
 */
#include "api/impl.h"
#include "store/budget_lease.h"
#include "store/event_row.h"
#include "store/ledger_row.h"
#include "store/watch.h"

enum { REASON_MAX_BYTES = 500 };

struct correction {
    struct call *c;
    struct id call;
    int64_t attempt;
    struct str reason;
    struct usage usage; /* what it was in all */
    bool has_usage, has_cost;
    int64_t cost;
    struct ledger_entry booked; /* the correction */
};

static enum err
count_read(struct correction *k, const char *name, int64_t *ret, struct error *e)
{
    json_t *v = json_object_get(k->c->body, name);

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > USAGE_COUNT_MAX)
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" is a number of tokens", name);
    *ret = json_integer_value(v);
    k->has_usage = true;
    return ERR_OK;
}

static enum err
counts_read(struct correction *k, struct error *e)
{
    struct {
        const char *name;
        int64_t *count;
    } counts[] = {
        {"input_tokens", &k->usage.input},
        {"output_tokens", &k->usage.output},
        {"cache_read_tokens", &k->usage.cache_read},
        {"cache_write_5m_tokens", &k->usage.cache_write_5m},
        {"cache_write_1h_tokens", &k->usage.cache_write_1h},
        {"reasoning_tokens", &k->usage.reasoning},
        {"web_searches", &k->usage.web_searches},
    };
    enum err code = ERR_OK;

    for (size_t i = 0; code == ERR_OK && i < sizeof(counts) / sizeof(counts[0]); i++)
        code = count_read(k, counts[i].name, counts[i].count, e);
    return code;
}

static enum err
correction_read(struct correction *k, struct error *e)
{
    json_t *body = k->c->body, *attempt = json_object_get(body, "attempt"),
           *cost = json_object_get(body, "cost_nano_usd");
    struct str call = STR_NONE;
    enum err code = json_get_str(body, "call_id", &call, e);

    k->attempt = 1;
    if (code == ERR_OK)
        code = json_get_str(body, "reason", &k->reason, e);
    if (code == ERR_OK)
        code = counts_read(k, e);
    if (code != ERR_OK)
        return code;
    if (!id_parse(call, &k->call))
        return fail(e, ERR_INVALID_REQUEST, "\"call_id\" is the id of a call (purser usage)");
    if (k->reason.n == 0 || k->reason.n > REASON_MAX_BYTES)
        return fail(
            e, ERR_INVALID_REQUEST, "\"reason\" is needed, at most %d bytes", REASON_MAX_BYTES);
    if (attempt != NULL && (!json_is_integer(attempt) || json_integer_value(attempt) < 1))
        return fail(e, ERR_INVALID_REQUEST, "\"attempt\" is 1, 2 ...");
    if (attempt != NULL)
        k->attempt = json_integer_value(attempt);
    if (cost != NULL && (!json_is_integer(cost) || json_integer_value(cost) < 0))
        return fail(e, ERR_INVALID_REQUEST, "\"cost_nano_usd\" is an integer >= 0");
    k->has_cost = cost != NULL;
    k->cost = json_integer_value(cost);
    if (!k->has_usage && !k->has_cost)
        return fail(e, ERR_INVALID_REQUEST,
            "say what the call was: its tokens by kind (input_tokens ...), cost_nano_usd, or both");
    return ERR_OK;
}

/*
 * The booked row has one price, of the size that the prompt was taken for: what it really was may be
 * of another tier. The others are in the registry, as they stood when the call was opened.
 */
static const struct price *
find_tier(const struct registry *r, const struct ledger_entry *en, int64_t prompt_tokens)
{
    const struct registry_provider *p = registry_provider_find(r, str_from_cstr(en->provider));
    const char *const models[] = {en->model_vendor, en->model_answered};
    const struct price *found = NULL;

    for (size_t i = 0; p != NULL && found == NULL && i < sizeof(models) / sizeof(models[0]); i++) {
        const struct registry_vendor_model *m =
            registry_vendor_model_find(r, p, str_from_cstr(models[i]));

        if (m != NULL)
            found = price_find_beside(registry_vendor_prices(r, m), m->prices.n, en->opened_ms,
                &en->price, prompt_tokens);
    }
    return found;
}

static enum err
price_it(const struct correction *k, struct ledger_entry *en, int64_t *ret_cost, struct error *e)
{
    const struct price *tier = find_tier(call_registry(k->c), en, usage_prompt_tokens(&k->usage));

    if (tier == NULL)
        return fail(e, ERR_INVALID_REQUEST,
            "the registry has other prices for this call's model by now: say what the call cost "
            "(cost_nano_usd), beside its tokens");
    if (!price_cost(tier, &k->usage, ret_cost))
        return fail(e, ERR_INVALID_REQUEST, "no cost can be made of these tokens");
    en->price = *tier;
    return ERR_OK;
}

/* The correction of a row: the difference to what is booked. */
static enum err
make(struct correction *k, const struct ledger_entry *was, struct error *e)
{
    struct ledger_entry en = *was;
    int64_t cost = k->cost;

    if (!k->has_cost && price_it(k, &en, &cost, e) != ERR_OK)
        return e->code;
    en.kind = LEDGER_CORRECTION;
    en.certainty = LEDGER_EXACT;
    en.estimate = LEDGER_ESTIMATE_NONE;
    en.closed_ms = clock_ms();
    en.bound_nano_usd = 0;
    en.cost_nano_usd = cost - was->cost_nano_usd;
    en.usage = (struct usage){0};
    if (k->has_usage) {
        en.usage.input = k->usage.input - was->usage.input;
        en.usage.output = k->usage.output - was->usage.output;
        en.usage.cache_read = k->usage.cache_read - was->usage.cache_read;
        en.usage.cache_write_5m = k->usage.cache_write_5m - was->usage.cache_write_5m;
        en.usage.cache_write_1h = k->usage.cache_write_1h - was->usage.cache_write_1h;
        en.usage.reasoning = k->usage.reasoning - was->usage.reasoning;
        en.usage.web_searches = k->usage.web_searches - was->usage.web_searches;
    }
    k->booked = en;
    return ERR_OK;
}

static enum err
event_append(struct store_tx *tx, const struct correction *k, struct error *e)
{
    struct arena *a = &k->c->http->arena;
    json_t *details = json_pack("{s:o, s:I, s:I, s:o}", "call_id", json_id(k->call), "attempt",
        (json_int_t)k->attempt, "difference_nano_usd", (json_int_t)k->booked.cost_nano_usd,
        "reason", json_str(k->reason));
    char *text = json_dumps(details, JSON_COMPACT);
    struct event_row event = {.type = STR("ledger.corrected"),
        .json = arena_dup(a, str_from_cstr(text)),
        .created_ms = clock_ms()};

    json_wiping_free(text);
    json_decref(details);
    memcpy(event.org.b, k->booked.org_id, sizeof(event.org.b));
    memcpy(event.workspace.b, k->booked.workspace_id, sizeof(event.workspace.b));
    return event_row_append(tx, &event, NULL, e);
}

static enum err
notify_org(struct store_tx *tx, const struct correction *k, struct error *e)
{
    char org[ID_TEXT_BYTES];
    struct id id;

    memcpy(id.b, k->booked.org_id, sizeof(id.b));
    id_text(id, org);
    return store_notify(tx, STORE_CHANGE_BUDGETS, str_from_cstr(org), e);
}

static enum err
correct_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct correction *k = ctx;
    struct ledger_entry was;
    bool is_new = false;
    enum err code = ledger_row_find(tx, k->call, k->attempt, &was, e);

    if (code == ERR_NOT_FOUND)
        return fail(e, code, "there is no such call, or it has no attempt %lld (purser usage)",
            (long long)k->attempt);
    if (code == ERR_OK && was.certainty == LEDGER_EXACT)
        return fail(e, ERR_CONFLICT, "what this call cost is exact: there is nothing to correct");
    if (code == ERR_OK)
        code = make(k, &was, e);
    if (code == ERR_OK)
        code = ledger_row_append(tx, &k->booked, &is_new, e);
    if (code == ERR_OK && !is_new)
        return fail(e, ERR_CONFLICT, "this call was corrected before");
    if (code == ERR_OK)
        code = event_append(tx, k, e);
    /* What the call held back may be held by another node. */
    if (code == ERR_OK && store_is_shared(k->c->api->o.store))
        code = notify_org(tx, k, e);
    return code;
}

enum err
ledger_correct(struct call *c, struct error *e)
{
    struct correction k = {.c = c};
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = correction_read(&k, e);
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, correct_tx, &k, e);
    if (code != ERR_OK)
        return code;
    /* What a bound held back can be spent again. */
    if (c->api->o.budgets_recount != NULL) {
        struct id org;

        memcpy(org.b, k.booked.org_id, sizeof(org.b));
        c->api->o.budgets_recount(c->api->o.budgets_ctx, org);
    }
    return call_answer(c, 201,
        json_pack("{s:o, s:I, s:I}", "call_id", json_id(k.call), "attempt", (json_int_t)k.attempt,
            "difference_nano_usd", (json_int_t)k.booked.cost_nano_usd));
}
