#include "fixture.h"

#include "store/budget_row.h"
#include "store/checkpoint_row.h"
#include "store/limit_row.h"
#include "store/usage_row.h"

#include <sodium.h>

static const struct budget_default twenty = {BUDGET_DAY, true, 20000};
static const struct budget_default none = {.limit_nano_usd = -1};

static struct budget_row
budget(int org, int workspace, enum budget_period period, int64_t limit)
{
    return (struct budget_row){.org = id_of(org),
        .workspace = workspace == 0 ? (struct id){{0}} : id_of(workspace),
        .period = period,
        .hard = true,
        .limit_nano_usd = limit};
}

static size_t
list(struct store_tx *tx, int org, int workspace, const struct budget_default *d,
    struct budget_row **ret)
{
    size_t n = 0;

    OK(budget_row_list(tx, org == 0 ? (struct id){{0}} : id_of(org),
        workspace == 0 ? (struct id){{0}} : id_of(workspace), d, &arena, ret, &n, &e));
    return n;
}

TX_TEST(a_budget_is_replaced_in_its_place_and_keeps_its_id)
{
    struct budget_row b = budget(1, 0, BUDGET_DAY, 5), w = budget(1, 11, BUDGET_DAY, 6), *rows;
    struct id id;

    OK(budget_row_put(tx, &b, &e));
    OK(budget_row_put(tx, &w, &e));
    assert_int_equal(list(tx, 1, 0, &none, &rows), 2);
    id = rows[0].id;
    b.limit_nano_usd = 7;
    b.hard = false;
    OK(budget_row_put(tx, &b, &e));
    assert_int_equal(list(tx, 1, 0, &none, &rows), 2);
    assert_true(id_equal(rows[0].id, id));
    assert_int_equal(rows[0].limit_nano_usd, 7);
    assert_false(rows[0].hard);
    assert_true(id_equal(rows[1].workspace, id_of(11)));
    OK(budget_row_remove(tx, id_of(1), (struct id){{0}}, BUDGET_DAY, &e));
    REFUSES(ERR_NOT_FOUND, budget_row_remove(tx, id_of(1), (struct id){{0}}, BUDGET_DAY, &e));
    assert_int_equal(list(tx, 1, 11, &none, &rows), 1);
}

TX_TEST(the_default_is_for_orgs_without_a_budget_as_a_whole)
{
    struct budget_row w = budget(1, 11, BUDGET_DAY, 6), b = budget(1, 0, BUDGET_MONTH, 7), *rows;

    OK(budget_row_put(tx, &w, &e));
    assert_int_equal(list(tx, 1, 0, &twenty, &rows), 2);
    assert_true(rows[1].is_default && id_equal(rows[1].id, id_of(1)));
    OK(budget_row_put(tx, &b, &e));
    assert_int_equal(list(tx, 1, 0, &twenty, &rows), 2);
    assert_false(rows[0].is_default || rows[1].is_default);
    assert_int_equal(list(tx, 0, 0, &twenty, &rows), 3); /* org 2 has the default */
    OK(budget_row_exempt(tx, id_of(2), true, &e));
    OK(budget_row_exempt(tx, id_of(2), true, &e));
    assert_int_equal(list(tx, 2, 0, &twenty, &rows), 0);
    OK(budget_row_exempt(tx, id_of(2), false, &e));
    assert_int_equal(list(tx, 2, 0, &twenty, &rows), 1);
}

static void
a_budget_of_a_foreign_workspace_is_refused_in(struct store_tx *tx)
{
    struct budget_row foreign = budget(1, 21, BUDGET_DAY, 5);

    assert_int_not_equal(budget_row_put(tx, &foreign, &e), ERR_OK);
}

static enum err
refused_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    a_budget_of_a_foreign_workspace_is_refused_in(tx);
    *err = e;
    return e.code;
}

static void
a_budget_of_a_foreign_workspace_is_refused(void **state)
{
    assert_int_not_equal(store_tx(store, refused_tx, NULL, &e), ERR_OK);
}

TX_TEST(what_was_spent_is_of_the_scope_and_the_period)
{
    struct ledger_entry now = sample_entry(1, 11, 401), old = sample_entry(1, 11, 402),
                        other = sample_entry(1, 12, 403);
    int64_t at = 1795000000000, spent = 0;
    struct budget_row b = budget(1, 11, BUDGET_MONTH, 5);

    now.opened_ms = other.opened_ms = at;
    old.opened_ms = budget_period_start(BUDGET_MONTH, budget_period_number(BUDGET_MONTH, at)) - 1;
    OK(ledger_row_append(tx, &now, NULL, &e));
    OK(ledger_row_append(tx, &old, NULL, &e));
    OK(ledger_row_append(tx, &other, NULL, &e));
    OK(budget_row_spent(tx, &b, at, &spent, &e));
    assert_int_equal(spent, now.cost_nano_usd);
    b.period = BUDGET_TOTAL;
    OK(budget_row_spent(tx, &b, at, &spent, &e));
    assert_int_equal(spent, 2 * now.cost_nano_usd);
    b.workspace = (struct id){{0}};
    OK(budget_row_spent(tx, &b, at, &spent, &e));
    assert_int_equal(spent, 3 * now.cost_nano_usd);
}

TX_TEST(a_threshold_is_noted_once_a_period)
{
    bool is_new = false;

    OK(budget_alert_note(tx, id_of(1), 7, 50, &is_new, &e));
    assert_true(is_new);
    OK(budget_alert_note(tx, id_of(1), 7, 50, &is_new, &e));
    assert_false(is_new);
    OK(budget_alert_note(tx, id_of(1), 8, 50, &is_new, &e));
    assert_true(is_new);
}

TX_TEST(limits_are_put_replaced_and_removed)
{
    struct limit_row l = {id_of(1), id_of(11), LIMIT_PER_TOKEN, 1, 2, 3}, *rows;
    size_t n;

    OK(limit_row_put(tx, &l, &e));
    l.per = LIMIT_PER_WORKSPACE;
    l.concurrent = 9;
    OK(limit_row_put(tx, &l, &e));
    l.requests_per_minute = 8;
    OK(limit_row_put(tx, &l, &e));
    OK(limit_row_list(tx, id_of(1), id_of(11), &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(rows[1].requests_per_minute, 8);
    assert_int_equal(rows[1].concurrent, 9);
    l.requests_per_minute = l.tokens_per_minute = l.concurrent = 0;
    OK(limit_row_put(tx, &l, &e));
    OK(limit_row_list(tx, (struct id){{0}}, (struct id){{0}}, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    l.concurrent = 1;
    l.org = id_of(2);
    REFUSES(ERR_NOT_FOUND, limit_row_put(tx, &l, &e));
}

TX_TEST(sums_are_grouped_by_any_two_properties)
{
    const struct usage_filter f = {.org = id_of(1)}, all = {0};
    enum usage_group by[2] = {USAGE_BY_WORKSPACE, USAGE_BY_MODEL};
    struct usage_row *rows;
    size_t n;

    for (int call = 401; call <= 406; call++) {
        struct ledger_entry en = sample_entry(1, call % 2 == 0 ? 11 : 12, call);

        en.model_asked[0] = call < 404 ? 'a' : 'b';
        OK(ledger_row_append(tx, &en, NULL, &e));
    }
    OK(usage_row_list(tx, &f, by, &arena, &rows, &n, &e));
    assert_int_equal(n, 4);
    assert_true(rows[0].key[1].p[0] == 'a' && rows[1].key[1].p[0] == 'b');
    assert_int_equal(rows[0].totals.calls + rows[1].totals.calls, 3);
    by[0] = USAGE_BY_DAY;
    by[1] = USAGE_BY_NOTHING;
    OK(usage_row_list(tx, &all, by, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    assert_true(str_equal(rows[0].key[0], STR("0")) && rows[0].key[1].n == 0);
    assert_int_equal(rows[0].totals.calls, 6);
}

/* --- checkpoints ----------------------------------------------------------------------------- */

static uint8_t public_key[CHECKPOINT_KEY_BYTES], secret_key[crypto_sign_SECRETKEYBYTES];

static void
sign_due(struct store_tx *tx, size_t expected)
{
    struct checkpoint_row *due;
    int64_t next;
    size_t n;

    OK(checkpoint_row_due(tx, &arena, &due, &n, &e));
    assert_int_equal(n, expected);
    for (size_t i = 0; i < n; i++) {
        uint8_t message[CHECKPOINT_MESSAGE_MAX];

        OK(checkpoint_row_next(tx, &next, &e));
        due[i].number = next;
        due[i].created_ms = 1000;
        memcpy(due[i].public_key, public_key, sizeof(public_key));
        crypto_sign_detached(
            due[i].signature, NULL, message, checkpoint_message(&due[i], message), secret_key);
        OK(checkpoint_row_append(tx, &due[i], &e));
    }
}

static struct checkpoint_summary
summary(struct store_tx *tx)
{
    struct checkpoint_summary s;

    OK(checkpoint_row_verify_all(tx, (struct id){{0}}, &arena, &s, &e));
    return s;
}

static void
book(struct store_tx *tx, int org, int call)
{
    struct ledger_entry en = sample_entry(org, org * 10 + 1, call);

    OK(ledger_row_append(tx, &en, NULL, &e));
}

TX_TEST(only_heads_that_moved_are_due_and_numbers_have_no_gap)
{
    struct checkpoint_row *rows;
    size_t n;

    crypto_sign_keypair(public_key, secret_key);
    book(tx, 1, 401);
    book(tx, 2, 402);
    sign_due(tx, 2);
    sign_due(tx, 0);
    book(tx, 1, 403);
    sign_due(tx, 1);
    assert_int_equal(summary(tx).n, 3);
    assert_true(summary(tx).valid);
    assert_int_equal(summary(tx).keys_n, 1);
    OK(checkpoint_row_newest(tx, id_of(1), &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    assert_int_equal(rows[0].number, 3);
    assert_int_equal(rows[0].seq, 2);
}

TX_TEST(a_head_that_is_no_hash_does_not_keep_other_heads_from_being_signed)
{
    crypto_sign_keypair(public_key, secret_key);
    book(tx, 1, 401);
    book(tx, 2, 402);
    exec_sql(tx,
        "UPDATE heads SET hash = canonical FROM ledger WHERE ledger.org_id = heads.org_id AND"
        " ledger.workspace_id LIKE (SELECT MIN(id) FROM workspaces)");
    sign_due(tx, 1);
}

TX_TEST(what_checkpoints_saw_and_is_not_there_any_more_is_told)
{
    static const struct {
        const char *sql, *why;
    } cases[] = {
        {"DELETE FROM ledger WHERE seq = 2", "ledger entry 2 was there at checkpoint 1 and is"},
        {"UPDATE checkpoints SET number = 5", "its signature does not fit"},
        {"UPDATE checkpoints SET created_ms = 5", "its signature does not fit"},
    };

    crypto_sign_keypair(public_key, secret_key);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        exec_sql(tx, "DELETE FROM checkpoints");
        exec_sql(tx, "DELETE FROM ledger");
        exec_sql(tx, "DELETE FROM heads");
        book(tx, 1, 401);
        book(tx, 1, 402);
        sign_due(tx, 1);
        assert_true(summary(tx).valid);
        exec_sql(tx, cases[i].sql);
        assert_false(summary(tx).valid);
        if (strstr(arena_cstr(&arena, summary(tx).why), cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].sql, arena_cstr(&arena, summary(tx).why));
    }
}

TX_TEST(a_checkpoint_that_is_missing_among_others_is_told)
{
    crypto_sign_keypair(public_key, secret_key);
    for (int call = 401; call <= 403; call++) {
        book(tx, 1, call);
        sign_due(tx, 1);
    }
    exec_sql(tx, "DELETE FROM checkpoints WHERE number = 2");
    assert_false(summary(tx).valid);
    assert_true(str_equal(summary(tx).why, STR("checkpoint 2 is missing")));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_budget_is_replaced_in_its_place_and_keeps_its_id),
        STORE_TEST(the_default_is_for_orgs_without_a_budget_as_a_whole),
        STORE_TEST(a_budget_of_a_foreign_workspace_is_refused),
        STORE_TEST(what_was_spent_is_of_the_scope_and_the_period),
        STORE_TEST(a_threshold_is_noted_once_a_period),
        STORE_TEST(limits_are_put_replaced_and_removed),
        STORE_TEST(sums_are_grouped_by_any_two_properties),
        STORE_TEST(only_heads_that_moved_are_due_and_numbers_have_no_gap),
        STORE_TEST(a_head_that_is_no_hash_does_not_keep_other_heads_from_being_signed),
        STORE_TEST(what_checkpoints_saw_and_is_not_there_any_more_is_told),
        STORE_TEST(a_checkpoint_that_is_missing_among_others_is_told),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
