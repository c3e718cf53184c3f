#include "edge/policy_file.h"

#include "base/arena.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { FIRST_SLOTS = 1024 };

void
policy_file_init(struct policy_file *f, struct str path, uint32_t gid, int64_t max_age_ms)
{
    *f = (struct policy_file){.gid = gid, .max_age_ms = max_age_ms};
    f->path = strndup(path.p, path.n);
    ENSURE(f->path != NULL);
}

void
policy_file_done(struct policy_file *f)
{
    if (f->policy.header != NULL)
        munmap(f->policy.header, f->bytes);
    free(f->path);
    *f = (struct policy_file){0};
}

/* A new file beside the old one, mapped and of full size, readable by the workers' group. */
static enum err
make_file(const struct policy_file *f, const char *path, size_t bytes, void **ret, struct error *e)
{
    AUTO_CLOSE int fd = -1;
    void *memory;
    int err;

    if (unlink(path) == -1 && errno != ENOENT)
        return fail_errno(e, ERR_STATE_UNUSABLE, "replacing %s", path);
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "making %s", path);
    /* Space now, or a sparse file on a full disk would kill whoever writes it. */
    err = posix_fallocate(fd, 0, (off_t)bytes);
    if (err != 0) {
        errno = err;
        return fail_errno(e, ERR_STATE_UNUSABLE, "allocating %zu bytes for %s", bytes, path);
    }
    if (f->gid != 0 && (fchown(fd, (uid_t)-1, f->gid) == -1 || fchmod(fd, 0640) == -1))
        return fail_errno(e, ERR_STATE_UNUSABLE, "letting the gateway read %s", path);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping %s", path);
    *ret = memory;
    return ERR_OK;
}

/*
 * The file that has the name now, whoever wrote it. NULL when there is none that could be a policy.
 */
static void *
map_previous(const char *path, size_t *ret_bytes)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    void *memory;

    if (fd == -1 || fstat(fd, &st) == -1 || st.st_size < (off_t)sizeof(struct policy_header))
        return NULL;
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    *ret_bytes = (size_t)st.st_size;
    return memory == MAP_FAILED ? NULL : memory;
}

/* A token's grant, moved to the numbers that its models have in the new file. */
static void
move_grant(const struct policy *from, const struct policy *to, struct policy_token *t)
{
    struct policy_token moved = {0};

    for (uint32_t i = 0; i < from->header->routes_n; i++) {
        int route;

        if (!policy_grant_has(t, (int)i))
            continue;
        route = policy_route_find(to, str_from_cstr(from->routes[i].id));
        if (route >= 0)
            policy_grant_add(&moved, route);
    }
    memcpy(t->grant, moved.grant, sizeof(t->grant));
}

static uint32_t
copy_tokens(const struct policy *from, struct policy *to)
{
    uint32_t copied = 0;

    for (uint32_t i = 0; i < from->header->token_slots; i++) {
        struct policy_token t;

        if (atomic_load_explicit(&from->tokens[i].state, memory_order_relaxed) != POLICY_TOKEN_LIVE)
            continue;
        memcpy(&t, &from->tokens[i], sizeof(t));
        move_grant(from, to, &t);
        ENSURE(policy_token_put(to, &t));
        copied++;
    }
    return copied;
}

static uint32_t
live_tokens(const struct policy *p)
{
    uint32_t live = 0;

    for (uint32_t i = 0; i < p->header->token_slots; i++)
        live +=
            atomic_load_explicit(&p->tokens[i].state, memory_order_relaxed) == POLICY_TOKEN_LIVE;
    return live;
}

/*
 * Builds a file for these routes, with room for twice the live tokens, and puts it in the old one's
 * place.
 */
static enum err
replace(struct policy_file *f, const struct policy_route *routes, uint32_t routes_n,
    const uint8_t fingerprint[static 32], struct error *e)
{
    uint32_t slots = FIRST_SLOTS, live;
    AUTO_ARENA struct arena a;
    size_t bytes, previous_bytes = 0;
    struct policy fresh, left;
    const struct policy *from = &f->policy;
    const char *path;
    void *memory = NULL, *previous = map_previous(f->path, &previous_bytes);
    enum err err;

    if (from->header == NULL && previous != NULL &&
        policy_attach(previous, previous_bytes, &left) &&
        /* Places in other counters would mean other budgets. */
        left.header->counters_generation == f->counters_generation)
        from = &left;
    live = from->header == NULL ? 0 : live_tokens(from);

    arena_init(&a);
    path = arena_printf(&a, "%s.new", f->path).p;
    while (slots < live * 4)
        slots *= 2;
    bytes = policy_bytes(routes_n, slots);
    if (bytes == 0)
        err = fail(e, ERR_STATE_UNUSABLE, "the policy cannot hold %u tokens", live);
    else
        err = make_file(f, path, bytes, &memory, e);
    if (err == ERR_OK) {
        policy_format(memory, routes_n, slots, &fresh);
        if (routes_n > 0)
            memcpy(fresh.routes, routes, routes_n * sizeof(*routes));
        memcpy(fresh.header->registry_fingerprint, fingerprint, 32);
        fresh.header->max_age_ms = f->max_age_ms;
        fresh.header->counters_generation = f->counters_generation;
        atomic_store(&fresh.header->published_ms, clock_ms());
        if (from->header != NULL)
            live = copy_tokens(from, &fresh);
        policy_publish(&fresh);
        if (rename(path, f->path) == -1) {
            err = fail_errno(e, ERR_STATE_UNUSABLE, "publishing %s", f->path);
            munmap(memory, bytes);
        }
    }
    if (previous != NULL) {
        if (err == ERR_OK)
            atomic_store(&((struct policy_header *)previous)->state, POLICY_SUPERSEDED);
        munmap(previous, previous_bytes);
    }
    if (err != ERR_OK)
        return err;
    if (f->policy.header != NULL)
        munmap(f->policy.header, f->bytes);
    f->policy = fresh;
    f->bytes = bytes;
    f->used = live;
    return ERR_OK;
}

size_t
policy_file_digests(const struct policy_file *f, uint8_t (**ret)[32])
{
    size_t n = 0;

    *ret = calloc(live_tokens(&f->policy) + 1, sizeof(**ret));
    ENSURE(*ret != NULL);
    for (uint32_t i = 0; i < f->policy.header->token_slots; i++) {
        const struct policy_token *t = &f->policy.tokens[i];

        if (atomic_load_explicit(&t->state, memory_order_relaxed) == POLICY_TOKEN_LIVE)
            memcpy((*ret)[n++], t->digest, sizeof(**ret));
    }
    return n;
}

enum err
policy_file_replace(struct policy_file *f, const struct routes *routes,
    const uint8_t fingerprint[static 32], struct error *e)
{
    return replace(f, routes->routes, (uint32_t)routes->n, fingerprint, e);
}

enum err
policy_file_put(struct policy_file *f, const struct policy_token *t, struct error *e)
{
    const struct policy_header *h = f->policy.header;

    /* Also counts the places of tokens that went: long probes cost the gateway time. */
    if (f->used >= h->token_slots / 4 * 3) {
        enum err err = replace(f, f->policy.routes, h->routes_n, h->registry_fingerprint, e);

        if (err != ERR_OK)
            return err;
    }
    ENSURE(policy_token_put(&f->policy, t));
    f->used++;
    return ERR_OK;
}

void
policy_file_remove(struct policy_file *f, const uint8_t digest[static 32])
{
    if (f->policy.header != NULL)
        policy_token_remove(&f->policy, digest);
}

void
policy_file_confirm(struct policy_file *f, int64_t now_ms)
{
    if (f->policy.header != NULL)
        atomic_store_explicit(&f->policy.header->published_ms, now_ms, memory_order_relaxed);
}
