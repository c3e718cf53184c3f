/* POST /workspaces/:id/pause and /resume: of the workspace and of all that stand below it. */
#include "api/agent.h"
#include "api/family.h"
#include "api/move.h"
#include "api/plan.h"
#include "api/wish.h"

/* Of the whole family: has the node of one of them yet to act? */
static bool
some_elsewhere(const struct call *c, const struct family *f)
{
    bool elsewhere = false;

    for (size_t i = 0; i < f->n; i++)
        elsewhere = elsewhere || wish_is_elsewhere(c->api, &f->rows[i]);
    return elsewhere;
}

enum err
workspace_pause(struct call *c, struct error *e)
{
    struct family f;
    int64_t paused = 1;
    bool elsewhere;
    enum err code = family_load(c->api, &c->http->arena, c->org, c->id, &f, e);

    if (code == ERR_OK && f.rows[0].desired == WORKSPACE_DESIRED_PAUSED)
        code = ERR_NOT_FOUND;
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found or already paused", e);
    /*
     * The one that was named first: nothing below it is started any more. Then those below it, as
     * they are by now. Those that are stopped stay so, and are not started when it is resumed.
     */
    code = agent_pause(c->api, c->org, c->id, e);
    if (code == ERR_OK)
        code = family_load(c->api, &c->http->arena, c->org, c->id, &f, e);
    if (code != ERR_OK)
        return code;
    for (size_t i = 1; i < f.n; i++) {
        if (f.rows[i].desired != WORKSPACE_DESIRED_RUNNING)
            continue;
        code = agent_pause(c->api, c->org, f.rows[i].id, e);
        if (code != ERR_OK && code != ERR_GONE)
            return code;
        paused++;
    }
    elsewhere = some_elsewhere(c, &f);
    return call_answer(c, elsewhere ? 202 : 200,
        json_pack("{s:s, s:I}", "status", elsewhere ? "pausing" : "paused", "paused_count",
            (json_int_t)paused));
}

struct await {
    struct call *c;
    const struct workspace_row *w;
};

static enum err
await_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct await *x = ctx;
    struct move m = {.org = x->w->org, .workspace = x->w->id, .event = LIFECYCLE_AWAIT};

    return move_tx(tx, &x->c->http->arena, &m, NULL, e);
}

static enum err
resume_one(struct call *c, const struct workspace_row *w, struct error *e)
{
    struct agent_request q = {
        .caller = GATHER_START, .org = c->org, .workspace = w->id, .resumes = true};
    struct await x = {c, w};

    if (plan_runtime_is_external(w->runtime))
        return store_tx(c->api->o.store, await_tx, &x, e);
    return agent_start(c->api, &c->registry->set, &c->http->arena, &q, e);
}

/* Parents come first. A refused start is told; those beside it are started all the same. */
enum err
workspace_resume(struct call *c, struct error *e)
{
    struct agent_request q = {.org = c->org, .workspace = c->id, .resumes = true};
    json_t *refused;
    struct family f;
    int64_t resumed = 0;
    enum err code = family_load(c->api, &c->http->arena, c->org, c->id, &f, e);

    if (code == ERR_OK && f.rows[0].desired != WORKSPACE_DESIRED_PAUSED)
        code = ERR_NOT_FOUND;
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found or not paused", e);
    code = agent_may_start(c->api, &c->http->arena, &q, e);
    if (code != ERR_OK)
        return code;
    refused = json_array();
    for (size_t i = 0; i < f.n; i++) {
        struct error why;

        if (f.rows[i].desired != WORKSPACE_DESIRED_PAUSED)
            continue;
        resumed++;
        if (resume_one(c, &f.rows[i], &why) == ERR_OK)
            continue;
        json_array_append_new(refused,
            json_pack("{s:o, s:o, s:s, s:s}", "id", json_id(f.rows[i].id), "name",
                json_str(f.rows[i].name), "code", err_name(why.code), "error", why.text));
    }
    return call_answer(c, some_elsewhere(c, &f) ? 202 : 200,
        json_pack("{s:s, s:I, s:o}", "status", "provisioning", "resumed_count", (json_int_t)resumed,
            "refused", refused));
}
