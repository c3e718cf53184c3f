#include "api/heartbeat.h"

#include "api/agent.h"
#include "api/move.h"
#include "api/plan.h"
#include "api/redact.h"
#include "api/url.h"
#include "store/event_row.h"
#include "store/heartbeat_row.h"

enum { TEXT_MAX_BYTES = 1000, CARD_MAX_BYTES = 32 * 1024 };

/* One message of an agent. */
struct message {
    struct call *c;
    struct arena *arena;
    struct redactor redactor;
    enum lifecycle_event event;   /* REGISTER or HEARTBEAT */
    enum lifecycle_event verdict; /* what the figures say; HEARTBEAT: nothing */
    bool says_configured, configured;
    struct str reason;
    struct str report;  /* JSON; empty: none */
    struct str card;    /* JSON; empty: none */
    struct str url;     /* empty: none */
    struct str trouble; /* for degraded: what it complains about */
};

static void
message_done(struct message *m)
{
    redactor_done(&m->redactor);
}
#define AUTO_MESSAGE AUTO(message_done)

/* The workspace is the token's; a body that names another one names nothing that is there. */
static enum err
message_begin(struct message *m, const char *id_field, struct error *e)
{
    struct call *c = m->c;
    struct str text = STR_NONE;
    struct id id;
    enum err code = call_body(c, false, e);

    m->arena = &c->http->arena;
    c->id = c->principal.workspace;
    m->redactor = (struct redactor){.call = c, .workspace = c->id};
    if (code == ERR_OK)
        code = json_get_str(c->body, id_field, &text, e);
    if (code != ERR_OK)
        return code;
    if (text.n == 0)
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" is required", id_field);
    if (!id_parse(text, &id) || !id_equal(id, c->id))
        return fail(e, ERR_NOT_FOUND, "workspace not found");
    return ERR_OK;
}

/* At most TEXT_MAX_BYTES, and no half of a character at the end. */
static struct str
cut(struct str text)
{
    size_t n = text.n < TEXT_MAX_BYTES ? text.n : TEXT_MAX_BYTES;

    while (n > 0 && n < text.n && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--;
    return str_slice(text, 0, n);
}

/* A text of the agent, without secrets. */
static enum err
text_take(struct message *m, const char *name, struct str *ret, struct error *e)
{
    struct str text = STR_NONE;
    enum err code = json_get_str(m->c->body, name, &text, e);

    if (code == ERR_OK && text.n > 0)
        *ret = cut(redact(&m->redactor, text));
    return code;
}

/* A number that is not there is 0. */
static enum err
number_take(const json_t *body, const char *name, double max, double *ret, struct error *e)
{
    const json_t *v = json_object_get(body, name);

    if (v != NULL && !json_is_null(v) && !json_is_number(v))
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" must be a number", name);
    *ret = v == NULL ? 0 : json_number_value(v);
    if (!(*ret >= 0))
        *ret = 0;
    if (*ret > max)
        *ret = max;
    return ERR_OK;
}

static enum err
figures_take(struct message *m, struct error *e)
{
    struct str sample = STR_NONE, task = STR_NONE, state = STR_NONE;
    double error_rate = 0, active = 0, uptime = 0;
    enum err code = number_take(m->c->body, "error_rate", 1, &error_rate, e);

    if (code == ERR_OK)
        code = number_take(m->c->body, "active_tasks", 1e6, &active, e);
    if (code == ERR_OK)
        code = number_take(m->c->body, "uptime_seconds", 1e12, &uptime, e);
    if (code == ERR_OK)
        code = text_take(m, "sample_error", &sample, e);
    if (code == ERR_OK)
        code = text_take(m, "current_task", &task, e);
    if (code == ERR_OK)
        code = text_take(m, "runtime_state", &state, e);
    if (code != ERR_OK)
        return code;
    m->verdict = lifecycle_judge_errors(
        (int64_t)(error_rate * 1000 + 0.5), str_equal(state, STR("wedged")), state.n == 0);
    m->trouble = str_equal(state, STR("wedged"))
        ? STR("it is wedged")
        : arena_printf(m->arena, "%.0f %% of its work fails", error_rate * 100);
    if (sample.n > 0)
        m->trouble = arena_printf(m->arena, "%.*s: %.*s", STR_ARG(m->trouble), STR_ARG(sample));
    m->report = move_details(m->arena,
        json_pack("{s:f, s:o, s:I, s:I, s:o, s:o}", "error_rate", error_rate, "sample_error",
            json_str_or_null(sample), "active_tasks", (json_int_t)active, "uptime_seconds",
            (json_int_t)uptime, "current_task", json_str_or_null(task), "runtime_state",
            json_str_or_null(state)));
    return ERR_OK;
}

static enum err
configured_take(struct message *m, struct error *e)
{
    json_t *v = json_object_get(m->c->body, "configured");

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_boolean(v))
        return fail(e, ERR_INVALID_REQUEST, "\"configured\" must be true or false");
    m->says_configured = true;
    m->configured = json_is_true(v);
    return m->configured ? ERR_OK : text_take(m, "reason", &m->reason, e);
}

static enum err
card_take(struct message *m, struct error *e)
{
    json_t *card = json_object_get(m->c->body, "agent_card");

    if (!json_is_object(card))
        return fail(e, ERR_INVALID_REQUEST, "\"agent_card\" is required: an object");
    /* Its texts one by one: in JSON's spelling a secret with a quote or a line end looks different. */
    m->card = move_details(m->arena, redact_json(&m->redactor, card));
    if (m->card.n > CARD_MAX_BYTES)
        return fail(
            e, ERR_PAYLOAD_TOO_LARGE, "the agent's card has at most %d bytes", CARD_MAX_BYTES);
    return ERR_OK;
}

static enum err
tell(struct store_tx *tx, const struct workspace_row *w, struct str type, struct str details,
    struct error *e)
{
    struct event_row event = {
        .org = w->org, .workspace = w->id, .type = type, .json = details, .created_ms = clock_ms()};

    return event_row_append(tx, &event, NULL, e);
}

/* What it says of its set-up, when it says something new. */
static enum err
tell_configured(struct store_tx *tx, const struct message *m, const struct workspace_row *w,
    const struct heartbeat_row *before, struct error *e)
{
    if (!m->says_configured ||
        (before->says_configured && before->configured == m->configured &&
            str_equal(before->reason, m->reason)))
        return ERR_OK;
    return tell(tx, w, m->configured ? STR("AGENT_CONFIGURED") : STR("AGENT_NOT_CONFIGURED"),
        move_details(m->arena, json_pack("{s:o}", "reason", json_str_or_null(m->reason))), e);
}

static enum err
put_row(
    struct store_tx *tx, const struct message *m, const struct workspace_row *w, struct error *e)
{
    struct heartbeat_row h;
    enum err code = heartbeat_row_get(tx, w->org, w->id, m->arena, &h, e);

    if (code == ERR_OK)
        code = tell_configured(tx, m, w, &h, e);
    if (code == ERR_OK && m->card.n > 0 && h.card.n > 2 && !str_equal(h.card, m->card))
        code = tell(tx, w, STR("AGENT_CARD_UPDATED"), STR("{}"), e);
    if (code != ERR_OK)
        return code;
    h.seen_ms = clock_ms();
    if (m->says_configured) {
        h.says_configured = true;
        h.configured = m->configured;
        h.reason = m->reason;
    }
    if (m->report.n > 0)
        h.report = m->report;
    if (m->card.n > 0)
        h.card = m->card;
    return heartbeat_row_put(tx, &h, e);
}

/* Of a launched one only what really runs is heard: a late message must not bring it back. */
static enum err
runs_check(const struct message *m, const struct workspace_row *w, struct error *e)
{
    struct api *a = m->c->api;

    if (plan_runtime_is_external(w->runtime) || !id_equal(w->node, store_node(a->o.store)) ||
        agent_runs(a, w->id))
        return ERR_OK;
    return fail(e, ERR_CONFLICT, "the workspace is %.*s: no agent of it runs",
        STR_ARG(workspace_status_name(w->status)));
}

static enum err
move_by(struct store_tx *tx, const struct message *m, enum lifecycle_event event, struct error *e)
{
    struct move move = {.org = m->c->org, .workspace = m->c->id, .event = event};

    if (event == LIFECYCLE_DEGRADE) {
        move.code = STR("AGENT_DEGRADED");
        move.text = arena_printf(m->arena, "the agent says: %.*s", STR_ARG(m->trouble));
        move.details = m->report;
    }
    return move_tx(tx, m->arena, &move, NULL, e);
}

static enum err
url_put(struct store_tx *tx, const struct message *m, struct workspace_row *w, struct error *e)
{
    /* The platform's own address for it stays. */
    if (m->url.n == 0 || str_equal(m->url, w->url) ||
        str_starts_with(w->url, STR("http://127.0.0.1")))
        return ERR_OK;
    w->url = m->url;
    return workspace_row_update(tx, w, e);
}

static enum err
message_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct message *m = ctx;
    struct workspace_row w;
    enum err code = workspace_row_get(tx, m->c->org, m->c->id, m->arena, &w, e);

    if (code == ERR_OK && w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    if (code == ERR_OK)
        code = runs_check(m, &w, e);
    if (code == ERR_OK)
        code = url_put(tx, m, &w, e);
    if (code == ERR_OK)
        code = move_by(tx, m, m->event, e);
    if (code == ERR_OK && m->verdict != LIFECYCLE_HEARTBEAT)
        code = move_by(tx, m, m->verdict, e);
    if (code == ERR_OK)
        code = put_row(tx, m, &w, e);
    return call_not_found(code, "workspace not found", e);
}

enum err
agent_heartbeat(struct call *c, struct error *e)
{
    AUTO_MESSAGE struct message m = {.c = c, .event = LIFECYCLE_HEARTBEAT};
    enum err code = message_begin(&m, "workspace_id", e);

    if (code == ERR_OK)
        code = figures_take(&m, e);
    if (code == ERR_OK)
        code = configured_take(&m, e);
    if (code == ERR_OK)
        code = store_tx(c->api->o.store, message_tx, &m, e);
    return code != ERR_OK ? code : call_answer(c, 200, json_pack("{s:s}", "status", "ok"));
}

enum err
agent_register(struct call *c, struct error *e)
{
    AUTO_MESSAGE struct message m = {
        .c = c, .event = LIFECYCLE_REGISTER, .verdict = LIFECYCLE_HEARTBEAT};
    struct str delivery = STR("push"), url = STR_NONE;
    enum err code = message_begin(&m, "id", e);

    if (code == ERR_OK)
        code = card_take(&m, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "delivery_mode", &delivery, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "url", &url, e);
    if (code != ERR_OK)
        return code;
    if (!str_equal(delivery, STR("push")) && !str_equal(delivery, STR("poll")))
        return fail(e, ERR_INVALID_REQUEST, "delivery_mode must be 'push' or 'poll'");
    if (url.n == 0 && str_equal(delivery, STR("push")))
        return fail(e, ERR_INVALID_REQUEST, "\"url\" is required unless delivery_mode is \"poll\"");
    code = url.n == 0 ? ERR_OK : url_check(url, e);
    m.url = url;
    if (code == ERR_OK)
        code = store_tx(c->api->o.store, message_tx, &m, e);
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:s, s:o}", "status", "registered", "delivery_mode", json_str(delivery)));
}

static enum err
card_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct message *m = ctx;
    struct heartbeat_row h;
    struct workspace_row w = {.org = m->c->org, .id = m->c->id};
    enum err code = heartbeat_row_get(tx, w.org, w.id, m->arena, &h, e);

    if (code != ERR_OK)
        return code;
    h.card = m->card;
    code = heartbeat_row_put(tx, &h, e);
    return code != ERR_OK ? code : tell(tx, &w, STR("AGENT_CARD_UPDATED"), STR("{}"), e);
}

enum err
agent_card_update(struct call *c, struct error *e)
{
    AUTO_MESSAGE struct message m = {.c = c};
    enum err code = message_begin(&m, "workspace_id", e);

    if (code == ERR_OK)
        code = card_take(&m, e);
    if (code == ERR_OK)
        code = store_tx(c->api->o.store, card_tx, &m, e);
    return code != ERR_OK ? code : call_answer(c, 200, json_pack("{s:s}", "status", "updated"));
}

struct heard {
    struct call *c;
    struct id workspace;
    struct heartbeat_row row;
};

static enum err
heard_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct heard *h = ctx;

    return heartbeat_row_get(tx, h->c->org, h->workspace, &h->c->http->arena, &h->row, e);
}

enum err
heartbeat_json(struct call *c, struct id workspace, json_t **ret, struct error *e)
{
    struct heard h = {.c = c, .workspace = workspace};
    enum err code = store_read(c->api->o.store, heard_tx, &h, e);
    json_t *j, *report;

    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o, s:o, s:o}", "seen_at", json_ms(h.row.seen_ms), "configured",
        h.row.says_configured ? json_boolean(h.row.configured) : json_null(), "reason",
        json_str_or_null(h.row.reason));
    report = json_loadb(h.row.report.p, h.row.report.n, 0, NULL);
    json_object_update_missing(j, report);
    json_decref(report);
    json_object_set_new(j, "card", json_loadb(h.row.card.p, h.row.card.n, 0, NULL));
    *ret = j;
    return ERR_OK;
}
