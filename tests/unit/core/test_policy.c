#include "unit.h"

#include "core/policy.h"

#include <pthread.h>

enum { SLOTS = 64 };

struct fixture {
    void *memory;
    size_t bytes;
    struct policy p;
};

static struct fixture
make(uint32_t routes, uint32_t slots)
{
    struct fixture f = {.bytes = policy_bytes(routes, slots)};

    f.memory = aligned_alloc(64, (f.bytes + 63) / 64 * 64);
    memset(f.memory, 0, f.bytes);
    policy_format(f.memory, routes, slots, &f.p);
    return f;
}

static struct policy_token
token(uint32_t home, uint8_t number)
{
    struct policy_token t = {.expires_ms = number};

    memcpy(t.digest, &home, sizeof(home));
    t.digest[31] = number;
    memset(t.org_id, number, sizeof(t.org_id));
    memset(t.workspace_id, number, sizeof(t.workspace_id));
    return t;
}

static void
a_policy_is_readable_only_once_it_is_published(void **state)
{
    struct fixture f = make(1, SLOTS);
    struct policy seen;

    assert_false(policy_attach(f.memory, f.bytes, &seen));
    policy_publish(&f.p);
    assert_true(policy_attach(f.memory, f.bytes, &seen));
    assert_false(policy_attach(f.memory, f.bytes - 1, &seen));
    f.p.header->version++;
    assert_false(policy_attach(f.memory, f.bytes, &seen));
    free(f.memory);
}

static void
tokens_are_found_until_they_are_removed(void **state)
{
    struct fixture f = make(1, SLOTS);
    struct policy_token found;

    /* All of them want the same slot. */
    for (uint8_t i = 1; i <= 20; i++) {
        struct policy_token t = token(5, i);

        assert_true(policy_token_put(&f.p, &t));
    }
    for (uint8_t i = 1; i <= 20; i += 2) {
        struct policy_token t = token(5, i);

        assert_true(policy_token_remove(&f.p, t.digest));
        assert_false(policy_token_remove(&f.p, t.digest));
    }
    for (uint8_t i = 1; i <= 20; i++) {
        struct policy_token t = token(5, i);

        assert_int_equal(policy_token_find(&f.p, t.digest, &found), i % 2 == 0);
        if (i % 2 == 0)
            assert_int_equal(found.org_id[3], i);
    }
    free(f.memory);
}

static void
putting_a_digest_again_replaces_its_grant(void **state)
{
    struct fixture f = make(2, SLOTS);
    struct policy_token t = token(9, 1), found;

    policy_grant_add(&t, 0);
    assert_true(policy_token_put(&f.p, &t));
    t.grant[0] = 0;
    policy_grant_add(&t, 1);
    assert_true(policy_token_put(&f.p, &t));
    assert_true(policy_token_find(&f.p, t.digest, &found));
    assert_false(policy_grant_has(&found, 0));
    assert_true(policy_grant_has(&found, 1));
    assert_true(policy_token_remove(&f.p, t.digest));
    assert_false(policy_token_find(&f.p, t.digest, &found));
    free(f.memory);
}

static void
a_full_policy_says_so(void **state)
{
    struct fixture f = make(1, 8);
    struct policy_token t, found;

    for (uint8_t i = 0; i < 8; i++) {
        t = token(3, i);
        assert_true(policy_token_put(&f.p, &t));
    }
    t = token(3, 99);
    assert_false(policy_token_put(&f.p, &t));
    assert_false(policy_token_find(&f.p, t.digest, &found));
    free(f.memory);
}

struct race {
    struct fixture *f;
    _Atomic int stop;
};

/* Puts and removes two tokens that share their slots. */
static void *
writer(void *arg)
{
    struct race *race = arg;
    struct policy_token a = token(1, 1), b = token(1, 2);

    while (!race->stop) {
        policy_token_put(&race->f->p, &a);
        policy_token_remove(&race->f->p, a.digest);
        policy_token_put(&race->f->p, &b);
        policy_token_remove(&race->f->p, b.digest);
    }
    return NULL;
}

static void
a_reader_never_sees_half_a_token(void **state)
{
    struct fixture f = make(1, 8);
    struct race race = {.f = &f};
    struct policy_token wanted = token(1, 1), found;
    pthread_t thread;
    int hits = 0;

    assert_int_equal(pthread_create(&thread, NULL, writer, &race), 0);
    for (int i = 0; i < 300000 || hits == 0; i++) {
        if (!policy_token_find(&f.p, wanted.digest, &found))
            continue;
        hits++;
        for (size_t k = 0; k < sizeof(found.org_id); k++) {
            assert_int_equal(found.org_id[k], 1);
            assert_int_equal(found.workspace_id[k], 1);
        }
        assert_int_equal(found.expires_ms, 1);
    }
    race.stop = 1;
    pthread_join(thread, NULL);
    free(f.memory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_policy_is_readable_only_once_it_is_published),
        TEST(tokens_are_found_until_they_are_removed),
        TEST(putting_a_digest_again_replaces_its_grant),
        TEST(a_full_policy_says_so),
        TEST(a_reader_never_sees_half_a_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
