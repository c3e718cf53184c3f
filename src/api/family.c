#include "api/family.h"

enum { DEPTH_MAX = 64 };

struct load {
    struct arena *arena;
    struct id org;
    struct workspace_row *rows; /* all of the org's */
    size_t n;
};

static enum err
load_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct load *l = ctx;

    return workspace_row_list(tx, l->org, l->arena, &l->rows, &l->n, e);
}

static bool
has(const struct family *f, struct id id)
{
    for (size_t i = 0; i < f->n; i++) {
        if (id_equal(f->rows[i].id, id))
            return true;
    }
    return false;
}

enum err
family_load(struct api *a, struct arena *arena, struct id org, struct id top, struct family *ret,
    struct error *e)
{
    struct load l = {.arena = arena, .org = org};
    struct family f = {0};
    enum err code = store_read(a->o.store, load_tx, &l, e);

    if (code != ERR_OK)
        return code;
    f.rows = arena_array(arena, l.n + 1, sizeof(*f.rows));
    for (size_t i = 0; i < l.n; i++) {
        if (id_equal(l.rows[i].id, top))
            f.rows[f.n++] = l.rows[i];
    }
    for (size_t at = 0; at < f.n; at++) {
        for (size_t i = 0; i < l.n; i++) {
            if (id_equal(l.rows[i].parent, f.rows[at].id) && !has(&f, l.rows[i].id))
                f.rows[f.n++] = l.rows[i];
        }
    }
    if (f.n == 0)
        return fail(e, ERR_NOT_FOUND, "workspace not found");
    *ret = f;
    return ERR_OK;
}

enum err
family_paused_above(struct store_tx *tx, struct arena *arena, const struct workspace_row *w,
    struct workspace_row *ret, struct error *e)
{
    struct id at = w->parent;

    *ret = (struct workspace_row){0};
    for (int depth = 0; !id_is_zero(at) && depth < DEPTH_MAX; depth++) {
        struct workspace_row above;
        enum err code = workspace_row_get(tx, w->org, at, arena, &above, e);

        if (code == ERR_NOT_FOUND)
            return ERR_OK;
        if (code != ERR_OK)
            return code;
        if (above.desired == WORKSPACE_DESIRED_PAUSED) {
            *ret = above;
            return ERR_OK;
        }
        at = above.parent;
    }
    return ERR_OK;
}

enum err
family_check(
    struct store_tx *tx, struct arena *arena, const struct workspace_row *w, struct error *e)
{
    struct id at = w->parent;
    int depth = 0;

    for (; !id_is_zero(at) && depth < DEPTH_MAX; depth++) {
        struct workspace_row above;
        enum err code;

        if (id_equal(at, w->id)) {
            return fail(
                e, ERR_INVALID_REQUEST, "parent_id names a workspace that stands below this one");
        }
        code = workspace_row_get(tx, w->org, at, arena, &above, e);
        if (code == ERR_NOT_FOUND)
            return fail(e, ERR_INVALID_REQUEST, "parent_id names no workspace of this org");
        if (code != ERR_OK)
            return code;
        at = above.parent;
    }
    if (depth == DEPTH_MAX)
        return fail(e, ERR_INVALID_REQUEST, "workspaces stand at most %d deep", DEPTH_MAX);
    return ERR_OK;
}
