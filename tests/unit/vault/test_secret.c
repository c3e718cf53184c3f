#include "unit.h"

#include "base/cleanup.h"
#include "vault/secret.h"

#include <pthread.h>
#include <sys/mman.h>

static void
keeps_values_of_every_size(void **state)
{
    static const size_t sizes[] = {0, 1, 100, 111, 112, 500, 4000, 4096, 65536, 1 << 20};
    struct error e;

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        AUTO_FREE char *value = malloc(sizes[i] + 1);
        AUTO_SECRET struct secret *s = NULL;

        memset(value, 'a' + (int)i, sizes[i]);
        assert_int_equal(secret_new((struct str){value, sizes[i]}, &s, &e), ERR_OK);
        assert_int_equal(secret_bytes(s), sizes[i]);
        assert_memory_equal(secret_expose(s).p, value, sizes[i]);
        assert_int_equal(secret_expose(s).p[sizes[i]], '\0');
        assert_int_equal((uintptr_t)secret_expose(s).p % 16, 0);
    }
}

static void
wipes_a_freed_value(void **state)
{
    static const char value[] = "sk-canary-that-must-go";
    struct secret *s;
    struct error e;
    const char *p;

    assert_int_equal(secret_new(STR("sk-canary-that-must-go"), &s, &e), ERR_OK);
    p = secret_expose(s).p;
    secret_free(s);
    /* The slot stays mapped: look at what is left in it. */
    assert_memory_not_equal(p, value, 8);
    for (size_t i = 0; i < sizeof(value); i++)
        assert_int_equal(p[i], 0);
}

static void
gives_zeroed_room_again_after_use(void **state)
{
    struct error e;

    for (int round = 0; round < 3; round++) {
        AUTO_SECRET struct secret *s = NULL;

        assert_int_equal(secret_new_room(64, &s, &e), ERR_OK);
        for (int i = 0; i < 64; i++)
            assert_int_equal(secret_room(s)[i], 0);
        memset(secret_room(s), 'x', 64);
    }
}

static void
many_small_secrets_share_pages(void **state)
{
    enum { MANY = 200 };
    struct secret *all[MANY];
    struct error e;
    uintptr_t low = UINTPTR_MAX, high = 0;

    for (int i = 0; i < MANY; i++) {
        uintptr_t at;

        assert_int_equal(secret_new(STR("short"), &all[i], &e), ERR_OK);
        at = (uintptr_t)all[i];
        low = at < low ? at : low;
        high = at > high ? at : high;
    }
    assert_true(high - low < 64 * 1024);
    for (int i = 0; i < MANY; i++)
        secret_free(all[i]);
}

static void
memory_is_locked_and_left_out_of_dumps(void **state)
{
    AUTO_SECRET struct secret *s = NULL;
    AUTO_FCLOSE FILE *f = fopen("/proc/self/smaps", "r");
    char line[512];
    bool inside = false, seen = false;
    struct error e;

    assert_int_equal(secret_new(STR("where am I"), &s, &e), ERR_OK);
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)s >= from && (uintptr_t)s < to;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            seen = true;
            assert_non_null(strstr(line, " dd"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* mlock() does nothing there */
            if (!secret_memory_is_unlocked())
                assert_non_null(strstr(line, " lo"));
#endif
        }
    }
    assert_true(seen);
}

static void
refuses_an_absurd_size(void **state)
{
    struct secret *s = NULL;
    struct error e;

    assert_int_equal(secret_new_room(SIZE_MAX - 8, &s, &e), ERR_OUT_OF_MEMORY);
    assert_null(s);
    secret_free(NULL);
}

static void *
churn(void *seed)
{
    for (int i = 0; i < 2000; i++) {
        struct secret *s;
        struct error e;
        char c = (char)(uintptr_t)seed;

        if (secret_new((struct str){&c, 1}, &s, &e) != ERR_OK || secret_expose(s).p[0] != c)
            return seed;
        secret_free(s);
    }
    return NULL;
}

static void
threads_do_not_share_slots(void **state)
{
    pthread_t threads[2];

    for (uintptr_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)(i + 'a')), 0);
    for (int i = 0; i < 2; i++) {
        void *broken;

        pthread_join(threads[i], &broken);
        assert_null(broken);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_values_of_every_size),
        TEST(wipes_a_freed_value),
        TEST(gives_zeroed_room_again_after_use),
        TEST(many_small_secrets_share_pages),
        TEST(memory_is_locked_and_left_out_of_dumps),
        TEST(refuses_an_absurd_size),
        TEST(threads_do_not_share_slots),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
