/* What is due for agents while they live: readiness, time-outs, silence, automatic starts. */
#include "api/agent.h"

#include "api/care.h"
#include "api/move.h"
#include "api/wish.h"
#include "store/heartbeat_row.h"
#include "store/token_row.h"

enum {
    READY_MS = 1000,
    HEARTBEAT_TIMEOUT_MS = 180 * 1000,
    RETRY_MS = 1000, /* after the store failed us */
    PATIENCE_MS = 30 * 1000,
    PATIENCE_STEP_MS = 100,
};

static int64_t
or_default(int64_t set, int64_t otherwise)
{
    return set == 0 ? otherwise : set;
}

void
agent_tend(struct api *a, const struct workspace_row *w, struct id start, int64_t ran_ms)
{
    struct lifecycle_care care = care_of(a, w);
    bool registers = care.readiness == READINESS_REGISTER;
    int64_t due = registers ? care.start_timeout_ms : or_default(a->o.ready_ms, READY_MS);
    int64_t wait = due - ran_ms;

    later_put(
        a, registers ? LATER_TIMEOUT : LATER_READY, w->org, w->id, start, wait < 0 ? 0 : wait);
}

/* Every function that is called when its time has come looks first at what is true by then. */
struct due {
    struct api *api;
    const struct later_entry *entry;
    struct arena arena;
    struct workspace_row row;
    bool acts;
};

static void
due_done(struct due *d)
{
    arena_done(&d->arena);
}
#define AUTO_DUE AUTO(due_done)

static enum err
due_row_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct due *d = ctx;
    enum err code =
        workspace_row_get(tx, d->entry->org, d->entry->workspace, &d->arena, &d->row, e);

    if (code == ERR_OK && wish_is_elsewhere(d->api, &d->row))
        return fail(e, ERR_CONFLICT, "another node has taken this workspace over");
    return code;
}

/* A store that fails is tried again; what is gone is gone. */
static void
put_again(struct api *a, const struct later_entry *entry, enum err code, const struct error *e)
{
    char ws[ID_TEXT_BYTES + 3] = "ws=";

    if (code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_GONE || code == ERR_CONFLICT)
        return;
    id_text(entry->workspace, ws + 3);
    log_warn(ws, "put off code=%s: %s", err_name(code), e->text);
    later_put(a, entry->kind, entry->org, entry->workspace, entry->start, RETRY_MS);
}

static enum err
ready_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct due *d = ctx;
    struct move m = {
        .org = d->entry->org, .workspace = d->entry->workspace, .event = LIFECYCLE_READY};
    enum err code = due_row_tx(tx, d, e);

    if (code != ERR_OK || d->row.status != WORKSPACE_PROVISIONING ||
        agent_run_is_stale(d->api, d->entry->workspace, d->entry->start))
        return code;
    return move_tx(tx, &d->arena, &m, NULL, e);
}

void
agent_ready_due(struct api *a, const struct later_entry *entry)
{
    AUTO_DUE struct due d = {.api = a, .entry = entry};
    struct error e;

    /* Its end may be known and not yet booked. */
    if (agent_runs(a, entry->workspace))
        put_again(a, entry, store_tx(a->o.store, ready_tx, &d, &e), &e);
}

/* The row fails first, and the agent is then ended: who registers in between comes too late. */
static enum err
timeout_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct due *d = ctx;
    struct move m = {.org = d->entry->org,
        .workspace = d->entry->workspace,
        .event = LIFECYCLE_TIMEOUT,
        .code = STR("START_TIMEOUT")};
    enum err code = due_row_tx(tx, d, e);
    long long seconds;

    d->acts = false;
    if (code != ERR_OK || d->row.status != WORKSPACE_PROVISIONING ||
        agent_run_is_stale(d->api, d->entry->workspace, d->entry->start))
        return code;
    seconds = care_of(d->api, &d->row).start_timeout_ms / 1000;
    m.text = arena_printf(&d->arena,
        "provisioning timed out: the agent was started but did not call /registry/register within "
        "%lld s. See its log (purser workspace logs) and whether it reaches PLATFORM_URL, then "
        "start it again",
        seconds);
    m.details = move_details(&d->arena,
        json_pack("{s:s, s:o, s:s, s:I, s:o}", "code", "START_TIMEOUT", "error", json_str(m.text),
            "source", "provision_timeout_sweep", "timeout_secs", (json_int_t)seconds, "runtime",
            json_str(d->row.runtime)));
    code = move_tx(tx, &d->arena, &m, NULL, e);
    d->acts = code == ERR_OK;
    return code != ERR_OK ? code
                          : agent_tokens_revoke_tx(d->api, tx, &d->arena, d->entry->org,
                                d->entry->workspace, d->entry->start, e);
}

void
agent_timeout_due(struct api *a, const struct later_entry *entry)
{
    AUTO_DUE struct due d = {.api = a, .entry = entry};
    pthread_mutex_t *lock = api_workspace_lock(a, entry->workspace);
    struct error e;
    enum err code;

    pthread_mutex_lock(lock);
    code = store_tx(a->o.store, timeout_tx, &d, &e);
    if (code == ERR_OK && d.acts)
        code = launch_stop(a->launcher, entry->workspace, or_default(a->o.stop_grace_ms, 5000), &e);
    pthread_mutex_unlock(lock);
    /* It has failed already and still runs: that is to be settled, not to be timed out again. */
    if (code != ERR_OK && d.acts)
        later_put(a, LATER_SETTLE, entry->org, entry->workspace, (struct id){0}, RETRY_MS);
    else
        put_again(a, entry, code, &e);
}

void
agent_settle_due(struct api *a, const struct later_entry *entry)
{
    struct error e;
    enum err code = agent_settle(a, entry->org, entry->workspace, &e);

    put_again(a, entry, code, &e);
}

void
agent_act_later(struct api *a, const struct agent_request *q, agent_start_fn *act, const char *why)
{
    struct registry_ref *registry = api_registry_acquire(a);
    AUTO_ARENA struct arena arena = {0};
    char ws[ID_TEXT_BYTES + 3] = "ws=";
    struct error e;
    enum err code;

    id_text(q->workspace, ws + 3);
    code = act(a, &registry->set, &arena, q, &e);
    api_registry_release(a, registry);
    if (code == ERR_OK || code == ERR_NOT_FOUND || code == ERR_GONE)
        return;
    if (code == ERR_MISSING_PLATFORM_PROXY && agent_is_patient(a, q)) {
        later_put(a, LATER_START, q->org, q->workspace, (struct id){0}, PATIENCE_STEP_MS);
        return;
    }
    /* Stopped, failed or started by somebody else meanwhile: nothing that people must see. */
    if (code == ERR_CONFLICT)
        log_debug(ws, "%s: %s", why, e.text);
    else
        log_warn(ws, "%s: code=%s: %s", why, err_name(code), e.text);
    /* A restart that did not get to its wish is one that nothing else remembers. */
    if (code == ERR_STORE_UNAVAILABLE)
        later_put(a, act == agent_restart ? LATER_RESTART : LATER_START, q->org, q->workspace,
            (struct id){0}, RETRY_MS);
}

bool
agent_is_patient(struct api *a, const struct agent_request *q)
{
    return q->automatic && clock_ms() - a->started_ms < PATIENCE_MS;
}

void
agent_start_due(struct api *a, const struct later_entry *entry)
{
    struct agent_request q = {.caller = GATHER_START,
        .org = entry->org,
        .workspace = entry->workspace,
        .automatic = true};

    agent_act_later(a, &q, agent_start, "automatic start");
}

struct sweep {
    struct arena arena;
    int64_t before_ms, external_before_ms;
    struct heartbeat_missed *rows;
    size_t n;
    const struct heartbeat_missed *row; /* the one that missed_tx moves */
};

static void
sweep_done(struct sweep *s)
{
    arena_done(&s->arena);
}

static enum err
sweep_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct sweep *s = ctx;

    return heartbeat_row_missed(
        tx, s->before_ms, s->external_before_ms, &s->arena, &s->rows, &s->n, e);
}

static enum err
missed_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct sweep *s = ctx;
    struct move m = {.org = s->row->org,
        .workspace = s->row->workspace,
        .event = LIFECYCLE_MISS,
        .code = STR("HEARTBEAT_MISSED"),
        .text = STR("its agent sends heartbeats no more; it is online again with the next one"),
        .details = STR("{\"code\":\"HEARTBEAT_MISSED\"}")};
    struct heartbeat_row h;
    enum err code = heartbeat_row_get(tx, m.org, m.workspace, &s->arena, &h, e);

    if (code != ERR_OK || h.seen_ms != s->row->seen_ms)
        return code; /* one came meanwhile */
    code = move_tx(tx, &s->arena, &m, NULL, e);
    return code == ERR_CONFLICT || code == ERR_GONE ? ERR_OK : code;
}

static int64_t
heartbeat_timeout_ms(const struct api *a)
{
    return or_default(a->o.heartbeat_timeout_ms, HEARTBEAT_TIMEOUT_MS);
}

void
agent_sweep_begin(struct api *a)
{
    int64_t step = heartbeat_timeout_ms(a) / 10;

    later_put(a, LATER_SWEEP, (struct id){0}, (struct id){0}, (struct id){0},
        step < 100        ? 100
            : step > 5000 ? 5000
                          : step);
}

void
agent_sweep_due(struct api *a, const struct later_entry *entry)
{
    AUTO(sweep_done) struct sweep s = {0};
    struct error e;
    enum err code;

    s.before_ms = clock_ms() - heartbeat_timeout_ms(a);
    s.external_before_ms = clock_ms() - heartbeat_timeout_ms(a) / 2;
    code = store_read(a->o.store, sweep_tx, &s, &e);
    for (size_t i = 0; code == ERR_OK && i < s.n; i++) {
        s.row = &s.rows[i];
        code = store_tx(a->o.store, missed_tx, &s, &e);
    }
    if (code != ERR_OK)
        log_warn("api", "the agents' heartbeats could not be looked at: %s", e.text);
    agent_sweep_begin(a);
}
