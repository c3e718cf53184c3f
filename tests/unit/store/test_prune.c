#include "fixture.h"

#include "store/audit_row.h"
#include "store/budget_row.h"
#include "store/prune.h"
#include "store/run_row.h"

#include <sodium.h>

static uint8_t public_key[CHECKPOINT_KEY_BYTES], secret_key[64];

static void
sign_anchor(void *ctx, struct anchor_row *r)
{
    uint8_t message[ANCHOR_MESSAGE_MAX];

    memcpy(r->public_key, public_key, sizeof(public_key));
    crypto_sign_detached(r->signature, NULL, message, anchor_message(r, message), secret_key);
}

static void
checkpoint_at(struct store_tx *tx, int64_t created_ms)
{
    struct checkpoint_row *due = NULL;
    size_t n = 0;

    OK(checkpoint_row_due(tx, &arena, &due, &n, &e));
    for (size_t i = 0; i < n; i++) {
        uint8_t message[CHECKPOINT_MESSAGE_MAX];

        OK(checkpoint_row_next(tx, &due[i].number, &e));
        due[i].created_ms = created_ms;
        memcpy(due[i].public_key, public_key, sizeof(public_key));
        crypto_sign_detached(
            due[i].signature, NULL, message, checkpoint_message(&due[i], message), secret_key);
        OK(checkpoint_row_append(tx, &due[i], &e));
    }
}

static void
book(struct store_tx *tx, int from, int to)
{
    for (int call = from; call <= to; call++) {
        struct ledger_entry en = sample_entry(1, call % 2 == 0 ? 11 : 12, call);
        struct decision_row d = sample_decision(1, 11, call + 10000);

        OK(ledger_row_append(tx, &en, NULL, &e));
        OK(decision_row_append(tx, &d, &e));
    }
}

/* Entries 1 to 3 under a checkpoint of 1000, 4 to 6 under one of 5000, 7 under none. */
static void
seven_entries(struct store_tx *tx)
{
    crypto_sign_keypair(public_key, secret_key);
    book(tx, 401, 403);
    checkpoint_at(tx, 1000);
    book(tx, 404, 406);
    checkpoint_at(tx, 5000);
    book(tx, 407, 407);
}

static int64_t
prune(struct store_tx *tx, enum audit_type type, int64_t before_ms, struct str *ret_why)
{
    struct prune_chain p = {
        .org = id_of(1), .chain = type, .before_ms = before_ms, .sign = sign_anchor};
    int64_t removed = -1;

    memcpy(p.public_key, public_key, sizeof(public_key));
    OK(prune_chain(tx, &p, &arena, &removed, ret_why, &e));
    return removed;
}

/* The first thing that is wrong with the org's chains and checkpoints; empty: nothing. */
static const char *
wrong(struct store_tx *tx)
{
    struct checkpoint_summary s;
    struct audit_chain *rows;
    struct str why;
    size_t n;

    OK(audit_chain_list(tx, (struct id){{0}}, &arena, &rows, &n, &e));
    for (size_t i = 0; i < n; i++) {
        if (!rows[i].valid)
            return arena_cstr(&arena, rows[i].why);
    }
    OK(checkpoint_row_verify_all(tx, (struct id){{0}}, &arena, &s, &e));
    OK(audit_heads_verify(tx, id_of(1), &arena, &why, &e));
    return arena_cstr(&arena, s.valid ? why : s.why);
}

static int64_t
spent(struct store_tx *tx, int workspace)
{
    struct budget_row b = {.org = id_of(1), .period = BUDGET_TOTAL};
    int64_t nano = 0;

    b.workspace = workspace == 0 ? (struct id){{0}} : id_of(workspace);
    OK(budget_row_spent(tx, &b, 1795000000000, &nano, &e));
    return nano;
}

TX_TEST(what_an_old_checkpoint_covers_goes_and_the_rest_still_holds)
{
    struct anchor_row anchor;
    struct id *orgs;
    struct str why;
    int64_t until;
    size_t n;

    seven_entries(tx);
    OK(prune_chain_orgs(tx, AUDIT_LEDGER, 1000, &arena, &orgs, &n, &e));
    assert_int_equal(n, 0);
    OK(prune_chain_orgs(tx, AUDIT_LEDGER, 1001, &arena, &orgs, &n, &e));
    assert_int_equal(n, 1);
    for (int type = 0; type < AUDIT_TYPE_COUNT; type++) {
        assert_int_equal(prune(tx, (enum audit_type)type, 1000, &why), 0);
        assert_int_equal(prune(tx, (enum audit_type)type, 1001, &why), 3);
        assert_int_equal(why.n, 0);
        assert_int_equal(prune(tx, (enum audit_type)type, 1001, &why), 0);
        assert_string_equal(wrong(tx), "");
    }
    OK(anchor_row_get(tx, id_of(1), store_tx_node(tx), AUDIT_LEDGER, &anchor, &e));
    assert_int_equal(anchor.seq, 3);
    assert_int_equal(anchor.until_ms, 1000);
    OK(anchor_row_ledger_until(tx, id_of(1), &until, &e));
    assert_int_equal(until, 1000);
    OK(anchor_row_ledger_until(tx, id_of(2), &until, &e));
    assert_int_equal(until, 0);
    assert_int_equal(int_sql(tx, "SELECT MIN(seq) FROM ledger"), 4);
    book(tx, 408, 408);
    assert_string_equal(wrong(tx), "");
}

TX_TEST(a_chain_that_is_gone_as_a_whole_goes_on_behind_its_anchor)
{
    struct str why;

    crypto_sign_keypair(public_key, secret_key);
    book(tx, 401, 403);
    checkpoint_at(tx, 1000);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 2000, &why), 3);
    assert_int_equal(prune(tx, AUDIT_DECISION, 2000, &why), 3);
    assert_string_equal(wrong(tx), "");
    book(tx, 404, 404);
    assert_int_equal(int_sql(tx, "SELECT MIN(seq) FROM ledger"), 4);
    assert_string_equal(wrong(tx), "");
    exec_sql(tx, "DELETE FROM ledger");
    assert_string_not_equal(wrong(tx), "");
}

TX_TEST(budgets_over_all_time_count_what_is_gone)
{
    struct str why;

    seven_entries(tx);
    assert_int_equal(spent(tx, 0), 7 * 550);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 1001, &why), 3);
    assert_int_equal(spent(tx, 0), 7 * 550);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 5001, &why), 3);
    assert_int_equal(spent(tx, 0), 7 * 550);
    assert_string_equal(wrong(tx), "");
    assert_int_equal(spent(tx, 11), 3 * 550);
    assert_int_equal(spent(tx, 12), 4 * 550);
}

TX_TEST(a_portion_is_small)
{
    struct str why;

    crypto_sign_keypair(public_key, secret_key);
    for (int call = 401; call <= 400 + PRUNE_ROWS_MAX + 20; call++) {
        struct ledger_entry en = sample_entry(1, 11, call);

        OK(ledger_row_append(tx, &en, NULL, &e));
    }
    checkpoint_at(tx, 1000);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 2000, &why), PRUNE_ROWS_MAX);
    assert_string_equal(wrong(tx), "");
    assert_int_equal(prune(tx, AUDIT_LEDGER, 2000, &why), 20);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 2000, &why), 0);
    assert_string_equal(wrong(tx), "");
}

static const struct {
    const char *sql;
    const char *why;
} tampers[] = {
    {"UPDATE anchors SET seq = 4, hash = (SELECT hash FROM ledger WHERE seq = 4)",
        "anchor at entry 4 was moved or forged"},
    {"UPDATE anchors SET until_ms = 0", "was moved or forged"},
    {"UPDATE anchors SET checkpoint = 1 + checkpoint", "was moved or forged"},
    {"UPDATE anchors SET public_key = (SELECT hash FROM ledger WHERE seq = 4)", "moved or forged"},
    {"DELETE FROM anchors", "1 is missing"},
    {"DELETE FROM checkpoints WHERE chain = 'ledger' AND seq = 3", "not covered by checkpoint"},
    {"DELETE FROM ledger WHERE seq = 4", "4 is missing"},
    {"DELETE FROM ledger WHERE seq = 5", "5 is missing"},
    {"UPDATE ledger SET cost_nano_usd = 1 WHERE seq = 4", "4 was altered"},
    {"UPDATE ledger SET prev_hash = hash WHERE seq = 4", "4 does not follow"},
    {"UPDATE ledger SET seq = 2 WHERE seq = 7", "4 is missing"},
    {"UPDATE ledger SET seq = CASE seq WHEN 5 THEN 106 ELSE 105 END WHERE seq IN (5, 6)",
        "5 is missing"},
    {"DELETE FROM heads WHERE chain = 'ledger'", "8 is missing"},
};

static size_t tamper_at;

static enum err
tamper_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    struct str why;

    seven_entries(tx);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 1001, &why), 3);
    exec_sql(tx, tampers[tamper_at].sql);
    if (strstr(wrong(tx), tampers[tamper_at].why) == NULL)
        fail_msg("%s: \"%s\"", tampers[tamper_at].sql, wrong(tx));
    return fail(err, ERR_CONFLICT, "roll it back");
}

static void
every_change_is_found_on_both_sides_of_an_anchor(void **state)
{
    for (tamper_at = 0; tamper_at < sizeof(tampers) / sizeof(tampers[0]); tamper_at++)
        REFUSES(ERR_CONFLICT, store_tx(store, tamper_tx, NULL, &e));
}

/* With a key of his own, somebody removes the first entry and signs that. */
TX_TEST(an_anchor_signed_with_another_key_is_found)
{
    struct anchor_row r = {.org = id_of(1),
        .node = store_tx_node(tx),
        .chain = AUDIT_LEDGER,
        .seq = 3,
        .checkpoint = 1,
        .until_ms = 1000,
        .pruned_ms = 2000};
    struct ledger_row third;
    struct checkpoint_row kept;

    seven_entries(tx);
    OK(ledger_row_at(tx, id_of(1), store_tx_node(tx), 3, &third, &e));
    memcpy(r.hash, third.hash, sizeof(r.hash));
    r.checkpoint = int_sql(tx, "SELECT number FROM checkpoints WHERE chain = 'ledger' AND seq = 3");
    OK(checkpoint_row_get(tx, r.node, r.checkpoint, &kept, &e));
    crypto_sign_keypair(public_key, secret_key);
    sign_anchor(NULL, &r);
    OK(anchor_row_put(tx, &r, &e));
    exec_sql(tx, "DELETE FROM ledger WHERE seq <= 3");
    assert_non_null(strstr(wrong(tx), "not covered by checkpoint"));
}

TX_TEST(a_chain_that_does_not_hold_is_evidence_and_stays)
{
    struct str why;

    seven_entries(tx);
    exec_sql(tx, "UPDATE ledger SET cost_nano_usd = 1 WHERE seq = 2");
    assert_int_equal(prune(tx, AUDIT_LEDGER, 9000, &why), 0);
    assert_true(why.n > 0);
    assert_int_equal(int_sql(tx, "SELECT COUNT(*) FROM ledger"), 7);
    assert_int_equal(int_sql(tx, "SELECT COUNT(*) FROM anchors"), 0);
}

TX_TEST(a_checkpoint_of_another_key_removes_nothing)
{
    struct str why;

    seven_entries(tx);
    crypto_sign_keypair(public_key, secret_key);
    assert_int_equal(prune(tx, AUDIT_LEDGER, 9000, &why), 0);
    assert_non_null(strstr(arena_cstr(&arena, why), "is not signed by this node"));
}

TX_TEST(the_oldest_events_go_and_numbers_go_on)
{
    struct event_row event = {.org = id_of(1), .type = STR("x"), .json = STR("{}")};
    int64_t removed, seq = 0;
    struct id *orgs;
    size_t n;

    for (int i = 1; i <= 5; i++) {
        event.created_ms = i * 100;
        OK(event_row_append(tx, &event, &seq, &e));
    }
    OK(prune_event_orgs(tx, &arena, &orgs, &n, &e));
    assert_int_equal(n, 1);
    OK(prune_events(tx, orgs[0], 300, &removed, &e));
    assert_int_equal(removed, 2);
    OK(prune_events(tx, orgs[0], 300, &removed, &e));
    assert_int_equal(removed, 0);
    OK(event_row_append(tx, &event, &seq, &e));
    assert_int_equal(seq, 6);
}

TX_TEST(only_what_ended_goes)
{
    struct token_row live = sample_token(1, 11, TOKEN_WORKSPACE, 501),
                     ended = sample_token(1, 11, TOKEN_WORKSPACE, 502);
    struct idempotency_row key = {
        .org = id_of(1), .key = STR("k"), .body = STR(""), .created_ms = 5};
    bool is_new;
    int64_t removed[PRUNE_KIND_COUNT], last;

    live.expires_ms = 0;
    ended.expires_ms = 1000;
    OK(token_row_insert(tx, &live, &e));
    OK(token_row_insert(tx, &ended, &e));
    OK(idempotency_row_insert(tx, &key, &e));
    OK(budget_alert_note(tx, id_of(9), 0, 50, &is_new, &e));
    OK(budget_alert_note(tx, id_of(9), 7, 50, &is_new, &e));
    for (int k = 0; k < PRUNE_KIND_COUNT; k++)
        OK(prune_rows(tx, (enum prune_kind)k, 1000, &removed[k], &e));
    assert_int_equal(removed[PRUNE_TOKENS], 0);
    assert_int_equal(removed[PRUNE_IDEMPOTENCY_KEYS], 1);
    assert_int_equal(removed[PRUNE_BUDGET_ALERTS], 0);
    OK(prune_rows(tx, PRUNE_TOKENS, 1001, &removed[0], &e));
    assert_int_equal(removed[0], 1);
    OK(prune_rows(tx, PRUNE_BUDGET_ALERTS, INT64_MAX, &removed[0], &e));
    assert_int_equal(removed[0], 1);
    OK(prune_last(tx, &last, &e));
    assert_int_equal(last, 0);
    OK(prune_note(tx, 77, &e));
    OK(prune_last(tx, &last, &e));
    assert_int_equal(last, 77);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_an_old_checkpoint_covers_goes_and_the_rest_still_holds),
        STORE_TEST(a_chain_that_is_gone_as_a_whole_goes_on_behind_its_anchor),
        STORE_TEST(budgets_over_all_time_count_what_is_gone),
        STORE_TEST(a_portion_is_small),
        STORE_TEST(every_change_is_found_on_both_sides_of_an_anchor),
        STORE_TEST(an_anchor_signed_with_another_key_is_found),
        STORE_TEST(a_chain_that_does_not_hold_is_evidence_and_stays),
        STORE_TEST(a_checkpoint_of_another_key_removes_nothing),
        STORE_TEST(the_oldest_events_go_and_numbers_go_on),
        STORE_TEST(only_what_ended_goes),
    };

    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
