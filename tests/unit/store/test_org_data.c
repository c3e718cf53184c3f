#include "fixture.h"

#include "store/ledger_row.h"
#include "store/org_data.h"
#include "store/org_deletion_row.h"

enum { MANY = 700 };

static void
fill(struct store_tx *tx)
{
    struct secret_row shared = sample_secret(1, 0, "SHARED", 1),
                      own = sample_secret(1, 11, "OWN", 1), theirs = sample_secret(2, 21, "OWN", 1);
    struct token_row mine = sample_token(1, 11, TOKEN_WORKSPACE, 301),
                     other = sample_token(2, 0, TOKEN_ORG, 302);
    struct ledger_entry spent = sample_entry(1, 11, 1), also = sample_entry(2, 21, 2);
    struct decision_row decided = sample_decision(1, 11, 501);

    OK(secret_row_put(tx, &shared, &e));
    OK(secret_row_put(tx, &own, &e));
    OK(secret_row_put(tx, &theirs, &e));
    OK(token_row_insert(tx, &mine, &e));
    OK(token_row_insert(tx, &other, &e));
    OK(ledger_row_append(tx, &spent, NULL, &e));
    OK(ledger_row_append(tx, &also, NULL, &e));
    OK(decision_row_append(tx, &decided, &e));
    for (int i = 0; i < MANY; i++) {
        struct event_row ev = {
            .org = id_of(1), .type = STR("t"), .json = STR("{}"), .created_ms = i};

        OK(event_row_append(tx, &ev, NULL, &e));
    }
}

struct seen {
    int64_t rows, events, last_seq;
    bool leaks;
};

static bool
is_kept_to_ourselves(struct str name)
{
    return str_equal(name, STR("sealed")) || str_equal(name, STR("digest")) ||
        str_equal(name, STR("fingerprint"));
}

static enum err
look(void *ctx, const struct org_data_row *row, struct error *err)
{
    struct seen *s = ctx;

    s->rows++;
    for (size_t i = 0; i < row->columns_n; i++) {
        s->leaks = s->leaks || is_kept_to_ourselves(row->names[i]);
        if (strcmp(row->table, "events") == 0 && str_equal(row->names[i], STR("seq"))) {
            s->events++;
            if (row->values[i].type != DB_INT || row->values[i].i != s->last_seq + 1)
                return fail(err, ERR_INTERNAL, "out of order");
            s->last_seq = row->values[i].i;
        }
    }
    return ERR_OK;
}

/* Whoever adds a table with an org_id must say what becomes of it when the org ends. */
TX_TEST(every_table_of_an_org_is_exported_and_deleted)
{
    const char *of_sqlite = "SELECT COUNT(*) FROM sqlite_master m, pragma_table_info(m.name) p"
                            " WHERE m.type = 'table' AND p.name = 'org_id'";
    const char *of_postgresql = "SELECT COUNT(*) FROM information_schema.columns"
                                " WHERE table_schema = current_schema() AND column_name = 'org_id'";
    int64_t n = 0;

    while (org_data_table((size_t)n) != NULL)
        n++;
    /* Without the table of orgs itself, and with the records of deletions, which stay. */
    assert_int_equal(int_sql(tx, store_is_file ? of_sqlite : of_postgresql), n - 1 + 1);
}

TX_TEST(a_walk_shows_every_row_of_the_org_and_none_of_another)
{
    struct seen mine = {0}, theirs = {0}, nobody = {0};

    fill(tx);
    OK(org_data_walk(tx, id_of(1), look, &mine, &e));
    OK(org_data_walk(tx, id_of(2), look, &theirs, &e));
    OK(org_data_walk(tx, id_of(9), look, &nobody, &e));
    assert_int_equal(mine.events, MANY);
    /* org, workspace, 2 secrets, token, ledger, decision, 3 heads, events */
    assert_int_equal(mine.rows, 10 + MANY);
    assert_int_equal(theirs.rows, 6);
    assert_int_equal(nobody.rows, 0);
    assert_false(mine.leaks);
}

static int64_t
rows_of(struct store_tx *tx, int org)
{
    struct seen s = {0};

    OK(org_data_walk(tx, id_of(org), look, &s, &e));
    return s.rows;
}

TX_TEST(a_deletion_takes_one_org_whole_and_no_other)
{
    fill(tx);
    OK(org_data_delete(tx, id_of(1), false, &e));
    assert_int_equal(rows_of(tx, 1), 0);
    assert_int_equal(rows_of(tx, 2), 6);
}

TX_TEST(a_ledger_that_is_kept_stays_whole)
{
    struct str why;
    bool valid;

    fill(tx);
    OK(org_data_delete(tx, id_of(1), true, &e));
    assert_int_equal(rows_of(tx, 1), 2); /* the entry and its chain's end */
    OK(ledger_chain_verify(tx, id_of(1), store_tx_node(tx), 0, &arena, &valid, &why, &e));
    assert_true(valid);
}

static void
append(struct store_tx *tx, int n)
{
    struct org_deletion_row d = {.org = id_of(n),
        .slug = STR("gone"),
        .name = STR("Gone"),
        .counts = STR("{\"orgs\":1}"),
        .deleted_ms = n};

    OK(org_deletion_row_append(tx, &d, &e));
    assert_int_equal(d.seq, n);
}

static bool
chain_is_valid(struct store_tx *tx)
{
    struct org_deletion_row *rows;
    struct str why;
    size_t n;
    bool valid;

    OK(org_deletion_row_list(tx, &arena, &rows, &n, &valid, &why, &e));
    assert_int_equal(valid, why.n == 0);
    return valid;
}

TX_TEST(records_of_deletions_cannot_be_altered_or_lost_unseen)
{
    assert_true(chain_is_valid(tx));
    append(tx, 1);
    append(tx, 2);
    append(tx, 3);
    assert_true(chain_is_valid(tx));
    exec_sql(tx, "UPDATE org_deletions SET slug = 'other' WHERE seq = 2");
    assert_false(chain_is_valid(tx));
    exec_sql(tx, "UPDATE org_deletions SET slug = 'gone' WHERE seq = 2");
    assert_true(chain_is_valid(tx));
    exec_sql(tx, "DELETE FROM org_deletions WHERE seq = 3");
    assert_false(chain_is_valid(tx));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(every_table_of_an_org_is_exported_and_deleted),
        STORE_TEST(a_walk_shows_every_row_of_the_org_and_none_of_another),
        STORE_TEST(a_deletion_takes_one_org_whole_and_no_other),
        STORE_TEST(a_ledger_that_is_kept_stays_whole),
        STORE_TEST(records_of_deletions_cannot_be_altered_or_lost_unseen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
