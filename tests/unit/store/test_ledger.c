#include "fixture.h"

#include "store/audit_row.h"

static struct ledger_totals
totals(struct store_tx *tx, int org, int workspace)
{
    struct ledger_totals t;

    OK(ledger_row_totals(tx, id_of(org), id_of(workspace), 0, 0, &t, &e));
    return t;
}

static void
book(struct store_tx *tx, struct ledger_entry en, bool expected_new)
{
    bool is_new = !expected_new;

    OK(ledger_row_append(tx, &en, &is_new, &e));
    assert_int_equal(is_new, expected_new);
}

static bool
chain_is_valid(struct store_tx *tx, int org, struct str *why)
{
    bool valid = false;

    OK(ledger_chain_verify(tx, id_of(org), store_tx_node(tx), 0, &arena, &valid, why, &e));
    return valid;
}

TX_TEST(an_entry_comes_back_as_it_was_booked)
{
    struct ledger_entry en = sample_entry(1, 11, 400);
    struct ledger_row *rows;
    uint8_t in[LEDGER_CANONICAL_MAX], out[LEDGER_CANONICAL_MAX];
    size_t n, in_n, out_n;

    en.kind = LEDGER_CORRECTION;
    en.state = LEDGER_RECOVERED;
    en.certainty = LEDGER_BOUND;
    en.dialect = DIALECT_OPENAI_RESPONSES;
    en.estimate = LEDGER_ESTIMATE_TEXT;
    en.usage.output = -3;
    en.usage.web_searches = 4;
    en.price.web_search = 5;
    en.cost_nano_usd = INT64_MIN;
    book(tx, en, true);
    OK(ledger_row_list(tx, id_of(1), id_of(11), 5, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    in_n = ledger_entry_canonical(&en, in);
    out_n = ledger_entry_canonical(&rows[0].entry, out);
    assert_int_equal(in_n, out_n);
    assert_memory_equal(in, out, in_n);
    assert_int_equal(rows[0].seq, 1);
    assert_true(id_equal(rows[0].node, store_tx_node(tx)));
}

TX_TEST(the_same_key_is_booked_once_whatever_else_it_says)
{
    struct ledger_entry en = sample_entry(1, 11, 400);

    book(tx, en, true);
    book(tx, en, false);
    en.cost_nano_usd = 1;
    en.state = LEDGER_RECOVERED;
    book(tx, en, false);
    assert_int_equal(totals(tx, 1, 11).cost_nano_usd, 550);
    assert_int_equal(totals(tx, 1, 11).calls, 1);
    en.attempt = 2;
    book(tx, en, true);
    en.kind = LEDGER_CORRECTION;
    book(tx, en, true);
    assert_int_equal(totals(tx, 1, 11).cost_nano_usd, 552);
    assert_int_equal(totals(tx, 1, 11).calls, 2);
}

static void
book_400(struct store_tx *tx)
{
    struct ledger_entry en = sample_entry(1, 11, 400);

    OK(ledger_row_append(tx, &en, NULL, &e));
}

static void
one_is_there(struct store_tx *tx)
{
    assert_int_equal(totals(tx, 1, 0).calls, 1);
}

static void
booking_again_after_a_restart_changes_nothing(void **state)
{
    in_tx(book_400);
    reopen();
    in_tx(book_400);
    in_read(one_is_there);
}

TX_TEST(totals_are_per_workspace_org_and_time)
{
    struct ledger_entry failed = sample_entry(1, 11, 402), other = sample_entry(1, 12, 403);
    struct ledger_totals t;

    failed.state = LEDGER_FAILED;
    failed.usage = (struct usage){0};
    failed.cost_nano_usd = 0;
    other.certainty = LEDGER_ESTIMATED;
    book(tx, sample_entry(1, 11, 401), true);
    book(tx, failed, true);
    book(tx, other, true);
    book(tx, sample_entry(2, 21, 404), true);
    t = totals(tx, 1, 11);
    assert_int_equal(t.calls, 1);
    assert_int_equal(t.failed, 1);
    assert_int_equal(t.inexact, 0);
    assert_int_equal(t.usage.input, 10);
    assert_int_equal(t.usage.output, 20);
    assert_int_equal(t.usage.cache_read, 3);
    assert_int_equal(t.usage.cache_write_5m, 4);
    assert_int_equal(t.usage.cache_write_1h, 5);
    assert_int_equal(t.usage.reasoning, 6);
    t = totals(tx, 1, 0);
    assert_int_equal(t.calls, 2);
    assert_int_equal(t.inexact, 1);
    assert_int_equal(t.cost_nano_usd, 1100);
    OK(ledger_row_totals(tx, id_of(1), id_of(0), 10401, 10403, &t, &e));
    assert_int_equal(t.calls, 1);
    OK(ledger_row_totals(tx, id_of(3), id_of(0), 0, 0, &t, &e));
    assert_int_equal(t.calls, 0);
    assert_int_equal(t.cost_nano_usd, 0);
}

TX_TEST(the_newest_come_first_and_at_most_so_many)
{
    struct ledger_row *rows;
    size_t n;

    for (int call = 401; call <= 420; call++)
        book(tx, sample_entry(1, call % 2 == 0 ? 11 : 12, call), true);
    OK(ledger_row_list(tx, id_of(1), id_of(11), 3, &arena, &rows, &n, &e));
    assert_int_equal(n, 3);
    assert_int_equal(rows[0].entry.opened_ms, 10420);
    assert_int_equal(rows[2].entry.opened_ms, 10416);
    OK(ledger_row_list(tx, id_of(1), id_of(0), 100, &arena, &rows, &n, &e));
    assert_int_equal(n, 20);
}

TX_TEST(what_a_vendor_says_it_is_never_hinders_booking)
{
    struct ledger_entry en = sample_entry(1, 11, 400);
    struct ledger_row *rows;
    struct str why;
    size_t n;

    memset(en.model_answered, 0xff, sizeof(en.model_answered));
    memcpy(en.model_answered, "a\nb\x7f", 4);
    book(tx, en, true);
    OK(ledger_row_list(tx, id_of(1), id_of(11), 1, &arena, &rows, &n, &e));
    assert_memory_equal(rows[0].entry.model_answered, "a?b???", 6);
    assert_true(chain_is_valid(tx, 1, &why));
}

TX_TEST(what_was_spent_is_booked_for_an_org_that_is_gone)
{
    book(tx, sample_entry(77, 78, 400), true);
    assert_int_equal(totals(tx, 77, 78).calls, 1);
}

TX_TEST(orgs_have_chains_of_their_own)
{
    struct str why;
    struct ledger_row *rows;
    size_t n;

    assert_true(chain_is_valid(tx, 1, &why));
    book(tx, sample_entry(1, 11, 401), true);
    book(tx, sample_entry(2, 21, 402), true);
    book(tx, sample_entry(1, 11, 403), true);
    OK(ledger_row_list(tx, id_of(2), id_of(0), 9, &arena, &rows, &n, &e));
    assert_int_equal(rows[0].seq, 1);
    assert_true(chain_is_valid(tx, 1, &why));
    assert_true(chain_is_valid(tx, 2, &why));
}

/* Every way to change history that the chain must show. */
static const struct {
    const char *name;
    const char *sql;
    const char *why;
} tampers[] = {
    {"a cost", "UPDATE ledger SET cost_nano_usd = 1 WHERE seq = 3", "3 was altered"},
    {"a count", "UPDATE ledger SET input_tokens = input_tokens + 1 WHERE seq = 1", "1 was altered"},
    {"a model", "UPDATE ledger SET model_answered = 'x' WHERE seq = 5", "5 was altered"},
    {"a workspace",
        "UPDATE ledger SET workspace_id = '00000000-0000-0000-0000-000000000000' WHERE seq = 2",
        "2 was altered"},
    {"a word that is none", "UPDATE ledger SET state = 'nonsense' WHERE seq = 4", "4 was altered"},
    {"the bytes", "UPDATE ledger SET canonical = prev_hash WHERE seq = 2", "2 was altered"},
    {"a hash", "UPDATE ledger SET hash = prev_hash WHERE seq = 2", "2 was altered"},
    {"a link", "UPDATE ledger SET prev_hash = hash WHERE seq = 2", "2 does not follow"},
    {"one gone from the middle", "DELETE FROM ledger WHERE seq = 3", "3 is missing"},
    {"the first gone", "DELETE FROM ledger WHERE seq = 1", "1 is missing"},
    {"the last gone", "DELETE FROM ledger WHERE seq = 5", "5 is missing"},
    {"all gone", "DELETE FROM ledger", "1 is missing"},
    {"two swapped",
        "UPDATE ledger SET seq = CASE seq WHEN 2 THEN 103 ELSE 102 END WHERE seq IN (2, 3)",
        "2 is missing"},
    {"one doubled behind",
        "INSERT INTO ledger SELECT org_id, node_id, 6, prev_hash, hash, canonical, booked_ms, "
        "call_id, 9, kind,"
        " workspace_id, token_id, decision_id, platform_key_id, state, certainty, dialect, "
        "vendor_status,"
        " opened_ms, first_byte_ms, closed_ms, input_tokens, output_tokens, cache_read_tokens,"
        " cache_write_5m_tokens, cache_write_1h_tokens, reasoning_tokens, price_from_ms, "
        "price_above_tokens,"
        " price_input, price_output, price_cache_read, price_cache_write_5m, price_cache_write_1h,"
        " bound_nano_usd, cost_nano_usd, registry_fingerprint, provider, model_asked, model_vendor,"
        " model_answered, web_searches, price_web_search, estimated_by FROM ledger WHERE seq = 5",
        "6 was altered"},
    {"the head", "DELETE FROM heads WHERE chain = 'ledger'", "6 is missing"},
};

static size_t tamper_at;

static void
tamper_and_look(struct store_tx *tx)
{
    struct str why = STR("");

    for (int call = 401; call <= 405; call++)
        book(tx, sample_entry(1, 11, call), true);
    assert_true(chain_is_valid(tx, 1, &why));
    exec_sql(tx, tampers[tamper_at].sql);
    if (chain_is_valid(tx, 1, &why))
        fail_msg("%s: the chain looks valid", tampers[tamper_at].name);
    if (strstr(why.p, tampers[tamper_at].why) == NULL)
        fail_msg("%s: %s", tampers[tamper_at].name, why.p);
    exec_sql(tx, "DELETE FROM ledger");
    exec_sql(tx, "DELETE FROM heads");
}

static void
the_chain_shows_every_change_of_the_ledger(void **state)
{
    for (tamper_at = 0; tamper_at < sizeof(tampers) / sizeof(tampers[0]); tamper_at++)
        in_tx(tamper_and_look);
}

TX_TEST(decisions_come_back_as_they_were_written)
{
    struct decision_row d = sample_decision(1, 11, 500), got, *rows;
    size_t n;

    d.kind = DECISION_REFUSAL;
    d.code = STR("MISSING_BYOK_CREDENTIAL");
    memset(d.registry_fingerprint, 9, sizeof(d.registry_fingerprint));
    OK(decision_row_append(tx, &d, &e));
    OK(decision_row_get(tx, id_of(1), id_of(500), &arena, &got, &e));
    assert_int_equal(got.kind, DECISION_REFUSAL);
    assert_str(got.code, "MISSING_BYOK_CREDENTIAL");
    assert_str(got.mode, "byok");
    assert_str(got.source, "derived_provider");
    assert_str(got.provider, "anthropic-api");
    assert_str(got.model, "claude-opus-4-7");
    assert_str(got.runtime, "claude-code");
    assert_str(got.json, "{\"inputs\":{}}");
    assert_memory_equal(got.registry_fingerprint, d.registry_fingerprint, 32);
    assert_int_equal(got.seq, 1);
    d = sample_decision(1, 11, 501);
    OK(decision_row_append(tx, &d, &e));
    OK(decision_row_list(
        tx, &(struct decision_filter){id_of(1), id_of(11)}, 10, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_true(id_equal(rows[0].id, id_of(501)));
    OK(decision_row_list(
        tx, &(struct decision_filter){id_of(1), id_of(12)}, 10, &arena, &rows, &n, &e));
    assert_int_equal(n, 0);
    REFUSES(ERR_NOT_FOUND, decision_row_get(tx, id_of(1), id_of(777), &arena, &got, &e));
}

static void
tamper_with_decisions(struct store_tx *tx)
{
    static const struct {
        const char *sql, *why;
    } cases[] = {
        {"UPDATE decisions SET record = '{}' WHERE seq = 2", "2 was altered"},
        {"UPDATE decisions SET mode = 'platform_managed' WHERE seq = 1", "1 was altered"},
        {"UPDATE decisions SET kind = 'nonsense' WHERE seq = 1", "1 was altered"},
        {"UPDATE decisions SET code = 'ab', mode = 'yok' WHERE seq = 3", "3 was altered"},
        {"DELETE FROM decisions WHERE seq = 2", "2 is missing"},
        {"DELETE FROM decisions WHERE seq = 3", "3 is missing"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool valid = false;
        struct str why;

        exec_sql(tx, "DELETE FROM decisions");
        exec_sql(tx, "DELETE FROM heads");
        for (int n = 500; n < 503; n++) {
            struct decision_row d = sample_decision(1, 11, n);

            OK(decision_row_append(tx, &d, &e));
        }
        OK(decision_chain_verify(tx, id_of(1), store_tx_node(tx), 0, &arena, &valid, &why, &e));
        assert_true(valid);
        exec_sql(tx, cases[i].sql);
        OK(decision_chain_verify(tx, id_of(1), store_tx_node(tx), 0, &arena, &valid, &why, &e));
        assert_false(valid);
        if (strstr(why.p, cases[i].why) == NULL)
            fail_msg("%s: %s", cases[i].sql, why.p);
    }
}

static void
the_chain_shows_every_change_of_the_decisions(void **state)
{
    in_tx(tamper_with_decisions);
}

static size_t
list_decisions(struct store_tx *tx, int org, int workspace, int before, size_t max, int64_t *ret_ms)
{
    struct decision_filter f = {
        .org = id_of(org), .workspace = id_of(workspace), .before = id_of(before)};
    struct decision_row *rows = NULL;
    size_t n = 0;

    OK(decision_row_list(tx, &f, max, &arena, &rows, &n, &e));
    for (size_t i = 0; i < n; i++) {
        assert_true(i == 0 || rows[i].created_ms < rows[i - 1].created_ms);
        ret_ms[i] = rows[i].created_ms;
    }
    return n;
}

TX_TEST(decisions_are_listed_by_org_workspace_and_page)
{
    struct decision_row at;
    int64_t ms[16];

    for (int n = 500; n < 506; n++) {
        struct decision_row d = sample_decision(n % 2 + 1, n < 503 ? 11 : 12, n);

        OK(decision_row_append(tx, &d, &e));
    }
    assert_int_equal(list_decisions(tx, 0, 0, 0, 16, ms), 6); /* the admin's: all orgs' */
    assert_int_equal(list_decisions(tx, 1, 0, 0, 16, ms), 3);
    assert_int_equal(list_decisions(tx, 1, 11, 0, 16, ms), 2);
    assert_int_equal(ms[0], 1502);
    assert_int_equal(list_decisions(tx, 1, 12, 0, 16, ms), 1);
    assert_int_equal(list_decisions(tx, 0, 0, 503, 2, ms), 2);
    assert_int_equal(ms[0], 1502);
    assert_int_equal(list_decisions(tx, 0, 0, 500, 2, ms), 0);
    OK(decision_row_at(tx, id_of(1), store_tx_node(tx), 2, &arena, &at, &e));
    assert_true(id_equal(at.id, id_of(502)));
    REFUSES(ERR_NOT_FOUND, decision_row_at(tx, id_of(1), store_tx_node(tx), 4, &arena, &at, &e));
}

static int64_t
trail(struct store_tx *tx, const struct audit_filter *f, size_t skip, size_t max,
    char ret[static 128])
{
    struct audit_row *rows = NULL;
    int64_t total = -1;
    size_t n = 0, used = 0;

    ret[0] = '\0';
    OK(audit_row_list(tx, f, skip, max, &arena, &rows, &n, &total, &e));
    for (size_t i = 0; i < n; i++) {
        int64_t ms = rows[i].type == AUDIT_DECISION ? rows[i].decision.created_ms
                                                    : rows[i].entry.entry.opened_ms;

        used += (size_t)snprintf(ret + used, 128 - used, "%c%lld ",
            rows[i].type == AUDIT_DECISION ? 'd' : 'l', (long long)ms);
    }
    return total;
}

TX_TEST(a_trail_is_decisions_and_entries_of_one_workspace_newest_first)
{
    struct audit_filter f = {.org = id_of(1), .workspace = id_of(11)};
    char seen[128];

    for (int n = 500; n < 502; n++) {
        struct decision_row d = sample_decision(1, 11, n), other = sample_decision(1, 12, n + 10);
        struct ledger_entry en = sample_entry(1, 11, n);

        d.created_ms = 10000 + n; /* as the entry: the decision comes first in the list */
        OK(decision_row_append(tx, &d, &e));
        OK(decision_row_append(tx, &other, &e));
        book(tx, en, true);
        book(tx, sample_entry(2, 11, n + 100), true);
    }
    assert_int_equal(trail(tx, &f, 0, 9, seen), 4);
    assert_string_equal(seen, "d10501 l10501 d10500 l10500 ");
    assert_int_equal(trail(tx, &f, 1, 2, seen), 4);
    assert_string_equal(seen, "l10501 d10500 ");
    assert_int_equal(trail(tx, &f, 4, 9, seen), 4);
    assert_string_equal(seen, "");
    f.from_ms = 10501;
    assert_int_equal(trail(tx, &f, 0, 9, seen), 2);
    f.from_ms = 0;
    f.to_ms = 10501;
    assert_int_equal(trail(tx, &f, 0, 9, seen), 2);
    assert_string_equal(seen, "d10500 l10500 ");
}

static size_t
chains_of(struct store_tx *tx, int org, struct audit_chain **ret)
{
    size_t n = 0;

    OK(audit_chain_list(tx, id_of(org), &arena, ret, &n, &e));
    return n;
}

TX_TEST(every_chain_is_found_also_without_head_or_entries)
{
    struct decision_row d = sample_decision(1, 11, 500);
    struct audit_chain *chains;

    assert_int_equal(chains_of(tx, 0, &chains), 0);
    OK(decision_row_append(tx, &d, &e));
    book(tx, sample_entry(1, 11, 500), true);
    book(tx, sample_entry(77, 11, 501), true); /* an org that is gone */
    assert_int_equal(chains_of(tx, 0, &chains), 3);
    assert_int_equal(chains_of(tx, 2, &chains), 0);
    assert_int_equal(chains_of(tx, 1, &chains), 2);
    assert_int_equal(chains[0].type, AUDIT_DECISION);
    assert_int_equal(chains[1].type, AUDIT_LEDGER);
    assert_true(chains[0].valid && chains[1].valid);
    assert_int_equal(chains[0].entries, 1);
    exec_sql(tx, "DELETE FROM heads WHERE chain = 'decision'");
    exec_sql(tx, "DELETE FROM ledger");
    assert_int_equal(chains_of(tx, 1, &chains), 2);
    assert_false(chains[0].valid);
    assert_false(chains[1].valid);
    assert_non_null(strstr(chains[1].why.p, "ledger entry 1 is missing"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(decisions_are_listed_by_org_workspace_and_page),
        STORE_TEST(a_trail_is_decisions_and_entries_of_one_workspace_newest_first),
        STORE_TEST(every_chain_is_found_also_without_head_or_entries),
        STORE_TEST(an_entry_comes_back_as_it_was_booked),
        STORE_TEST(the_same_key_is_booked_once_whatever_else_it_says),
        STORE_TEST(booking_again_after_a_restart_changes_nothing),
        STORE_TEST(totals_are_per_workspace_org_and_time),
        STORE_TEST(the_newest_come_first_and_at_most_so_many),
        STORE_TEST(what_a_vendor_says_it_is_never_hinders_booking),
        STORE_TEST(what_was_spent_is_booked_for_an_org_that_is_gone),
        STORE_TEST(orgs_have_chains_of_their_own),
        STORE_TEST(the_chain_shows_every_change_of_the_ledger),
        STORE_TEST(decisions_come_back_as_they_were_written),
        STORE_TEST(the_chain_shows_every_change_of_the_decisions),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
