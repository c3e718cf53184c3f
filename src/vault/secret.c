/*
 * Secrets live in regions of locked memory: guard pages around, left out of dumps, cut into slots
 * of one size class each, so that fifty small secrets do not take a hundred and fifty pages. A
 * value larger than the largest class has a region to itself.
 */
#include "vault/secret.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CLASSES = 3, LARGE = CLASSES, REGION_BYTES = 64 * 1024, BYTES_MAX = 16 << 20 };

struct secret {
    size_t n;
    uint32_t class; /* CLASSES: a region of its own */
    uint32_t unused;
    _Alignas(16) char bytes[]; /* n of them and a zero */
};

struct slot {
    struct slot *next;
};

static const size_t class_bytes[CLASSES] = {128, 512, 4096};
static struct slot *free_slots[CLASSES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool some_unlocked;

static size_t
page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static size_t
whole_pages(size_t bytes)
{
    return (bytes + page_bytes() - 1) / page_bytes() * page_bytes();
}

/*
 * NULL when there is no memory. A refused lock is remembered, not fatal: the memory can be swapped
 * then.
 */
static void *
region_new(size_t bytes)
{
    size_t inside = whole_pages(bytes);
    char *p = mmap(NULL, inside + 2 * page_bytes(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    p += page_bytes();
    if (mprotect(p, inside, PROT_READ | PROT_WRITE) != 0 ||
        madvise(p, inside, MADV_DONTDUMP) != 0) {
        munmap(p - page_bytes(), inside + 2 * page_bytes());
        return NULL;
    }
    if (mlock(p, inside) != 0)
        atomic_store(&some_unlocked, true);
    return p;
}

static void
region_free(void *p, size_t bytes)
{
    munmap((char *)p - page_bytes(), whole_pages(bytes) + 2 * page_bytes());
}

/* Under the lock. */
static void *
slot_take(uint32_t class)
{
    struct slot *slot = free_slots[class];

    if (slot == NULL) {
        char *region = region_new(REGION_BYTES);

        if (region == NULL)
            return NULL;
        for (size_t at = 0; at + class_bytes[class] <= REGION_BYTES; at += class_bytes[class]) {
            slot = (struct slot *)(void *)(region + at);
            slot->next = free_slots[class];
            free_slots[class] = slot;
        }
    }
    free_slots[class] = slot->next;
    slot->next = NULL;
    return slot;
}

enum err
secret_new_room(size_t n, struct secret **ret, struct error *e)
{
    size_t bytes = sizeof(struct secret) + n + 1;
    struct secret *s = NULL;
    uint32_t class = 0;

    if (n <= BYTES_MAX) {
        while (class < CLASSES && class_bytes[class] < bytes)
            class ++;
        if (class == LARGE) {
            s = region_new(bytes);
        } else {
            pthread_mutex_lock(&lock);
            s = slot_take(class);
            pthread_mutex_unlock(&lock);
        }
    }
    if (s == NULL)
        return fail(e, ERR_OUT_OF_MEMORY, "no memory for a secret of %zu bytes", n);
    s->n = n;
    s->class = class;
    *ret = s;
    return ERR_OK;
}

enum err
secret_new(struct str value, struct secret **ret, struct error *e)
{
    struct secret *s = NULL;

    if (secret_new_room(value.n, &s, e) != ERR_OK)
        return e->code;
    if (value.n > 0)
        memcpy(s->bytes, value.p, value.n);
    *ret = s;
    return ERR_OK;
}

char *
secret_room(struct secret *s)
{
    return s->bytes;
}

void
secret_free(struct secret *s)
{
    uint32_t class;
    size_t bytes;

    if (s == NULL)
        return;
    class = s->class;
    bytes = sizeof(*s) + s->n + 1;
    if (class == LARGE) {
        sodium_memzero(s, bytes);
        region_free(s, bytes);
        return;
    }
    sodium_memzero(s, class_bytes[class]);
    pthread_mutex_lock(&lock);
    ((struct slot *)(void *)s)->next = free_slots[class];
    free_slots[class] = (struct slot *)(void *)s;
    pthread_mutex_unlock(&lock);
}

struct str
secret_expose(const struct secret *s)
{
    return (struct str){s->bytes, s->n};
}

size_t
secret_bytes(const struct secret *s)
{
    return s->n;
}

bool
secret_memory_is_unlocked(void)
{
    return atomic_load(&some_unlocked);
}
