#include "api/move.h"

#include "store/event_row.h"
#include "store/heartbeat_row.h"

struct str
move_details(struct arena *arena, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    struct str copy = arena_dup(arena, str_from_cstr(text));

    json_wiping_free(text);
    json_decref(j);
    return copy;
}

/* What is wanted after an event; most say nothing about it. */
static enum workspace_desired
desired_after(enum lifecycle_event event, enum workspace_desired now)
{
    switch (event) {
    case LIFECYCLE_START:
    case LIFECYCLE_REFUSE:
    case LIFECYCLE_AWAIT:
        return WORKSPACE_DESIRED_RUNNING;
    case LIFECYCLE_STOP:
    case LIFECYCLE_END_DONE:
        return WORKSPACE_DESIRED_STOPPED;
    case LIFECYCLE_PAUSE:
        return WORKSPACE_DESIRED_PAUSED;
    default:
        return now;
    }
}

/* Does what the agent said of itself end with this event? */
static bool
silences(enum lifecycle_event event)
{
    return event == LIFECYCLE_START || event == LIFECYCLE_STOP || event == LIFECYCLE_PAUSE ||
        event == LIFECYCLE_REFUSE || event == LIFECYCLE_TIMEOUT || event == LIFECYCLE_END_AGAIN ||
        event == LIFECYCLE_END_FAIL || event == LIFECYCLE_END_DONE;
}

static struct workspace_life
life_after(const struct workspace_row *w, const struct move *m, enum workspace_status next)
{
    struct workspace_life life = {.desired = desired_after(m->event, w->desired),
        .status = next,
        .error_code = m->code,
        .error_text = m->text,
        .restarts = w->restarts,
        .start_due_ms = w->start_due_ms};

    if (m->event == LIFECYCLE_START) {
        life.start_due_ms = 0;
        life.restarts = m->counts_on ? w->restarts : 0;
    } else if (m->event == LIFECYCLE_END_AGAIN) {
        life.start_due_ms = m->due_ms;
        life.restarts = m->restarts;
    } else if (silences(m->event)) {
        life.start_due_ms = 0;
        life.restarts = 0;
    }
    return life;
}

static enum err
impossible(const struct workspace_row *w, const struct move *m, struct error *e)
{
    if (w->status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    return fail(e, ERR_CONFLICT, "the workspace is %.*s: %.*s is not possible now",
        STR_ARG(workspace_status_name(w->status)), STR_ARG(lifecycle_event_name(m->event)));
}

static enum err
write_move(struct store_tx *tx, const struct workspace_row *w, const struct move *m,
    enum workspace_status next, struct error *e)
{
    struct workspace_life life = life_after(w, m, next);
    struct event_row event = {.org = w->org,
        .workspace = w->id,
        .type = lifecycle_told(m->event),
        .json = m->details.n == 0 ? STR("{}") : m->details,
        .created_ms = clock_ms()};
    enum err code;

    if (next == WORKSPACE_REMOVED)
        code = workspace_row_remove(tx, w->org, w->id, e);
    else
        code = workspace_row_set_life(tx, w->org, w->id, &life, e);
    if (code == ERR_OK && silences(m->event))
        code = heartbeat_row_reset(tx, w->org, w->id, e);
    return code != ERR_OK ? code : event_row_append(tx, &event, NULL, e);
}

enum err
move_tx(struct store_tx *tx, struct arena *arena, const struct move *m,
    enum lifecycle_effect *ret_effect, struct error *e)
{
    struct workspace_row w;
    enum workspace_status next;
    enum lifecycle_effect effect;
    enum err code = workspace_row_get(tx, m->org, m->workspace, arena, &w, e);

    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    effect = lifecycle_next(w.status, m->event, &next);
    if (effect == LIFECYCLE_IMPOSSIBLE)
        return impossible(&w, m, e);
    if (effect == LIFECYCLE_MOVES)
        code = write_move(tx, &w, m, next, e);
    if (code == ERR_OK && ret_effect != NULL)
        *ret_effect = effect;
    return code;
}

enum err
move_wish_tx(struct store_tx *tx, struct arena *arena, struct id org, struct id workspace,
    enum workspace_desired desired, int64_t start_due_ms, struct error *e)
{
    struct workspace_row w;
    struct workspace_life life;
    enum err code = workspace_row_get(tx, org, workspace, arena, &w, e);

    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    life = (struct workspace_life){.desired = desired,
        .status = w.status,
        .error_code = w.last_error_code,
        .error_text = w.last_error,
        .restarts = w.restarts,
        .start_due_ms = start_due_ms};
    return workspace_row_set_life(tx, org, workspace, &life, e);
}
