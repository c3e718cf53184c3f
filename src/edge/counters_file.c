#include "edge/counters_file.h"

#include "base/arena.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum { BUDGETS_MAX = 1 << 20, LIMITS_MAX = 1 << 21, CHUNK = 4096 };

/* --- ids to slots ---------------------------------------------------------------------------- */

struct slot_map_entry {
    struct id id; /* zero: nothing here */
    uint32_t slot;
};

static uint32_t
home_of(const struct slot_map *m, struct id id)
{
    uint32_t hash;

    /* The random end of a UUIDv7. */
    memcpy(&hash, id.b + 12, sizeof(hash));
    return hash & (m->capacity - 1);
}

/* Where the id is, or where it would go. */
static struct slot_map_entry *
map_place(const struct slot_map *m, struct id id)
{
    uint32_t at = home_of(m, id);

    while (!id_is_zero(m->entries[at].id) && !id_equal(m->entries[at].id, id))
        at = (at + 1) & (m->capacity - 1);
    return &m->entries[at];
}

static bool
map_get(const struct slot_map *m, struct id id, uint32_t *ret)
{
    const struct slot_map_entry *x = m->capacity == 0 ? NULL : map_place(m, id);

    if (x == NULL || id_is_zero(x->id))
        return false;
    *ret = x->slot;
    return true;
}

static void
map_put(struct slot_map *m, struct id id, uint32_t slot)
{
    if (m->n * 2 >= m->capacity) {
        struct slot_map old = *m;

        m->capacity = old.capacity == 0 ? 64 : old.capacity * 2;
        m->entries = calloc(m->capacity, sizeof(*m->entries));
        ENSURE(m->entries != NULL);
        for (uint32_t i = 0; i < old.capacity; i++) {
            if (!id_is_zero(old.entries[i].id))
                *map_place(m, old.entries[i].id) = old.entries[i];
        }
        free(old.entries);
    }
    *map_place(m, id) = (struct slot_map_entry){id, slot};
    m->n++;
}

/* What stands behind the hole moves up, so that no search ends there too early. */
static void
map_remove(struct slot_map *m, struct id id)
{
    uint32_t mask = m->capacity - 1, hole = (uint32_t)(map_place(m, id) - m->entries);

    for (uint32_t at = (hole + 1) & mask; !id_is_zero(m->entries[at].id); at = (at + 1) & mask) {
        uint32_t home = home_of(m, m->entries[at].id);

        if (((at - home) & mask) >= ((at - hole) & mask)) {
            m->entries[hole] = m->entries[at];
            hole = at;
        }
    }
    m->entries[hole] = (struct slot_map_entry){0};
    m->n--;
}

/* --- places ---------------------------------------------------------------------------------- */

static void
area_free(struct slot_area *a, uint32_t slot)
{
    if (a->free_n == a->free_capacity) {
        a->free_capacity = a->free_capacity == 0 ? 64 : a->free_capacity * 2;
        a->free = realloc(a->free, a->free_capacity * sizeof(*a->free));
        ENSURE(a->free != NULL);
    }
    a->free[a->free_n++] = slot;
}

/* off: where the array begins in the file. A write to a hole of a full disk would kill the worker. */
static enum err
area_take(struct counters_file *f, struct slot_area *a, uint64_t off, uint32_t max, uint32_t *ret,
    struct error *e)
{
    if (a->free_n > 0) {
        *ret = a->free[--a->free_n];
        return ERR_OK;
    }
    if (a->used == max)
        return fail(e, ERR_STATE_UNUSABLE, "there is no room for more than %u counters", max);
    if (a->used == a->allocated) {
        int err =
            posix_fallocate(f->fd, (off_t)(off + a->used * sizeof(struct budget_slot)), CHUNK);

        if (err != 0) {
            errno = err;
            return fail_errno(e, ERR_STATE_UNUSABLE, "allocating room for counters");
        }
        a->allocated += CHUNK / sizeof(struct budget_slot);
    }
    *ret = a->used++;
    return ERR_OK;
}

_Static_assert(sizeof(struct budget_slot) == sizeof(struct limit_slot), "one size for both areas");

static struct id
id_of(const uint8_t bytes[static 16])
{
    struct id id;

    memcpy(id.b, bytes, sizeof(id.b));
    return id;
}

/* Places are handed out in order, so the first that was never used ends the search. */
static void
area_recover(struct counters_file *f)
{
    const struct counters *c = &f->counters;
    struct slot_area *b = &f->budgets, *l = &f->limits;

    for (; b->used < c->header->budgets_n && c->budgets[b->used].serial != 0; b->used++) {
        if (atomic_load(&c->budgets[b->used].limit_nano) == BUDGET_GONE)
            area_free(b, b->used);
        else
            map_put(&b->map, id_of(c->budgets[b->used].id), b->used);
    }
    for (; l->used < c->header->limits_n && c->limits[l->used].serial != 0; l->used++) {
        const struct limit_slot *x = &c->limits[l->used];

        if (x->requests_per_min > 0 || x->tokens_per_min > 0 || x->concurrent_max > 0)
            map_put(&l->map, id_of(x->id), l->used);
        else if (atomic_load(&x->concurrent) == 0) /* nobody counts in it any more */
            area_free(l, l->used);
    }
    b->allocated = (b->used + 63) / 64 * 64;
    l->allocated = (l->used + 63) / 64 * 64;
}

/* --- the file -------------------------------------------------------------------------------- */

static enum err
make(const char *path, uint32_t gid, struct error *e)
{
    AUTO_ARENA struct arena a = {0};
    const char *fresh = arena_printf(&a, "%s.new", path).p;
    AUTO_CLOSE int fd = -1;
    size_t bytes = counters_bytes(BUDGETS_MAX, LIMITS_MAX);
    struct counters ignored;
    void *memory;

    if (unlink(fresh) == -1 && errno != ENOENT)
        return fail_errno(e, ERR_STATE_UNUSABLE, "replacing %s", fresh);
    fd = open(fresh, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd == -1 || ftruncate(fd, (off_t)bytes) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "making %s", fresh);
    errno = posix_fallocate(fd, 0, CHUNK);
    if (errno != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "allocating %s", fresh);
    if (gid != 0 && (fchown(fd, (uid_t)-1, gid) == -1 || fchmod(fd, 0660) == -1))
        return fail_errno(e, ERR_STATE_UNUSABLE, "letting the gateway write %s", fresh);
    memory = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping %s", fresh);
    counters_format(memory, BUDGETS_MAX, LIMITS_MAX, (uint64_t)clock_ms() + 1, &ignored);
    munmap(memory, CHUNK);
    if (rename(fresh, path) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "publishing %s", path);
    return ERR_OK;
}

/* False: there is none, or none of this version. */
static bool
attach(const char *path, struct counters_file *f)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    void *memory;

    if (fd == -1 || fstat(fd, &st) == -1 || st.st_size == 0)
        return false;
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return false;
    if (!counters_attach(memory, (size_t)st.st_size, &f->counters)) {
        if ((size_t)st.st_size > sizeof(struct counters_header))
            atomic_store(&((struct counters_header *)memory)->state, COUNTERS_SUPERSEDED);
        munmap(memory, (size_t)st.st_size);
        f->counters = (struct counters){0};
        return false;
    }
    f->bytes = (size_t)st.st_size;
    f->fd = TAKE_FD(fd);
    return true;
}

enum err
counters_file_open(const char *path, uint32_t gid, struct counters_file *ret, struct error *e)
{
    struct counters_file f = {.fd = -1};
    enum err err;

    if (!attach(path, &f)) {
        err = make(path, gid, e);
        if (err != ERR_OK)
            return err;
        if (!attach(path, &f))
            return fail(e, ERR_STATE_UNUSABLE, "%s cannot be mapped", path);
    }
    area_recover(&f);
    *ret = f;
    return ERR_OK;
}

void
counters_file_done(struct counters_file *f)
{
    if (f->counters.header != NULL) {
        munmap(f->counters.header, f->bytes);
        close(f->fd);
    }
    free(f->budgets.map.entries);
    free(f->budgets.free);
    free(f->limits.map.entries);
    free(f->limits.free);
    *f = (struct counters_file){.fd = -1};
}

enum err
counters_file_budget(struct counters_file *f, const struct counters_budget *b, uint32_t *ret_slot,
    bool *ret_new, struct error *e)
{
    uint32_t slot = 0;
    bool found = map_get(&f->budgets.map, b->id, &slot);

    /* The default budget got another period: nothing that was counted means anything. */
    if (found && f->counters.budgets[slot].period != b->period) {
        counters_file_budget_drop(f, b->id);
        found = false;
    }
    if (found) {
        struct budget_slot *s = &f->counters.budgets[slot];

        if (!b->shared || atomic_load(&s->lease_nano) > b->limit_nano)
            budget_set_lease(s, b->limit_nano);
        if (b->shared && !s->hard)
            budget_set_lease(s, 0); /* it was nobody's business how much is ours */
        s->hard = b->hard;
        atomic_store(&s->limit_nano, b->limit_nano);
    } else {
        const struct counters_header *h = f->counters.header;

        if (area_take(f, &f->budgets, h->budgets_off, h->budgets_n, &slot, e) != ERR_OK)
            return e->code;
        budget_put(
            &f->counters.budgets[slot], b->id.b, b->scope, b->period, b->hard, b->limit_nano);
        if (b->shared)
            budget_set_lease(&f->counters.budgets[slot], 0);
        map_put(&f->budgets.map, b->id, slot);
    }
    *ret_slot = slot;
    *ret_new = !found;
    return ERR_OK;
}

bool
counters_file_budget_find(const struct counters_file *f, struct id id, uint32_t *ret_slot)
{
    return map_get(&f->budgets.map, id, ret_slot);
}

void
counters_file_budget_drop(struct counters_file *f, struct id id)
{
    uint32_t slot;

    if (!map_get(&f->budgets.map, id, &slot))
        return;
    budget_remove(&f->counters.budgets[slot]);
    map_remove(&f->budgets.map, id);
    area_free(&f->budgets, slot);
}

enum err
counters_file_limit(struct counters_file *f, struct id id, uint32_t requests_per_min,
    uint32_t tokens_per_min, uint32_t concurrent, uint32_t *ret_slot, struct error *e)
{
    const struct counters_header *h = f->counters.header;
    uint32_t slot = 0;

    if (!map_get(&f->limits.map, id, &slot)) {
        if (area_take(f, &f->limits, h->limits_off, h->limits_n, &slot, e) != ERR_OK)
            return e->code;
        map_put(&f->limits.map, id, slot);
    }
    limit_put(&f->counters.limits[slot], id.b, requests_per_min, tokens_per_min, concurrent);
    *ret_slot = slot;
    return ERR_OK;
}

void
counters_file_limit_drop(struct counters_file *f, struct id id)
{
    uint32_t slot;

    if (!map_get(&f->limits.map, id, &slot))
        return;
    limit_put(&f->counters.limits[slot], id.b, 0, 0, 0);
    map_remove(&f->limits.map, id);
}
