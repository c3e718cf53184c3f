/*
 * What happened, for people and consoles: GET /events and GET /workspaces/:id/events, as a stream
 * of server-sent events or as a list, as the Accept header asks.
 */
#include "api/stream.h"

#include "core/num.h"
#include "store/event_row.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 1000 };

struct query {
    struct call *c;
    struct id workspace; /* zero: all of the org's */
    int64_t after;       /* negative: from now on */
    int64_t limit;
    int64_t head;  /* the org's last number */
    int64_t first; /* and that of the oldest one that is kept */
    struct event_row *rows;
    size_t n;
};

static bool
accepts(const struct call *c, struct str type)
{
    struct str accept = http_header_get(c->http, "Accept");

    return accept.n > 0 && memmem(accept.p, accept.n, type.p, type.n) != NULL;
}

/* Last-Event-ID, as a browser sends it when it comes back, goes before ?after=. */
static enum err
read_query(struct query *q, struct error *e)
{
    struct str text = str_trim(http_header_get(q->c->http, "Last-Event-ID"));

    if ((text.n > 0 || http_query_get(q->c->http, STR("after"), &text)) &&
        (!num_parse_i64(text, &q->after) || q->after < 0)) {
        return fail(e, ERR_INVALID_REQUEST,
            "Last-Event-ID and ?after= take the id of an event: a number from 0 on");
    }
    if (http_query_get(q->c->http, STR("limit"), &text) &&
        (!num_parse_i64(text, &q->limit) || q->limit < 1 || q->limit > LIST_MAX))
        return fail(e, ERR_INVALID_REQUEST, "?limit= is a number from 1 to %d", LIST_MAX);
    return ERR_OK;
}

static enum err
head_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct query *q = ctx;
    struct workspace_row w;
    enum err code = ERR_OK;

    /* Also of a removed one: it is what people look up afterwards. */
    if (!id_is_zero(q->workspace))
        code = workspace_row_get(tx, q->c->org, q->workspace, &q->c->http->arena, &w, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    code = event_row_first(tx, q->c->org, &q->first, e);
    return code != ERR_OK ? code : event_row_head(tx, q->c->org, &q->head, e);
}

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct query *q = ctx;
    struct arena *arena = &q->c->http->arena;

    if (q->after < 0)
        return event_row_last(
            tx, q->c->org, q->workspace, (size_t)q->limit, arena, &q->rows, &q->n, e);
    return event_row_list(
        tx, q->c->org, q->workspace, q->after, (size_t)q->limit, arena, &q->rows, &q->n, e);
}

/* The last ones, or with ?after= the first ones above it; last_id goes into the next request. */
static enum err
answer_list(struct query *q, struct error *e)
{
    enum err code = store_read(q->c->api->o.store, list_tx, q, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < q->n; i++)
        json_array_append_new(list, event_json(&q->rows[i]));
    return call_answer(q->c, 200,
        json_pack("{s:o, s:I, s:I}", "events", list, "first_kept_id", (json_int_t)q->first,
            "last_id",
            (json_int_t)(q->n > 0        ? q->rows[q->n - 1].seq
                    : q->after > q->head ? q->head
                    : q->after < 0       ? q->head
                                         : q->after)));
}

static enum err
events(struct call *c, struct id workspace, bool streams, struct error *e)
{
    struct query q = {.c = c, .workspace = workspace, .after = -1, .limit = LIST_DEFAULT};
    enum err code = read_query(&q, e);

    if (code == ERR_OK)
        code = store_read(c->api->o.store, head_tx, &q, e);
    if (code != ERR_OK)
        return code;
    if (!streams)
        return answer_list(&q, e);
    if (!http_may_stream(c->http))
        return fail(e, ERR_NOT_FOUND, "streams are served on a socket of their own");
    /* A number above the last one is from a store that is no more. */
    return stream_open(
        c, workspace, q.after < 0 || q.after > q.head ? q.head : q.after, q.first, e);
}

enum err
events_of_org(struct call *c, struct error *e)
{
    return events(c, (struct id){0}, !accepts(c, STR("application/json")), e);
}

enum err
events_of_workspace(struct call *c, struct error *e)
{
    return events(c, c->id, accepts(c, STR("text/event-stream")), e);
}
