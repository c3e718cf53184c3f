#include "daemon/platform_keys.h"

#include "store/platform_key.h"

struct fetch {
    struct arena *arena;
    struct platform_key *keys;
    size_t n;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct fetch *f = ctx;

    return platform_key_list(tx, f->arena, &f->keys, &f->n, e);
}

static enum err
add_key(const struct platform_keys *p, const struct platform_key *k, struct edge_keys *into,
    struct error *e)
{
    struct vault_place place = {.scope = VAULT_SCOPE_PLATFORM,
        .workspace = k->id,
        .name = k->provider,
        .version = k->version};
    struct vault_sealed sealed = {.bytes = k->sealed, .key_id = k->key_id};
    AUTO_SECRET struct secret *value = NULL;
    enum err err = vault_unseal(p->vault, &place, &sealed, &value, e);

    if (err != ERR_OK)
        return wrap(e, "the platform's key of %.*s", STR_ARG(k->provider));
    return edge_keys_add(into, k->id, k->provider, k->weight, value, e);
}

enum err
platform_keys_fetch(void *ctx, struct edge_keys *into, struct error *e)
{
    struct platform_keys *p = ctx;
    AUTO_ARENA struct arena arena;
    struct fetch f = {.arena = &arena};
    enum err err;

    arena_init(&arena);
    err = store_read(p->store, list_tx, &f, e);
    for (size_t i = 0; err == ERR_OK && i < f.n; i++)
        err = add_key(p, &f.keys[i], into, e);
    return err;
}
