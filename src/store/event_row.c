#include "store/event_row.h"

#include "store/query.h"
#include "store/watch.h"

/* Counted in table heads, so that a follower who saw number n has seen all below it. */
static enum err
take_number(struct store_tx *tx, struct id org, int64_t *ret, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO heads (org_id, node_id, chain, seq, hash) VALUES ($1, '', 'event', 1, $2)"
        " ON CONFLICT (org_id, node_id, chain) DO UPDATE SET seq = heads.seq + 1 RETURNING seq");
    int64_t seq = 0;

    query_id(&q, org);
    query_blob(&q, "", 0);
    if (query_row(&q))
        seq = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = seq;
    return ERR_OK;
}

enum err
event_row_append(struct store_tx *tx, const struct event_row *ev, int64_t *ret_seq, struct error *e)
{
    char org[ID_TEXT_BYTES];
    int64_t seq = 0;
    struct query q;

    if (take_number(tx, ev->org, &seq, e) != ERR_OK)
        return e->code;
    q = query_start(tx,
        "INSERT INTO events (org_id, seq, workspace_id, type, details, created_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6)");
    query_id(&q, ev->org);
    query_int(&q, seq);
    query_id_or_null(&q, ev->workspace);
    query_text(&q, ev->type);
    query_text(&q, ev->json);
    query_int(&q, ev->created_ms);
    if (query_run(&q, e) != ERR_OK)
        return e->code;
    store_tx_note_event(tx, ev->org);
    id_text(ev->org, org);
    if (store_hint(tx, STORE_CHANGE_EVENT, str_from_cstr(org), e) != ERR_OK)
        return e->code;
    if (ret_seq != NULL)
        *ret_seq = seq;
    return ERR_OK;
}

enum err
event_row_head(struct store_tx *tx, struct id org, int64_t *ret, struct error *e)
{
    struct query q = query_start(
        tx, "SELECT seq FROM heads WHERE org_id = $1 AND node_id = '' AND chain = 'event'");
    int64_t seq = 0;

    query_id(&q, org);
    if (query_row(&q))
        seq = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = seq;
    return ERR_OK;
}

enum err
event_row_first(struct store_tx *tx, struct id org, int64_t *ret, struct error *e)
{
    struct query q =
        query_start(tx, "SELECT seq FROM events WHERE org_id = $1 ORDER BY seq LIMIT 1");
    int64_t first = 0;
    enum err err;

    query_id(&q, org);
    if (query_row(&q))
        first = query_get_int(&q);
    err = query_end(&q, e);
    if (err == ERR_OK && first == 0) {
        err = event_row_head(tx, org, &first, e);
        first++;
    }
    if (err == ERR_OK)
        *ret = first;
    return err;
}

#define COLUMNS "org_id, seq, workspace_id, type, details, created_ms"

static enum err
take_rows(struct query *q, struct arena *a, struct event_row **ret, size_t *ret_n, struct error *e)
{
    struct event_row *rows = NULL;
    size_t n = 0;

    while (query_row(q)) {
        struct event_row ev = {.org = query_get_id(q)};

        ev.seq = query_get_int(q);
        ev.workspace = query_get_id_or_zero(q);
        ev.type = query_get_text(q, a);
        ev.json = query_get_text(q, a);
        ev.created_ms = query_get_int(q);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = ev;
    }
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
event_row_list(struct store_tx *tx, struct id org, struct id workspace, int64_t after, size_t max,
    struct arena *a, struct event_row **ret, size_t *ret_n, struct error *e)
{
#define LIST "SELECT " COLUMNS " FROM events WHERE org_id = $1 AND seq > $2"
#define OLDEST " ORDER BY seq LIMIT $3"
    bool whole_org = id_is_zero(workspace);
    struct query q =
        query_start(tx, whole_org ? LIST OLDEST : LIST " AND workspace_id = $4" OLDEST);

    query_id(&q, org);
    query_int(&q, after);
    query_int(&q, (int64_t)max);
    if (!whole_org)
        query_id(&q, workspace);
    return take_rows(&q, a, ret, ret_n, e);
}

enum err
event_row_last(struct store_tx *tx, struct id org, struct id workspace, size_t max, struct arena *a,
    struct event_row **ret, size_t *ret_n, struct error *e)
{
#define LAST "SELECT " COLUMNS " FROM (SELECT " COLUMNS " FROM events WHERE org_id = $1"
#define NEWEST " ORDER BY seq DESC LIMIT $2) AS last ORDER BY seq"
    bool whole_org = id_is_zero(workspace);
    struct query q =
        query_start(tx, whole_org ? LAST NEWEST : LAST " AND workspace_id = $3" NEWEST);

    query_id(&q, org);
    query_int(&q, (int64_t)max);
    if (!whole_org)
        query_id(&q, workspace);
    return take_rows(&q, a, ret, ret_n, e);
}
