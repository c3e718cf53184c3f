#include "fixture.h"

#include "store/watch.h"

#include <pthread.h>
#include <unistd.h>

enum { POLL_MS = 40, NEVER_MS = 3600000 };

static char folder[64];
static struct store *other; /* a second purserd on the same store */

/* What a watch was told, newest last. */
static struct heard {
    pthread_mutex_t lock;
    size_t n;
    enum store_change change[64];
    char key[64][2 * TOKEN_DIGEST_BYTES + 1];
    bool refuse; /* say that it can not be done now */
} heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool
hear(void *ctx, enum store_change change, struct str key)
{
    bool done;

    pthread_mutex_lock(&heard.lock);
    assert_true(heard.n < 64);
    heard.change[heard.n] = change;
    snprintf(heard.key[heard.n++], sizeof(heard.key[0]), "%.*s", STR_ARG(key));
    done = !heard.refuse;
    pthread_mutex_unlock(&heard.lock);
    return done;
}

static size_t
heard_n(void)
{
    size_t n;

    pthread_mutex_lock(&heard.lock);
    n = heard.n;
    pthread_mutex_unlock(&heard.lock);
    return n;
}

/* Waits until n changes were told; how long it took. */
static int64_t
wait_for(size_t n)
{
    int64_t from = clock_monotonic_ms();

    while (heard_n() < n) {
        assert_true(clock_monotonic_ms() - from < 10000);
        usleep(500);
    }
    return clock_monotonic_ms() - from;
}

static struct str
node_file(int n)
{
    return arena_printf(&arena, "%s/node-%d", folder, n);
}

static int
setup(void **state)
{
    if (fixture_setup(state) != 0)
        return -1;
    snprintf(folder, sizeof(folder), "/tmp/test-watch-XXXXXX");
    assert_non_null(mkdtemp(folder));
    store_close(TAKE(store));
    heard.n = 0;
    heard.refuse = false;
    OK(store_open_node(store_url, node_file(1), &store, &e));
    OK(store_open_node(store_url, node_file(2), &other, &e));
    return 0;
}

static int
teardown(void **state)
{
    store_close(TAKE(other));
    for (int i = 1; i <= 9; i++)
        unlink(arena_cstr(&arena, node_file(i)));
    assert_int_equal(rmdir(folder), 0);
    return fixture_teardown(state);
}

static struct store_watch *
watch(int64_t poll_ms, bool deaf)
{
    const struct store_watch_options o = {.poll_ms = poll_ms, .deaf = deaf, .fn = hear};
    struct store_watch *w;

    store_watch_start(store, &o, &w);
    wait_for(1);
    assert_int_equal(heard.change[0], STORE_CHANGE_ANY); /* whatever happened before */
    return w;
}

static enum err
make_token(struct store_tx *tx, void *ctx, struct error *err)
{
    struct token_row t = sample_token(1, 11, TOKEN_USAGE, *(int *)ctx);

    return token_row_insert(tx, &t, err);
}

static enum err
revoke_token(struct store_tx *tx, void *ctx, struct error *err)
{
    struct token_row t;

    return token_row_revoke(tx, id_of(1), id_of(*(int *)ctx), clock_ms(), &arena, &t, err);
}

static void
another_store_s_change_is_told(void **state)
{
    struct store_watch *w = watch(store_is_file ? POLL_MS : NEVER_MS, false);
    int n = 0x2a;

    OK(store_tx(other, make_token, &n, &e));
    if (store_is_file) { /* no notices: all that is known is that there was something */
        wait_for(2);
        assert_int_equal(heard.change[1], STORE_CHANGE_ANY);
    } else {
        wait_for(2);
        assert_int_equal(heard.change[1], STORE_CHANGE_TOKEN);
        assert_int_equal(strncmp(heard.key[1], "2a00", 4), 0);
        OK(store_tx(other, revoke_token, &n, &e));
        wait_for(3);
        assert_string_equal(heard.key[2], heard.key[1]);
    }
    store_watch_stop(w);
}

static void
what_no_notice_told_is_found_by_looking(void **state)
{
    struct store_watch *w = watch(POLL_MS, true);
    int n = 1;

    OK(store_tx(other, make_token, &n, &e));
    wait_for(2);
    assert_int_equal(heard.change[1], STORE_CHANGE_ANY);
    store_watch_stop(w);
}

static void
what_could_not_be_done_is_told_again(void **state)
{
    struct store_watch *w = watch(POLL_MS, false);
    int n = 1;

    heard.refuse = true;
    OK(store_tx(other, make_token, &n, &e));
    wait_for(4);
    assert_int_equal(heard.change[3], STORE_CHANGE_ANY);
    store_watch_stop(w);
}

static bool is_known;

static void
look_for_node(struct store_tx *tx)
{
    struct query q = query_start(tx, "SELECT 1 FROM nodes WHERE id = $1");

    query_id(&q, store_node(other));
    is_known = query_row(&q);
    OK(query_end(&q, &e));
}

static void
give_up_one(struct store_tx *tx)
{
    struct query q = query_start(tx, "DELETE FROM nodes WHERE id = $1");

    query_id(&q, store_node(other));
    OK(query_run(&q, &e));
}

/* Others had thought that it was gone. */
static void
a_node_that_was_given_up_and_lives_is_known_again(void **state)
{
    const struct store_watch_options o = {.poll_ms = POLL_MS, .fn = hear};
    struct store_watch *w;
    int64_t from = clock_monotonic_ms();

    if (store_is_file)
        return; /* both are one node */
    in_tx(give_up_one);
    store_watch_start(other, &o, &w);
    while (!is_known) {
        assert_true(clock_monotonic_ms() - from < 10000);
        in_read(look_for_node);
    }
    store_watch_stop(w);
}

static enum err
then_fail(struct store_tx *tx, void *ctx, struct error *err)
{
    OK(make_token(tx, ctx, err));
    return fail(err, ERR_INVALID_REQUEST, "no");
}

/* Nor what was rolled back. The watch looks often: it would see a sum that has moved. */
static void
own_changes_are_not_told_where_notices_say_whose_they_are(void **state)
{
    struct store_watch *w;
    int n = 1, m = 2, k = 3;

    if (store_is_file)
        return; /* without notices nobody knows whose a change was */
    w = watch(NEVER_MS, false);
    OK(store_tx(store, make_token, &n, &e));
    REFUSES(ERR_INVALID_REQUEST, store_tx(other, then_fail, &m, &e));
    OK(store_tx(other, make_token, &k, &e));
    wait_for(2);
    assert_int_equal(strncmp(heard.key[1], "0300", 4), 0);
    store_watch_stop(w);
}

static void
end_all_connections(struct store_tx *tx)
{
    exec_sql(tx,
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()");
}

static void
changes_are_told_after_the_connection_was_lost(void **state)
{
    struct store_watch *w;
    size_t before;
    int n = 1;

    if (store_is_file)
        return; /* no connection to lose */
    w = watch(POLL_MS, false);
    in_tx(end_all_connections);
    wait_for(2);
    assert_int_equal(heard.change[1], STORE_CHANGE_ANY); /* something may have been missed */
    before = heard_n();
    OK(store_tx(other, make_token, &n, &e));
    wait_for(before + 1);
    store_watch_stop(w);
}

static int64_t seen_ms;

static void
read_seen(struct store_tx *tx)
{
    struct query q = query_start(tx, "SELECT last_seen_ms FROM nodes WHERE id = $1");

    query_id(&q, store_node(store));
    assert_true(query_row(&q));
    seen_ms = query_get_int(&q);
    OK(query_end(&q, &e));
}

static void
a_watch_says_that_its_node_lives(void **state)
{
    int64_t before = clock_ms();
    struct store_watch *w = watch(POLL_MS, false);

    do
        in_read(read_seen);
    while (seen_ms < before);
    store_watch_stop(w);
}

static void
each_state_directory_is_a_node_of_its_own(void **state)
{
    struct id first = store_node(store), second = store_node(other);

    if (store_is_file)
        assert_true(id_equal(first, second)); /* the store's only node moved into both */
    else
        assert_false(id_equal(first, second));
    store_close(TAKE(store));
    OK(store_open_node(store_url, node_file(1), &store, &e));
    assert_true(id_equal(store_node(store), first));
}

static void
a_node_file_that_holds_no_id_is_refused(void **state)
{
    const char *path = arena_cstr(&arena, node_file(3));
    FILE *f = fopen(path, "w");
    struct store *third = NULL;

    fputs("nobody\n", f);
    fclose(f);
    REFUSES(ERR_STATE_UNUSABLE, store_open_node(store_url, node_file(3), &third, &e));
    assert_null(third);
}

static void
a_served_store_is_not_migrated(void **state)
{
    int version = 0;

    REFUSES(ERR_STATE_LOCKED, store_migrate_alone(store_url, 0, &e));
    store_close(TAKE(other));
    REFUSES(ERR_STATE_LOCKED, store_migrate_alone(store_url, 0, &e));
    OK(store_version(store_url, &version, &e));
    assert_int_equal(version, store_version_known());
    store_close(TAKE(store));
    OK(store_migrate_alone(store_url, 0, &e));
    OK(store_version(store_url, &version, &e));
    assert_int_equal(version, 0);
    OK(store_open_node(store_url, node_file(1), &store, &e));
}

/* A server ends a session some time after its client did: what it held must not last as long. */
static void
a_store_that_nobody_serves_any_more_is_free_at_once(void **state)
{
    store_close(TAKE(other));
    for (int i = 0; i < 50; i++) {
        store_close(TAKE(store));
        OK(store_migrate_alone(store_url, store_version_known(), &e));
        OK(store_open_node(store_url, node_file(1), &store, &e));
    }
}

int
main(void)
{
#define WATCH_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        WATCH_TEST(another_store_s_change_is_told),
        WATCH_TEST(what_no_notice_told_is_found_by_looking),
        WATCH_TEST(what_could_not_be_done_is_told_again),
        WATCH_TEST(a_node_that_was_given_up_and_lives_is_known_again),
        WATCH_TEST(own_changes_are_not_told_where_notices_say_whose_they_are),
        WATCH_TEST(changes_are_told_after_the_connection_was_lost),
        WATCH_TEST(a_watch_says_that_its_node_lives),
        WATCH_TEST(each_state_directory_is_a_node_of_its_own),
        WATCH_TEST(a_node_file_that_holds_no_id_is_refused),
        WATCH_TEST(a_served_store_is_not_migrated),
        WATCH_TEST(a_store_that_nobody_serves_any_more_is_free_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
