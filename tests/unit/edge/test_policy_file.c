#include "unit.h"

#include "edge/policy_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/purser-policy-XXXXXX";
static char path[64];
static const uint8_t fingerprint[32] = {7};

static int
set_up(void **state)
{
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/policy", dir);
    return 0;
}

static int
tear_down(void **state)
{
    unlink(path);
    return rmdir(dir);
}

static struct routes *
routes_of(const char *a, const char *b)
{
    static struct routes rs;

    memset(&rs, 0, sizeof(rs));
    rs.n = 2;
    snprintf(rs.routes[0].id, sizeof(rs.routes[0].id), "%s", a);
    snprintf(rs.routes[1].id, sizeof(rs.routes[1].id), "%s", b);
    return &rs;
}

/* As a worker does. */
static struct policy
attach(size_t *ret_bytes)
{
    struct policy p = {0};
    struct stat st;
    int fd = open(path, O_RDONLY);
    void *memory;

    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    assert_true(memory != MAP_FAILED && policy_attach(memory, (size_t)st.st_size, &p));
    *ret_bytes = (size_t)st.st_size;
    return p;
}

static struct policy_token
token(uint32_t number, int route)
{
    struct policy_token t = {0};

    memcpy(t.digest, &number, sizeof(number));
    t.digest[31] = 1;
    policy_grant_add(&t, route);
    return t;
}

static void
a_replaced_policy_keeps_tokens_and_moves_grants_by_name(void **state)
{
    struct policy_file f;
    struct policy old, fresh;
    size_t old_bytes, bytes;
    struct policy_token t = token(1, 1), found;
    struct error e;

    policy_file_init(&f, str_from_cstr(path), 0, 1000);
    assert_int_equal(policy_file_replace(&f, routes_of("v/a", "v/b"), fingerprint, &e), ERR_OK);
    assert_int_equal(policy_file_put(&f, &t, &e), ERR_OK);
    old = attach(&old_bytes);
    assert_true(policy_is_live(&old));
    /* The other order, and "v/c" instead of "v/a": the token was granted "v/b". */
    assert_int_equal(policy_file_replace(&f, routes_of("v/b", "v/c"), fingerprint, &e), ERR_OK);
    assert_false(policy_is_live(&old));
    fresh = attach(&bytes);
    assert_true(policy_is_live(&fresh));
    assert_true(policy_token_find(&fresh, t.digest, &found));
    assert_true(policy_grant_has(&found, 0));
    assert_false(policy_grant_has(&found, 1));
    munmap(old.header, old_bytes);
    munmap(fresh.header, bytes);
    policy_file_done(&f);
}

static void
the_next_purserd_takes_over_the_tokens_of_the_one_before(void **state)
{
    struct policy_file before, after;
    struct policy_token t = token(2, 0), found;
    uint8_t(*digests)[32];
    struct error e;

    policy_file_init(&before, str_from_cstr(path), 0, 1000);
    assert_int_equal(
        policy_file_replace(&before, routes_of("v/a", "v/b"), fingerprint, &e), ERR_OK);
    assert_int_equal(policy_file_put(&before, &t, &e), ERR_OK);
    policy_file_done(&before); /* as good as killed: the file stays */
    policy_file_init(&after, str_from_cstr(path), 0, 1000);
    assert_int_equal(policy_file_replace(&after, routes_of("v/a", "v/b"), fingerprint, &e), ERR_OK);
    assert_true(policy_token_find(&after.policy, t.digest, &found));
    assert_true(policy_file_digests(&after, &digests) >= 1);
    free(digests);
    policy_file_done(&after);
}

static void
a_file_that_fills_up_grows_and_loses_nobody(void **state)
{
    struct policy_file f;
    struct policy_token found;
    struct error e;
    uint32_t first;

    unlink(path);
    policy_file_init(&f, str_from_cstr(path), 0, 1000);
    assert_int_equal(policy_file_replace(&f, routes_of("v/a", "v/b"), fingerprint, &e), ERR_OK);
    first = f.policy.header->token_slots;
    for (uint32_t i = 0; i < first * 2; i++) {
        struct policy_token t = token(i * 2654435761u, 0);

        assert_int_equal(policy_file_put(&f, &t, &e), ERR_OK);
    }
    assert_true(f.policy.header->token_slots > first);
    for (uint32_t i = 0; i < first * 2; i++) {
        struct policy_token t = token(i * 2654435761u, 0);

        assert_true(policy_token_find(&f.policy, t.digest, &found));
    }
    policy_file_done(&f);
}

static void
tokens_that_come_and_go_do_not_make_it_grow(void **state)
{
    struct policy_file f;
    struct error e;
    uint32_t first;

    unlink(path);
    policy_file_init(&f, str_from_cstr(path), 0, 1000);
    assert_int_equal(policy_file_replace(&f, routes_of("v/a", "v/b"), fingerprint, &e), ERR_OK);
    first = f.policy.header->token_slots;
    for (uint32_t i = 0; i < first * 20; i++) {
        struct policy_token t = token(i * 2654435761u, 0);

        assert_int_equal(policy_file_put(&f, &t, &e), ERR_OK);
        policy_file_remove(&f, t.digest);
    }
    assert_int_equal(f.policy.header->token_slots, first);
    policy_file_done(&f);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_replaced_policy_keeps_tokens_and_moves_grants_by_name),
        TEST(the_next_purserd_takes_over_the_tokens_of_the_one_before),
        TEST(a_file_that_fills_up_grows_and_loses_nobody),
        TEST(tokens_that_come_and_go_do_not_make_it_grow),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
