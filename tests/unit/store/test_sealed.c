/* What rotation does with rows: finds them by key, replaces them only as they were, retires keys. */
#include "fixture.h"

static struct secret_row
secret_under(int org, int workspace, const char *name, int64_t key, int64_t version)
{
    return (struct secret_row){.org = id_of(org),
        .workspace = id_of(workspace),
        .name = str_from_cstr(name),
        .sealed = STR("sealed"),
        .key_id = key,
        .version = version,
        .fingerprint = STR("print"),
        .created_ms = 1,
        .updated_ms = 1};
}

static void
put(struct store_tx *tx, int org, int workspace, const char *name, int64_t key)
{
    struct secret_row s = secret_under(org, workspace, name, key, 7);

    OK(secret_row_put(tx, &s, &e));
}

TX_TEST(pages_of_a_key_show_every_row_once)
{
    static const char *const names[] = {"A", "B", "C", "D", "E"};
    struct platform_key k = {.id = id_of(50),
        .provider = STR("anthropic-api"),
        .weight = 1,
        .sealed = STR("sealed"),
        .key_id = 3,
        .version = 1,
        .fingerprint = STR("print"),
        .created_ms = 1,
        .retired_ms = 2};
    size_t seen[SEALED_KIND_COUNT] = {0};

    for (int i = 0; i < 5; i++) {
        put(tx, 1, 0, names[i], 3);
        put(tx, 2, 0, names[i], i == 2 ? 4 : 3);
        put(tx, 1, 11, names[i], 3);
        put(tx, 2, 21, names[i], 3);
    }
    OK(platform_key_insert(tx, &k, &e)); /* retired ones are sealed anew, too */
    for (int kind = 0; kind < SEALED_KIND_COUNT; kind++) {
        struct sealed_row *rows = NULL, behind;
        size_t n = 2;

        for (bool first = true; n == 2; first = false) {
            OK(sealed_row_list(
                tx, (enum sealed_kind)kind, 3, first ? NULL : &behind, 2, &arena, &rows, &n, &e));
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(rows[i].kind, kind);
                assert_int_equal(rows[i].key_id, 3);
                assert_memory_equal(rows[i].sealed.p, "sealed", 6);
            }
            seen[kind] += n;
            if (n > 0)
                behind = rows[n - 1];
        }
    }
    assert_int_equal(seen[SEALED_ORG_SECRET], 9);
    assert_int_equal(seen[SEALED_WORKSPACE_SECRET], 10);
    assert_int_equal(seen[SEALED_PLATFORM_KEY], 1);
}

TX_TEST(a_row_is_replaced_only_as_it_was)
{
    const struct sealed_fresh fresh = {STR("anew"), STR("other"), 4};
    struct sealed_row *rows = NULL, was;
    struct secret_row got, again = secret_under(1, 11, "NAME", 3, 8);
    size_t n = 0;
    bool done = false;

    put(tx, 1, 11, "NAME", 3);
    OK(sealed_row_list(tx, SEALED_WORKSPACE_SECRET, 3, NULL, 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    was = rows[0];
    OK(secret_row_put(tx, &again, &e)); /* somebody wrote meanwhile, under the old key still */
    OK(sealed_row_replace(tx, &was, &fresh, &done, &e));
    assert_false(done);
    was.version = 8;
    OK(sealed_row_replace(tx, &was, &fresh, &done, &e));
    assert_true(done);
    OK(secret_row_get(tx, id_of(1), id_of(11), STR("NAME"), &arena, &got, &e));
    assert_int_equal(got.key_id, 4);
    assert_int_equal(got.version, 8); /* what it is bound to stays */
    assert_memory_equal(got.sealed.p, "anew", 4);
    assert_memory_equal(got.fingerprint.p, "other", 5);
    assert_int_equal(got.updated_ms, 1); /* nobody changed it */
    OK(sealed_row_replace(tx, &was, &fresh, &done, &e));
    assert_false(done);
}

TX_TEST(a_key_retires_when_nothing_is_under_it_and_for_good)
{
    struct sealed_count *counts = NULL;
    struct secret_row late = secret_under(2, 21, "LATE", 3, 9);
    size_t n = 0;
    bool retired = true;

    put(tx, 1, 0, "A", 3);
    put(tx, 1, 11, "A", 3);
    put(tx, 2, 21, "A", 4);
    OK(sealed_row_count(tx, &arena, &counts, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(counts[0].key_id, 3);
    assert_int_equal(counts[0].rows, 2);
    assert_int_equal(counts[1].rows, 1);
    REFUSES(ERR_CONFLICT, sealed_key_retire(tx, 3, 5, &e));
    assert_non_null(strstr(e.text, "2 values"));
    OK(sealed_key_is_retired(tx, 3, &retired, &e));
    assert_false(retired);
    OK(secret_row_delete(tx, id_of(1), id_of(0), STR("A"), &e));
    OK(secret_row_delete(tx, id_of(1), id_of(11), STR("A"), &e));
    OK(sealed_key_retire(tx, 3, 5, &e));
    OK(sealed_key_retire(tx, 3, 6, &e));
    OK(sealed_key_is_retired(tx, 3, &retired, &e));
    assert_true(retired);
    REFUSES(ERR_CONFLICT, secret_row_put(tx, &late, &e));
    late.key_id = 4;
    OK(secret_row_put(tx, &late, &e));
}

static void
put_shared(struct store_tx *tx, int org, int workspace, const char *name, const char *print)
{
    struct secret_row s = secret_under(org, workspace, name, 1, 7);

    s.fingerprint = str_from_cstr(print);
    OK(secret_row_put(tx, &s, &e));
}

TX_TEST(shared_values_are_those_of_several_orgs)
{
    struct platform_key k = {.id = id_of(50),
        .provider = STR("anthropic-api"),
        .weight = 1,
        .sealed = STR("sealed"),
        .key_id = 1,
        .version = 1,
        .fingerprint = STR("platform"),
        .created_ms = 1,
        .retired_ms = 2};
    struct secret_row *rows = NULL;
    struct str *prints = NULL;
    size_t n = 0;

    put_shared(tx, 1, 0, "A", "twice in one org");
    put_shared(tx, 1, 11, "B", "twice in one org");
    put_shared(tx, 1, 11, "C", "in both");
    put_shared(tx, 2, 0, "D", "in both");
    put_shared(tx, 2, 21, "E", "in both");
    put_shared(tx, 2, 21, "F", "platform");
    OK(platform_key_insert(tx, &k, &e));
    OK(secret_row_list_shared(tx, 9, &arena, &prints, &n, &e));
    assert_int_equal(n, 1);
    assert_str(prints[0], "in both");
    OK(secret_row_list_equal(tx, prints[0], id_of(0), 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 3);
    OK(secret_row_list_equal(tx, prints[0], id_of(2), 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    assert_str(rows[0].name, "C");
    OK(secret_row_list_equal(tx, prints[0], id_of(0), 2, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    OK(secret_row_list_platforms(tx, 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    assert_str(rows[0].name, "F");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(pages_of_a_key_show_every_row_once),
        STORE_TEST(a_row_is_replaced_only_as_it_was),
        STORE_TEST(a_key_retires_when_nothing_is_under_it_and_for_good),
        STORE_TEST(shared_values_are_those_of_several_orgs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
