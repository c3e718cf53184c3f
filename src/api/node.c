/*
 * The machines on one store. A node is its own affair while it lives; one that is gone for good is
 * given up here: the node that is asked takes its workspaces over, and does for their agents what it
 * does after a failure of its own machine.
 */
#include "api/agent.h"
#include "store/node_row.h"

enum { SILENT_MS = 30 * 1000 }; /* a node that lives is heard of every ten seconds */

struct forget {
    struct call *c;
    struct id node;
    struct node_row *rows;
    size_t n;
    struct id *moved;
    size_t moved_n;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct forget *f = ctx;

    return node_row_list(tx, &f->c->http->arena, &f->rows, &f->n, e);
}

static bool
is_silent(const struct node_row *n)
{
    return clock_ms() - n->last_seen_ms >= SILENT_MS;
}

enum err
node_list(struct call *c, struct error *e)
{
    struct forget f = {.c = c};
    enum err code = store_read(c->api->o.store, list_tx, &f, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < f.n; i++) {
        const struct node_row *n = &f.rows[i];

        json_array_append_new(list,
            json_pack("{s:o, s:b, s:s, s:o, s:o, s:I, s:I}", "id", json_id(n->id), "self",
                (int)id_equal(n->id, store_node(c->api->o.store)), "state",
                is_silent(n) ? "silent" : "alive", "created_at", json_ms(n->created_ms),
                "last_seen_at", json_ms(n->last_seen_ms), "workspaces", (json_int_t)n->workspaces,
                "agents_up", (json_int_t)n->up));
    }
    return call_answer(c, 200, json_pack("{s:o}", "nodes", list));
}

static enum err
forget_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct forget *f = ctx;
    const struct node_row *found = NULL;
    enum err code = list_tx(tx, f, e);

    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < f->n; i++) {
        if (id_equal(f->rows[i].id, f->node))
            found = &f->rows[i];
    }
    if (found == NULL)
        return fail(e, ERR_NOT_FOUND, "there is no such node (purser node list)");
    if (id_equal(f->node, store_tx_node(tx)))
        return fail(e, ERR_CONFLICT, "this is the node that was asked: it is not lost");
    if (!is_silent(found)) {
        return fail(e, ERR_CONFLICT,
            "the node was heard of less than %d s ago: stop its purser and its agents first",
            SILENT_MS / 1000);
    }
    return node_row_take_over(tx, f->node, &f->c->http->arena, &f->moved, &f->moved_n, e);
}

/* The rows are ours once that is through: should we die then, our next start does the rest. */
enum err
node_forget(struct call *c, struct error *e)
{
    struct forget f = {.c = c};
    enum err code;

    if (!id_parse(c->name, &f.node))
        return fail(e, ERR_NOT_FOUND, "there is no such node (purser node list)");
    code = store_tx_durable(c->api->o.store, forget_tx, &f, e);
    if (code == ERR_OK)
        code = agent_take_over(c->api, f.moved, f.moved_n, e);
    if (code != ERR_OK)
        return code;
    log_warn(
        "api", "a node was given up, its workspaces are this node's now workspaces=%zu", f.moved_n);
    return call_answer(c, 200,
        json_pack("{s:s, s:o, s:I, s:o}", "status", "forgotten", "id", json_id(f.node),
            "workspaces", (json_int_t)f.moved_n, "node_id", json_id(store_node(c->api->o.store))));
}
