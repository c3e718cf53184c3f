/* Runs that are live, on both engines. */
#include "fixture.h"

#include "store/run_row.h"

static struct run_row
sample_run(int org, int workspace, int n, int64_t expires_ms)
{
    return (struct run_row){.id = id_of(n),
        .org = id_of(org),
        .workspace = id_of(workspace),
        .mode = STR("byok"),
        .model = STR("m"),
        .created_ms = 1000,
        .ttl_ms = 500,
        .expires_ms = expires_ms};
}

TX_TEST(a_run_lives_until_it_expires)
{
    struct run_row r = sample_run(1, 11, 400, 2000), got;

    r.token = id_of(77);
    OK(run_row_insert(tx, &r, 1000, &e));
    OK(run_row_get(tx, id_of(1), id_of(11), id_of(400), 1999, &arena, &got, &e));
    assert_true(id_equal(got.token, id_of(77)));
    assert_str(got.mode, "byok");
    assert_str(got.model, "m");
    assert_int_equal(got.ttl_ms, 500);
    REFUSES(
        ERR_NOT_FOUND, run_row_get(tx, id_of(1), id_of(11), id_of(400), 2000, &arena, &got, &e));
    OK(run_row_extend(tx, id_of(1), id_of(400), 3000, &e));
    OK(run_row_get(tx, id_of(1), id_of(11), id_of(400), 2000, &arena, &got, &e));
    OK(run_row_delete(tx, id_of(1), id_of(400), &e));
    REFUSES(ERR_NOT_FOUND, run_row_delete(tx, id_of(1), id_of(400), &e));
    REFUSES(ERR_NOT_FOUND, run_row_extend(tx, id_of(1), id_of(400), 4000, &e));
}

TX_TEST(lists_the_live_ones_and_forgets_the_others)
{
    struct run_row *rows;
    size_t n;

    for (int i = 0; i < 4; i++) {
        struct run_row r = sample_run(1, 11, 400 + i, i == 1 ? 1500 : 9000);

        OK(run_row_insert(tx, &r, 1000, &e));
    }
    OK(run_row_list(tx, id_of(1), id_of(11), 1500, &arena, &rows, &n, &e));
    assert_int_equal(n, 3);
    assert_true(id_equal(rows[0].id, id_of(403))); /* newest first */
    assert_true(id_is_zero(rows[0].token));
    assert_int_equal(int_sql(tx, "SELECT COUNT(*) FROM runs"), 4);
    {
        struct run_row r = sample_run(1, 11, 410, 9000);

        OK(run_row_insert(tx, &r, 1500, &e));
    }
    assert_int_equal(int_sql(tx, "SELECT COUNT(*) FROM runs"), 4);
}

TX_TEST(another_orgs_run_is_not_there)
{
    struct run_row r = sample_run(2, 21, 400, 9000), got;
    struct run_row *rows;
    size_t n;

    OK(run_row_insert(tx, &r, 1000, &e));
    REFUSES(
        ERR_NOT_FOUND, run_row_get(tx, id_of(1), id_of(21), id_of(400), 1000, &arena, &got, &e));
    REFUSES(
        ERR_NOT_FOUND, run_row_get(tx, id_of(2), id_of(11), id_of(400), 1000, &arena, &got, &e));
    REFUSES(ERR_NOT_FOUND, run_row_extend(tx, id_of(1), id_of(400), 9999, &e));
    REFUSES(ERR_NOT_FOUND, run_row_delete(tx, id_of(1), id_of(400), &e));
    OK(run_row_list(tx, id_of(1), id_of(21), 1000, &arena, &rows, &n, &e));
    assert_int_equal(n, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_run_lives_until_it_expires),
        STORE_TEST(lists_the_live_ones_and_forgets_the_others),
        STORE_TEST(another_orgs_run_is_not_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
