#include "core/policy.h"

static const char magic[8] = "PSRPLCY";

/* On cache lines of their own. */
static size_t
align(size_t n)
{
    return (n + 63) / 64 * 64;
}

size_t
policy_bytes(uint32_t routes, uint32_t token_slots)
{
    if (routes > POLICY_ROUTES_MAX || token_slots == 0 || (token_slots & (token_slots - 1)) != 0 ||
        token_slots > 1 << 24)
        return 0;
    return align(sizeof(struct policy_header)) + align(routes * sizeof(struct policy_route)) +
        (size_t)token_slots * sizeof(struct policy_token);
}

static struct policy
policy_at(void *memory, const struct policy_header *h)
{
    char *base = memory;

    return (struct policy){memory, (struct policy_route *)(void *)(base + h->routes_off),
        (struct policy_token *)(void *)(base + h->tokens_off)};
}

void
policy_format(void *memory, uint32_t routes, uint32_t token_slots, struct policy *ret)
{
    struct policy_header *h = memory;

    h->version = POLICY_VERSION;
    h->routes_n = routes;
    h->token_slots = token_slots;
    h->routes_off = align(sizeof(*h));
    h->tokens_off = h->routes_off + align(routes * sizeof(struct policy_route));
    h->bytes = policy_bytes(routes, token_slots);
    memcpy(h->magic, magic, sizeof(h->magic));
    *ret = policy_at(memory, h);
}

void
policy_publish(struct policy *p)
{
    atomic_store_explicit(&p->header->state, POLICY_LIVE, memory_order_release);
}

bool
policy_attach(void *memory, size_t bytes, struct policy *ret)
{
    struct policy_header *h = memory;

    if (bytes < sizeof(*h) || atomic_load_explicit(&h->state, memory_order_acquire) == 0)
        return false;
    if (memcmp(h->magic, magic, sizeof(magic)) != 0 || h->version != POLICY_VERSION ||
        h->bytes != bytes || policy_bytes(h->routes_n, h->token_slots) != bytes ||
        h->routes_off != align(sizeof(*h)) ||
        h->tokens_off != h->routes_off + align(h->routes_n * sizeof(struct policy_route)))
        return false;
    *ret = policy_at(memory, h);
    return true;
}

/* Digests are evenly spread already. */
static uint32_t
home_slot(const struct policy *p, const uint8_t digest[static 32])
{
    uint32_t hash;

    memcpy(&hash, digest, sizeof(hash));
    return hash & (p->header->token_slots - 1);
}

/*
 * The slot that holds the digest, or NULL; *ret_free: a slot for another copy (NULL: full). Writer
 * only.
 */
static struct policy_token *
writer_find(struct policy *p, const uint8_t digest[static 32], struct policy_token **ret_free)
{
    uint32_t mask = p->header->token_slots - 1;
    uint32_t at = home_slot(p, digest);
    struct policy_token *found = NULL;

    *ret_free = NULL;
    for (uint32_t i = 0; i <= mask && (found == NULL || *ret_free == NULL); i++) {
        struct policy_token *t = &p->tokens[(at + i) & mask];
        uint32_t state = atomic_load_explicit(&t->state, memory_order_relaxed);

        if (state == POLICY_TOKEN_LIVE && memcmp(t->digest, digest, sizeof(t->digest)) == 0)
            found = t;
        if (state != POLICY_TOKEN_LIVE && *ret_free == NULL)
            *ret_free = t;
        if (state == POLICY_TOKEN_EMPTY)
            break;
    }
    return found;
}

bool
policy_token_put(struct policy *p, const struct policy_token *t)
{
    struct policy_token *place;
    struct policy_token *old = writer_find(p, t->digest, &place);

    if (place == NULL)
        return false;
    atomic_store_explicit(&place->state, POLICY_TOKEN_WRITING, memory_order_relaxed);
    /* Who reads the new number also reads that the slot is being written. */
    atomic_fetch_add_explicit(&place->generation, 1, memory_order_release);
    atomic_thread_fence(memory_order_release);
    memcpy(place->digest, t->digest, sizeof(*t) - offsetof(struct policy_token, digest));
    atomic_store_explicit(&place->state, POLICY_TOKEN_LIVE, memory_order_release);
    /* The old copy goes after the new one is there: no call in between is refused. */
    if (old != NULL)
        atomic_store_explicit(&old->state, POLICY_TOKEN_GONE, memory_order_seq_cst);
    return true;
}

bool
policy_token_remove(struct policy *p, const uint8_t digest[static 32])
{
    struct policy_token *unused;
    struct policy_token *t = writer_find(p, digest, &unused);

    if (t == NULL)
        return false;
    /* Not EMPTY: that would end the search for tokens that stand behind it. */
    atomic_store_explicit(&t->state, POLICY_TOKEN_GONE, memory_order_seq_cst);
    return true;
}

static bool
find_once(const struct policy *p, const uint8_t digest[static 32], struct policy_token *ret)
{
    uint32_t mask = p->header->token_slots - 1;
    uint32_t at = home_slot(p, digest);

    for (uint32_t i = 0; i <= mask; i++) {
        struct policy_token *t = &p->tokens[(at + i) & mask];
        uint32_t generation = atomic_load_explicit(&t->generation, memory_order_acquire);
        uint32_t state = atomic_load_explicit(&t->state, memory_order_acquire);

        if (state == POLICY_TOKEN_EMPTY)
            return false;
        if (state != POLICY_TOKEN_LIVE)
            continue;
        memcpy(ret->digest, t->digest, sizeof(*t) - offsetof(struct policy_token, digest));
        atomic_thread_fence(memory_order_acquire);
        /* Rewritten meanwhile: what we copied may be half of two tokens, so it is nobody's. */
        if (atomic_load_explicit(&t->generation, memory_order_relaxed) != generation ||
            atomic_load_explicit(&t->state, memory_order_acquire) != POLICY_TOKEN_LIVE)
            continue;
        if (memcmp(ret->digest, digest, sizeof(ret->digest)) == 0)
            return true;
    }
    return false;
}

bool
policy_token_find(const struct policy *p, const uint8_t digest[static 32], struct policy_token *ret)
{
    /* Once more: replaced meanwhile, it may have gone from a slot ahead of us to one behind us. */
    return find_once(p, digest, ret) || find_once(p, digest, ret);
}

int
policy_route_find(const struct policy *p, struct str id)
{
    for (uint32_t i = 0; i < p->header->routes_n; i++) {
        if (str_equal(str_from_cstr(p->routes[i].id), id))
            return (int)i;
    }
    return -1;
}
