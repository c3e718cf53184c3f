/*
 * What the gateway pays to find a usage token in the policy, with 1,000 and with 1,000,000 of them:
 * nanoseconds a look-up, of tokens that are there and of such that are not. Digests are looked up in
 * random order, so a large policy does not stay in the processor's caches.
 */
#include "base/ids.h"
#include "core/policy.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { ROUNDS = 9, LOOKUPS = 200000 };

static double
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The digest of token n; those from count on are in no policy. */
static void
digest_of(uint32_t n, uint8_t ret[static 32])
{
    crypto_hash_sha256(ret, (const unsigned char *)&n, sizeof(n));
}

static int
compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void
measure(const struct policy *p, uint32_t count, bool there)
{
    double rounds[ROUNDS];
    uint8_t(*digests)[32] = calloc(LOOKUPS, 32);
    size_t found = 0;

    ENSURE(digests != NULL);
    for (int round = 0; round < ROUNDS; round++) {
        double start;

        for (int i = 0; i < LOOKUPS; i++)
            digest_of(randombytes_uniform(count) + (there ? 0 : count), digests[i]);
        start = now_ns();
        for (int i = 0; i < LOOKUPS; i++) {
            struct policy_token t;

            found += policy_token_find(p, digests[i], &t);
        }
        rounds[round] = (now_ns() - start) / LOOKUPS;
    }
    ENSURE(found == (there ? (size_t)ROUNDS * LOOKUPS : 0));
    qsort(rounds, ROUNDS, sizeof(rounds[0]), compare);
    printf("%9u tokens, %-10s %6.0f ns (%.0f-%.0f)\n", count, there ? "there" : "not there",
        rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
    free(digests);
}

int
main(void)
{
    static const uint32_t counts[] = {1000, 1000000};

    if (sodium_init() < 0)
        return 1;
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint32_t slots = 1024;
        struct policy p;
        size_t bytes;
        void *memory;

        while (slots < counts[i] * 2)
            slots *= 2;
        bytes = policy_bytes(1, slots);
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ENSURE(memory != MAP_FAILED);
        policy_format(memory, 1, slots, &p);
        for (uint32_t n = 0; n < counts[i]; n++) {
            struct policy_token t = {0};

            digest_of(n, t.digest);
            ENSURE(policy_token_put(&p, &t));
        }
        measure(&p, counts[i], true);
        measure(&p, counts[i], false);
        munmap(memory, bytes);
    }
    return 0;
}
