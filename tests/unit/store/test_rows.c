#include "fixture.h"

static struct workspace_row
workspace_of(struct store_tx *tx, int org, int n)
{
    struct workspace_row w = {0};

    OK(workspace_row_get(tx, id_of(org), id_of(n), &arena, &w, &e));
    return w;
}

static void
put_secret(struct store_tx *tx, int org, int workspace, const char *name)
{
    struct secret_row s = sample_secret(org, workspace, name, 1);

    OK(secret_row_put(tx, &s, &e));
}

TX_TEST(an_org_comes_back_as_it_was_written)
{
    struct org_row o = {.id = id_of(7),
                       .slug = STR("Zed"),
                       .name = STR("N\xc3\xa4me"),
                       .suspended = true,
                       .vendor_keys = ORG_VENDOR_KEYS_ALLOW,
                       .created_ms = INT64_MAX},
                   got, *all;
    size_t n;

    OK(org_row_insert(tx, &o, &e));
    OK(org_row_get(tx, id_of(7), &arena, &got, &e));
    assert_str(got.slug, "Zed");
    assert_str(got.name, "N\xc3\xa4me");
    assert_true(got.suspended);
    assert_int_equal(got.vendor_keys, ORG_VENDOR_KEYS_ALLOW);
    assert_true(got.created_ms == INT64_MAX);
    OK(org_row_get_by_slug(tx, STR("one"), &arena, &got, &e));
    assert_true(id_equal(got.id, id_of(1)));
    assert_false(got.suspended);
    assert_int_equal(got.vendor_keys, ORG_VENDOR_KEYS_REJECT);
    OK(org_row_list(tx, &arena, &all, &n, &e));
    assert_int_equal(n, 3);
    assert_str(all[0].slug, "Zed"); /* bytewise: capitals first */
    assert_str(all[2].slug, "two");
    REFUSES(ERR_NOT_FOUND, org_row_get(tx, id_of(99), &arena, &got, &e));
    REFUSES(ERR_NOT_FOUND, org_row_get_by_slug(tx, STR("ONE"), &arena, &got, &e));
}

TX_TEST(an_org_can_be_suspended_and_its_policy_changed)
{
    struct org_row o;

    OK(org_row_set_suspended(tx, id_of(1), true, &e));
    OK(org_row_get(tx, id_of(1), &arena, &o, &e));
    o.vendor_keys = ORG_VENDOR_KEYS_ALLOW;
    o.slug = STR("uno");
    OK(org_row_update(tx, &o, &e));
    OK(org_row_get_by_slug(tx, STR("uno"), &arena, &o, &e));
    assert_true(o.suspended);
    assert_int_equal(o.vendor_keys, ORG_VENDOR_KEYS_ALLOW);
    REFUSES(ERR_NOT_FOUND, org_row_set_suspended(tx, id_of(9), true, &e));
    o.id = id_of(9);
    o.slug = STR("nine");
    REFUSES(ERR_NOT_FOUND, org_row_update(tx, &o, &e));
}

static enum err
take_slug(struct store_tx *tx, void *ctx, struct error *err)
{
    struct org_row o = {.id = id_of(7), .slug = STR("one"), .name = STR("")};

    return org_row_insert(tx, &o, err);
}

static enum err
take_workspace_id(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row w = sample_workspace(2, 11);

    return workspace_row_insert(tx, &w, err);
}

static enum err
point_to_no_org(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row w = sample_workspace(9, 99);

    return workspace_row_insert(tx, &w, err);
}

static enum err
point_to_a_foreign_parent(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row w = sample_workspace(1, 99);

    w.parent = id_of(21);
    return workspace_row_insert(tx, &w, err);
}

static enum err
secret_for_a_foreign_workspace(struct store_tx *tx, void *ctx, struct error *err)
{
    struct secret_row s = sample_secret(1, 21, "NAME", 1);

    return secret_row_put(tx, &s, err);
}

static enum err
secret_for_no_org(struct store_tx *tx, void *ctx, struct error *err)
{
    struct secret_row s = sample_secret(9, 0, "NAME", 1);

    return secret_row_put(tx, &s, err);
}

static enum err
secret_under_a_retired_key(struct store_tx *tx, void *ctx, struct error *err)
{
    struct secret_row s = sample_secret(1, 11, "NAME", 2);

    s.key_id = 77;
    if (sealed_key_retire(tx, 77, 1, err) != ERR_OK)
        return err->code;
    return secret_row_put(tx, &s, err);
}

static enum err
token_for_a_foreign_workspace(struct store_tx *tx, void *ctx, struct error *err)
{
    struct token_row t = sample_token(1, 21, TOKEN_USAGE, 300);

    return token_row_insert(tx, &t, err);
}

static enum err
same_digest_twice(struct store_tx *tx, void *ctx, struct error *err)
{
    struct token_row t = sample_token(1, 11, TOKEN_USAGE, 300);

    OK(token_row_insert(tx, &t, err));
    t.id = id_of(301);
    return token_row_insert(tx, &t, err);
}

static enum err
same_decision_twice(struct store_tx *tx, void *ctx, struct error *err)
{
    struct decision_row d = sample_decision(1, 11, 500);

    OK(decision_row_append(tx, &d, err));
    return decision_row_append(tx, &d, err);
}

static enum err
same_idempotency_key_twice(struct store_tx *tx, void *ctx, struct error *err)
{
    struct idempotency_row r = {.org = id_of(0), .key = STR("k"), .body = STR("{}")};

    OK(idempotency_row_insert(tx, &r, err));
    return idempotency_row_insert(tx, &r, err);
}

static enum err
platform_key_without_weight(struct store_tx *tx, void *ctx, struct error *err)
{
    struct platform_key k = {
        .id = id_of(60), .provider = STR("p"), .sealed = STR("s"), .fingerprint = STR("f")};

    return platform_key_insert(tx, &k, err);
}

static void
rows_that_must_not_be_are_refused(void **state)
{
    static const struct {
        const char *name;
        store_tx_fn *fn;
        enum err err;
    } cases[] = {
        {"slug taken", take_slug, ERR_CONFLICT},
        {"workspace id taken, by another org", take_workspace_id, ERR_CONFLICT},
        {"no such org", point_to_no_org, ERR_NOT_FOUND},
        {"parent of another org", point_to_a_foreign_parent, ERR_NOT_FOUND},
        {"secret in another org's workspace", secret_for_a_foreign_workspace, ERR_NOT_FOUND},
        {"secret of no org", secret_for_no_org, ERR_NOT_FOUND},
        {"secret version skipped", secret_under_a_retired_key, ERR_CONFLICT},
        {"token for another org's workspace", token_for_a_foreign_workspace, ERR_NOT_FOUND},
        {"digest taken", same_digest_twice, ERR_CONFLICT},
        {"decision id taken", same_decision_twice, ERR_CONFLICT},
        {"idempotency key used", same_idempotency_key_twice, ERR_CONFLICT},
        {"weight 0", platform_key_without_weight, ERR_STORE_UNAVAILABLE},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum err err = store_tx(store, cases[i].fn, NULL, &e);

        if (err != cases[i].err)
            fail_msg("%s: got %s (%s)", cases[i].name, err_name(err), e.text);
    }
}

TX_TEST(a_workspace_comes_back_as_it_was_written)
{
    struct workspace_row w = sample_workspace(1, 12), got;

    w.parent = id_of(11);
    w.override_present = true;
    w.override_raw = STR(" byokk\t"); /* garbled stays garbled */
    w.extra_models = STR("[\"a\"]");
    w.required_env = STR("[\"B\"]");
    w.has_budget_limit = true;
    w.budget_limit_cents = 0;
    w.desired = WORKSPACE_DESIRED_RUNNING;
    w.status = WORKSPACE_AWAITING_AGENT;
    w.last_error_code = STR("CODE");
    w.last_error = STR("text");
    OK(workspace_row_insert(tx, &w, &e));
    got = workspace_of(tx, 1, 12);
    assert_true(id_equal(got.parent, id_of(11)));
    assert_true(id_equal(got.node, store_tx_node(tx)));
    assert_true(got.override_present);
    assert_str(got.override_raw, " byokk\t");
    assert_str(got.command, "[\"sleep\",\"1\"]");
    assert_str(got.extra_models, "[\"a\"]");
    assert_str(got.required_env, "[\"B\"]");
    assert_true(got.has_budget_limit);
    assert_int_equal(got.budget_limit_cents, 0);
    assert_int_equal(got.desired, WORKSPACE_DESIRED_RUNNING);
    assert_int_equal(got.status, WORKSPACE_AWAITING_AGENT);
    assert_str(got.last_error_code, "CODE");
    assert_int_equal(got.version, 1);
    assert_int_equal(got.uid, 0);
    got = workspace_of(tx, 1, 11);
    assert_false(got.override_present);
    assert_false(got.has_budget_limit);
    assert_str(got.extra_models, "[]");
    assert_true(id_is_zero(got.parent));
}

TX_TEST(any_override_text_is_kept_and_null_clears)
{
    static const char *const texts[] = {
        "", "byok", "BYOK", "byokk", " byok", "\xc3\xa9", "platform_managed"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct str raw = str_from_cstr(texts[i]);

        OK(workspace_row_set_override(tx, id_of(1), id_of(11), &raw, &e));
        assert_true(workspace_of(tx, 1, 11).override_present);
        assert_str(workspace_of(tx, 1, 11).override_raw, texts[i]);
    }
    OK(workspace_row_set_override(tx, id_of(1), id_of(11), NULL, &e));
    assert_false(workspace_of(tx, 1, 11).override_present);
}

TX_TEST(an_update_of_an_old_reading_is_a_conflict)
{
    struct workspace_row w = workspace_of(tx, 1, 11), stale = w;

    w.name = STR("renamed");
    OK(workspace_row_update(tx, &w, &e));
    assert_str(workspace_of(tx, 1, 11).name, "renamed");
    assert_int_equal(workspace_of(tx, 1, 11).version, 2);
    stale.name = STR("lost");
    REFUSES(ERR_CONFLICT, workspace_row_update(tx, &stale, &e));
    assert_str(workspace_of(tx, 1, 11).name, "renamed");
    stale.id = id_of(99);
    REFUSES(ERR_NOT_FOUND, workspace_row_update(tx, &stale, &e));
}

TX_TEST(status_and_desired_are_set_apart)
{
    struct workspace_life life = {.desired = WORKSPACE_DESIRED_RUNNING,
        .status = WORKSPACE_FAILED,
        .error_code = STR("CODE"),
        .error_text = STR("why"),
        .restarts = 3,
        .start_due_ms = 77};

    OK(workspace_row_set_life(tx, id_of(1), id_of(11), &life, &e));
    assert_int_equal(workspace_of(tx, 1, 11).desired, WORKSPACE_DESIRED_RUNNING);
    assert_int_equal(workspace_of(tx, 1, 11).status, WORKSPACE_FAILED);
    assert_str(workspace_of(tx, 1, 11).last_error_code, "CODE");
    assert_str(workspace_of(tx, 1, 11).last_error, "why");
    assert_int_equal(workspace_of(tx, 1, 11).restarts, 3);
    assert_int_equal(workspace_of(tx, 1, 11).start_due_ms, 77);
    life.error_code = life.error_text = STR("");
    OK(workspace_row_set_life(tx, id_of(1), id_of(11), &life, &e));
    assert_str(workspace_of(tx, 1, 11).last_error_code, "");
}

TX_TEST(every_status_and_desired_has_a_name_that_comes_back)
{
    for (int s = 0; s < WORKSPACE_STATUS_COUNT; s++) {
        enum workspace_status got;

        assert_true(
            workspace_status_from_name(workspace_status_name((enum workspace_status)s), &got));
        assert_int_equal(got, s);
    }
    for (int d = 0; d < WORKSPACE_DESIRED_COUNT; d++) {
        enum workspace_desired got;

        assert_true(
            workspace_desired_from_name(workspace_desired_name((enum workspace_desired)d), &got));
        assert_int_equal(got, d);
    }
    assert_false(workspace_status_from_name(STR("Online"), &(enum workspace_status){0}));
}

static int64_t
allot(struct store_tx *tx, int n, int64_t count)
{
    int64_t uid = -1;
    enum err err = workspace_row_allot_uid(tx, id_of(1), id_of(n), 200000, count, &uid, &e);

    return err == ERR_OK ? uid : -(int64_t)err;
}

TX_TEST(uids_are_the_smallest_free_ones)
{
    for (int n = 12; n <= 14; n++) {
        struct workspace_row w = sample_workspace(1, n);

        OK(workspace_row_insert(tx, &w, &e));
    }
    assert_int_equal(allot(tx, 11, 3), 200000);
    assert_int_equal(allot(tx, 12, 3), 200001);
    assert_int_equal(allot(tx, 13, 3), 200002);
    assert_int_equal(allot(tx, 12, 3), 200001); /* keeps its own */
    assert_int_equal(allot(tx, 14, 3), -(int64_t)ERR_CONFLICT);
    OK(workspace_row_remove(tx, id_of(1), id_of(12), &e));
    assert_int_equal(allot(tx, 14, 3), 200001); /* the hole */
    assert_int_equal(allot(tx, 12, 9), -(int64_t)ERR_NOT_FOUND);
}

TX_TEST(a_removed_workspace_leaves_a_row_and_nothing_else)
{
    bool suspended;
    struct token_row t = sample_token(1, 11, TOKEN_WORKSPACE, 300), got;
    struct workspace_row *rows;
    struct secret_row s;
    size_t n;

    put_secret(tx, 1, 11, "NAME");
    OK(token_row_insert(tx, &t, &e));
    OK(workspace_row_remove(tx, id_of(1), id_of(11), &e));
    assert_int_equal(workspace_of(tx, 1, 11).status, WORKSPACE_REMOVED);
    assert_int_equal(workspace_of(tx, 1, 11).desired, WORKSPACE_DESIRED_REMOVED);
    OK(workspace_row_list(tx, id_of(1), &arena, &rows, &n, &e));
    assert_int_equal(n, 0);
    OK(workspace_row_list_node(tx, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    REFUSES(ERR_NOT_FOUND, secret_row_get(tx, id_of(1), id_of(11), STR("NAME"), &arena, &s, &e));
    REFUSES(ERR_NOT_FOUND, token_row_find(tx, t.digest, 5000, &arena, &got, &suspended, &e));
    REFUSES(ERR_GONE, workspace_row_remove(tx, id_of(1), id_of(11), &e));
    REFUSES(
        ERR_GONE, workspace_row_set_life(tx, id_of(1), id_of(11), &(struct workspace_life){0}, &e));
}

TX_TEST(a_heartbeat_comes_back_until_the_next_start)
{
    struct heartbeat_row h = {.org = id_of(1),
        .workspace = id_of(11),
        .seen_ms = 500,
        .says_configured = true,
        .reason = STR("no key"),
        .report = STR("{\"error_rate\":0.5}"),
        .card = STR("{\"name\":\"x\"}")};
    struct heartbeat_row got;

    OK(heartbeat_row_get(tx, id_of(1), id_of(11), &arena, &got, &e));
    assert_int_equal(got.seen_ms, 0);
    assert_false(got.says_configured);
    assert_str(got.report, "{}");
    for (int i = 0; i < 2; i++) {
        h.configured = i == 1;
        OK(heartbeat_row_put(tx, &h, &e));
        OK(heartbeat_row_get(tx, id_of(1), id_of(11), &arena, &got, &e));
        assert_int_equal(got.seen_ms, 500);
        assert_true(got.says_configured);
        assert_int_equal(got.configured, i);
        assert_str(got.reason, "no key");
        assert_str(got.report, "{\"error_rate\":0.5}");
    }
    OK(heartbeat_row_reset(tx, id_of(1), id_of(11), &e));
    OK(heartbeat_row_get(tx, id_of(1), id_of(11), &arena, &got, &e));
    assert_int_equal(got.seen_ms, 0);
    assert_false(got.says_configured);
    assert_str(got.report, "{}");
    assert_str(got.card, "{\"name\":\"x\"}");
    OK(heartbeat_row_get(tx, id_of(2), id_of(11), &arena, &got, &e));
    assert_str(got.card, "{}");
}

TX_TEST(only_those_that_run_and_were_heard_can_be_missed)
{
    static const enum workspace_status statuses[] = {WORKSPACE_ONLINE, WORKSPACE_DEGRADED,
        WORKSPACE_PROVISIONING, WORKSPACE_OFFLINE, WORKSPACE_FAILED, WORKSPACE_STOPPED};
    struct heartbeat_row h = {.org = id_of(1), .workspace = id_of(11), .seen_ms = 500};
    struct heartbeat_missed *missed;
    size_t n;

    OK(heartbeat_row_put(tx, &h, &e));
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct workspace_life life = {.status = statuses[i]};

        OK(workspace_row_set_life(tx, id_of(1), id_of(11), &life, &e));
        OK(heartbeat_row_missed(tx, 501, 400, &arena, &missed, &n, &e));
        assert_int_equal(n, i < 2 ? 1 : 0);
        OK(heartbeat_row_missed(tx, 500, 900, &arena, &missed, &n, &e)); /* it is not external */
        assert_int_equal(n, 0);
    }
    OK(workspace_row_set_life(
        tx, id_of(1), id_of(11), &(struct workspace_life){.status = WORKSPACE_ONLINE}, &e));
    OK(heartbeat_row_missed(tx, 501, 400, &arena, &missed, &n, &e));
    assert_int_equal(n, 1);
    assert_true(id_equal(missed[0].workspace, id_of(11)));
    assert_int_equal(missed[0].seen_ms, 500);
    OK(heartbeat_row_reset(tx, id_of(1), id_of(11), &e));
    OK(heartbeat_row_missed(tx, 501, 400, &arena, &missed, &n, &e));
    assert_int_equal(n, 0);
}

TX_TEST(events_are_read_from_either_end)
{
    struct event_row ev = {.org = id_of(1), .type = STR("t"), .json = STR("{}"), .created_ms = 1};
    struct event_row *rows;
    int64_t head = -1;
    size_t n;

    OK(event_row_head(tx, id_of(1), &head, &e));
    assert_int_equal(head, 0);
    for (int i = 0; i < 5; i++) {
        ev.workspace = i % 2 == 0 ? id_of(11) : (struct id){0};
        OK(event_row_append(tx, &ev, NULL, &e));
    }
    OK(event_row_head(tx, id_of(1), &head, &e));
    assert_int_equal(head, 5);
    OK(event_row_last(tx, id_of(1), (struct id){0}, 2, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].seq, 4);
    assert_int_equal(rows[1].seq, 5);
    OK(event_row_last(tx, id_of(1), id_of(11), 2, &arena, &rows, &n, &e));
    assert_int_equal(rows[0].seq, 3);
    assert_int_equal(rows[1].seq, 5);
    OK(event_row_last(tx, id_of(2), (struct id){0}, 2, &arena, &rows, &n, &e));
    assert_int_equal(n, 0);
}

TX_TEST(a_secret_comes_back_as_it_was_put)
{
    struct secret_row s = sample_secret(1, 11, "NAME", 1), got;

    OK(secret_row_put(tx, &s, &e));
    OK(secret_row_get(tx, id_of(1), id_of(11), STR("NAME"), &arena, &got, &e));
    assert_int_equal(got.sealed.n, 6);
    assert_memory_equal(got.sealed.p, "se\0led", 6);
    assert_memory_equal(got.fingerprint.p, "finger\0print", 12);
    assert_int_equal(got.version, 1);
    s = sample_secret(1, 11, "NAME", 2);
    s.key_id = 5;
    OK(secret_row_put(tx, &s, &e));
    OK(secret_row_get(tx, id_of(1), id_of(11), STR("NAME"), &arena, &got, &e));
    assert_int_equal(got.version, 2);
    assert_int_equal(got.key_id, 5);
    assert_int_equal(got.created_ms, 1000);
    assert_int_equal(got.updated_ms, 2000);
    OK(secret_row_delete(tx, id_of(1), id_of(11), STR("NAME"), &e));
    REFUSES(ERR_NOT_FOUND, secret_row_delete(tx, id_of(1), id_of(11), STR("NAME"), &e));
}

/* Names by scope, and what a workspace with both sees. */
TX_TEST(merging_lets_the_workspace_win_and_keeps_the_scope)
{
    static const char *const of_org[] = {"A", "C", "E", "SHARED"};
    static const char *const own[] = {"B", "C", "SHARED", "Z"};
    static const char expected[] = "A:org B:ws C:ws E:org SHARED:ws Z:ws ";
    struct secret_row *rows;
    struct id *ids;
    size_t n;

    for (int i = 0; i < 4; i++) {
        put_secret(tx, 1, 0, of_org[i]);
        put_secret(tx, 1, 11, own[i]);
        put_secret(tx, 2, 0, "FOREIGN");
        OK(secret_row_delete(tx, id_of(2), id_of(0), STR("FOREIGN"), &e));
    }
    put_secret(tx, 2, 0, "FOREIGN");
    for (int sealed = 0; sealed < 2; sealed++) {
        char seen[128] = "";

        OK((sealed ? secret_row_load : secret_row_list)(
            tx, id_of(1), id_of(11), &arena, &rows, &n, &e));
        for (size_t i = 0; i < n; i++) {
            size_t used = strlen(seen);

            snprintf(seen + used, sizeof(seen) - used, "%.*s:%s ", STR_ARG(rows[i].name),
                id_is_zero(rows[i].workspace) ? "org" : "ws");
            assert_int_equal(rows[i].sealed.n, sealed ? 6 : 0);
            assert_true(id_equal(rows[i].org, id_of(1)));
        }
        assert_string_equal(seen, expected);
    }
    OK(secret_row_list(tx, id_of(1), id_of(0), &arena, &rows, &n, &e));
    assert_int_equal(n, 4);
    REFUSES(ERR_NOT_FOUND, secret_row_load(tx, id_of(1), id_of(99), &arena, &rows, &n, &e));
    OK(secret_row_list_inheritors(tx, id_of(1), STR("A"), &arena, &ids, &n, &e));
    assert_int_equal(n, 1);
    OK(secret_row_list_inheritors(tx, id_of(1), STR("C"), &arena, &ids, &n, &e));
    assert_int_equal(n, 0);
}

TX_TEST(equal_values_are_found_across_orgs_by_fingerprint_only)
{
    struct secret_row other = sample_secret(2, 21, "OTHER", 1), *rows;
    bool any = true;
    size_t n;

    OK(secret_row_any(tx, &any, &e));
    assert_false(any);
    put_secret(tx, 1, 0, "NAME");
    put_secret(tx, 2, 21, "NAME");
    other.fingerprint = STR("another");
    OK(secret_row_put(tx, &other, &e));
    OK(secret_row_list_equal(
        tx, (struct str){"finger\0print", 12}, id_of(0), 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_true(id_equal(rows[0].org, id_of(1)));
    assert_true(id_equal(rows[1].workspace, id_of(21)));
    OK(secret_row_list_equal(tx, STR("finger"), id_of(0), 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 0);
    OK(secret_row_any(tx, &any, &e));
    assert_true(any);
}

TX_TEST(a_token_comes_back_as_it_was_given_out)
{
    bool suspended;
    struct token_row t = sample_token(1, 11, TOKEN_USAGE, 300), got;

    t.decision = id_of(500);
    t.read_only = true;
    t.expires_ms = 9000;
    OK(token_row_insert(tx, &t, &e));
    OK(token_row_find(tx, t.digest, 8999, &arena, &got, &suspended, &e));
    assert_true(id_equal(got.org, id_of(1)));
    assert_true(id_equal(got.workspace, id_of(11)));
    assert_true(id_equal(got.decision, id_of(500)));
    assert_int_equal(got.kind, TOKEN_USAGE);
    assert_true(got.read_only);
    assert_str(got.prefix, "psr_use_abc");
    assert_str(got.models, "[\"anthropic/claude-opus-4-7\"]");
    assert_memory_equal(got.digest, t.digest, sizeof(t.digest));
    REFUSES(ERR_NOT_FOUND,
        token_row_find(tx, t.digest, 9000, &arena, &got, &suspended, &e)); /* expired */
    t.digest[5] ^= 1;
    REFUSES(ERR_NOT_FOUND, token_row_find(tx, t.digest, 5000, &arena, &got, &suspended, &e));
}

TX_TEST(revoked_tokens_are_not_found_and_suspended_orgs_are_told)
{
    bool suspended;
    struct token_row admin = sample_token(0, 0, TOKEN_ADMIN, 301),
                     org = sample_token(1, 0, TOKEN_ORG, 302), got, *rows;
    size_t n;

    OK(token_row_insert(tx, &admin, &e));
    OK(token_row_insert(tx, &org, &e));
    OK(token_row_find(tx, admin.digest, 5000, &arena, &got, &suspended, &e));
    assert_true(id_is_zero(got.org));
    OK(org_row_set_suspended(tx, id_of(1), true, &e));
    OK(token_row_find(tx, org.digest, 5000, &arena, &got, &suspended, &e));
    assert_true(suspended);
    OK(token_row_find(tx, admin.digest, 5000, &arena, &got, &suspended, &e));
    assert_false(suspended);
    OK(org_row_set_suspended(tx, id_of(1), false, &e));
    OK(token_row_revoke(tx, id_of(1), id_of(302), 6000, &arena, &got, &e));
    assert_memory_equal(got.digest, org.digest, sizeof(org.digest));
    assert_int_equal(got.revoked_ms, 6000);
    REFUSES(ERR_NOT_FOUND, token_row_find(tx, org.digest, 5000, &arena, &got, &suspended, &e));
    REFUSES(ERR_NOT_FOUND, token_row_revoke(tx, id_of(1), id_of(302), 6000, &arena, &got, &e));
    REFUSES(ERR_NOT_FOUND, token_row_revoke(tx, id_of(1), id_of(301), 6000, &arena, &got, &e));
    OK(token_row_list(tx, id_of(0), id_of(0), TOKEN_ADMIN, 5000, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    OK(token_row_revoke(tx, id_of(0), id_of(301), 6000, &arena, &got, &e));
}

TX_TEST(live_usage_tokens_are_what_the_policy_is_rebuilt_from)
{
    struct token_row *rows, got;
    int64_t live = -1;
    size_t n;

    for (int i = 0; i < 4; i++) {
        struct token_row t = sample_token(i == 3 ? 2 : 1, i == 3 ? 21 : 11, TOKEN_USAGE, 300 + i);

        t.expires_ms = i == 1 ? 4000 : 0;
        OK(token_row_insert(tx, &t, &e));
    }
    OK(token_row_revoke(tx, id_of(1), id_of(302), 5000, &arena, &got, &e));
    OK(token_row_list_live_usage(tx, 5000, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_true(id_equal(rows[0].id, id_of(300)));
    assert_true(id_equal(rows[1].workspace, id_of(21)));
    OK(token_row_list(tx, id_of(1), id_of(11), TOKEN_USAGE, 3000, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_true(id_equal(rows[0].id, id_of(301))); /* newest first */
    OK(token_row_count_live(tx, id_of(1), id_of(11), TOKEN_USAGE, 5000, &live, &e));
    assert_int_equal(live, 1);
    OK(token_row_extend(tx, id_of(1), id_of(301), 3000, 7000, &e));
    OK(token_row_count_live(tx, id_of(1), id_of(0), TOKEN_USAGE, 5000, &live, &e));
    assert_int_equal(live, 2);
    REFUSES(ERR_NOT_FOUND, token_row_extend(tx, id_of(1), id_of(302), 3000, 7000, &e));
    REFUSES(ERR_NOT_FOUND, token_row_extend(tx, id_of(1), id_of(301), 8000, 9000, &e));
}

TX_TEST(use_is_noted_at_most_once_a_minute)
{
    bool suspended;
    struct token_row t = sample_token(1, 0, TOKEN_ORG, 300), got;

    OK(token_row_insert(tx, &t, &e));
    OK(token_row_touch(tx, t.id, 100000, &e));
    OK(token_row_touch(tx, t.id, 159999, &e));
    OK(token_row_find(tx, t.digest, 1, &arena, &got, &suspended, &e));
    assert_int_equal(got.last_used_ms, 100000);
    OK(token_row_touch(tx, t.id, 160000, &e));
    OK(token_row_find(tx, t.digest, 1, &arena, &got, &suspended, &e));
    assert_int_equal(got.last_used_ms, 160000);
}

TX_TEST(platform_keys_are_retired_but_not_forgotten)
{
    struct platform_key *rows;
    bool known = false;
    size_t n;

    for (int i = 0; i < 3; i++) {
        struct platform_key k = {.id = id_of(60 + i),
            .provider = i == 2 ? STR("openai") : STR("anthropic"),
            .weight = 10 + i,
            .sealed = STR("sealed"),
            .key_id = 1,
            .version = 1,
            .fingerprint = i == 0 ? STR("first") : STR("later"),
            .created_ms = 1000 - i};

        OK(platform_key_insert(tx, &k, &e));
    }
    OK(platform_key_list(tx, &arena, &rows, &n, &e));
    assert_int_equal(n, 3);
    assert_true(id_equal(rows[0].id, id_of(61)));
    assert_int_equal(rows[0].weight, 11);
    assert_str(rows[2].provider, "openai");
    OK(platform_key_retire(tx, id_of(61), 2000, &e));
    REFUSES(ERR_NOT_FOUND, platform_key_retire(tx, id_of(61), 2000, &e));
    OK(platform_key_retire_provider(tx, STR("anthropic"), 2000, &e));
    OK(platform_key_list(tx, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    OK(platform_key_has_fingerprint(tx, STR("first"), &known, &e));
    assert_true(known);
    OK(platform_key_has_fingerprint(tx, STR("firs"), &known, &e));
    assert_false(known);
}

TX_TEST(events_are_numbered_per_org_without_gaps)
{
    struct event_row *rows;
    size_t n;

    for (int i = 1; i <= 6; i++) {
        struct event_row ev = {.org = id_of(i % 2 == 0 ? 2 : 1),
            .workspace = id_of(i == 3 ? 11 : 0),
            .type = STR("type"),
            .json = STR("{}"),
            .created_ms = i};
        int64_t seq = 0;

        OK(event_row_append(tx, &ev, &seq, &e));
        assert_int_equal(seq, (i + 1) / 2);
    }
    OK(event_row_list(tx, id_of(1), id_of(0), 1, 100, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(rows[0].seq, 2);
    assert_true(id_equal(rows[0].workspace, id_of(11)));
    assert_int_equal(rows[1].created_ms, 5);
    OK(event_row_list(tx, id_of(1), id_of(0), 0, 2, &arena, &rows, &n, &e));
    assert_int_equal(n, 2);
    OK(event_row_list(tx, id_of(1), id_of(11), 0, 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 1);
    OK(event_row_list(tx, id_of(1), id_of(0), 3, 9, &arena, &rows, &n, &e));
    assert_int_equal(n, 0);
}

TX_TEST(an_answer_is_found_again_by_its_key)
{
    struct idempotency_row r = {.org = id_of(1),
                               .key = STR("k"),
                               .status = 201,
                               .body = STR("{\"a\":1}"),
                               .created_ms = 1000},
                           got;

    memset(r.request, 3, sizeof(r.request));
    OK(idempotency_row_insert(tx, &r, &e));
    r.org = id_of(0);
    OK(idempotency_row_insert(tx, &r, &e)); /* the admin's own keys are apart */
    OK(idempotency_row_get(tx, id_of(1), STR("k"), &arena, &got, &e));
    assert_int_equal(got.status, 201);
    assert_str(got.body, "{\"a\":1}");
    assert_memory_equal(got.request, r.request, sizeof(r.request));
    OK(idempotency_row_prune(tx, 1000, &e));
    OK(idempotency_row_get(tx, id_of(0), STR("k"), &arena, &got, &e));
    OK(idempotency_row_prune(tx, 1001, &e));
    REFUSES(ERR_NOT_FOUND, idempotency_row_get(tx, id_of(1), STR("k"), &arena, &got, &e));
}

TX_TEST(a_workspace_names_its_org_to_the_admin)
{
    struct id org;

    OK(workspace_row_find_org(tx, id_of(21), &org, &e));
    assert_true(id_equal(org, id_of(2)));
    REFUSES(ERR_NOT_FOUND, workspace_row_find_org(tx, id_of(99), &org, &e));
}

/* Everything of org 1, asked for as org 2: each query must find nothing and change nothing. */
TX_TEST(nothing_passes_the_wall_between_orgs)
{
    struct id mine = id_of(2), ws = id_of(11), none = id_of(0);
    struct token_row t = sample_token(1, 11, TOKEN_USAGE, 300), token, *tokens;
    struct ledger_entry en = sample_entry(1, 11, 400);
    struct decision_row d = sample_decision(1, 11, 500), *decisions;
    struct event_row ev = {.org = id_of(1), .workspace = ws, .type = STR("t"), .json = STR("{}")},
                     *events;
    struct idempotency_row r = {.org = id_of(1), .key = STR("k"), .body = STR("{}")};
    struct workspace_row w, foreign;
    struct secret_row s, *secrets;
    struct ledger_row *ledger;
    struct ledger_totals totals;
    struct str raw = STR("byok");
    struct id *ids;
    int64_t number = 0;
    size_t n = 99;

    put_secret(tx, 1, 0, "SHARED");
    put_secret(tx, 1, 11, "OWN");
    OK(token_row_insert(tx, &t, &e));
    OK(ledger_row_append(tx, &en, NULL, &e));
    OK(decision_row_append(tx, &d, &e));
    OK(event_row_append(tx, &ev, NULL, &e));
    OK(idempotency_row_insert(tx, &r, &e));
    foreign = workspace_of(tx, 1, 11);
    foreign.org = mine;

    REFUSES(ERR_NOT_FOUND, workspace_row_get(tx, mine, ws, &arena, &w, &e));
    REFUSES(ERR_NOT_FOUND, workspace_row_update(tx, &foreign, &e));
    REFUSES(ERR_NOT_FOUND, workspace_row_set_override(tx, mine, ws, &raw, &e));
    REFUSES(ERR_NOT_FOUND, workspace_row_set_life(tx, mine, ws, &(struct workspace_life){0}, &e));
    REFUSES(ERR_NOT_FOUND, workspace_row_allot_uid(tx, mine, ws, 1, 9, &number, &e));
    REFUSES(ERR_NOT_FOUND, workspace_row_remove(tx, mine, ws, &e));
    REFUSES(ERR_NOT_FOUND, secret_row_get(tx, mine, ws, STR("OWN"), &arena, &s, &e));
    REFUSES(ERR_NOT_FOUND, secret_row_get(tx, mine, none, STR("SHARED"), &arena, &s, &e));
    REFUSES(ERR_NOT_FOUND, secret_row_delete(tx, mine, ws, STR("OWN"), &e));
    REFUSES(ERR_NOT_FOUND, secret_row_delete(tx, mine, none, STR("SHARED"), &e));
    REFUSES(ERR_NOT_FOUND, secret_row_list(tx, mine, ws, &arena, &secrets, &n, &e));
    REFUSES(ERR_NOT_FOUND, secret_row_load(tx, mine, ws, &arena, &secrets, &n, &e));
    REFUSES(ERR_NOT_FOUND, token_row_revoke(tx, mine, t.id, 5, &arena, &token, &e));
    REFUSES(ERR_NOT_FOUND, token_row_revoke(tx, none, t.id, 5, &arena, &token, &e));
    REFUSES(ERR_NOT_FOUND, token_row_extend(tx, mine, t.id, 5, 9, &e));
    REFUSES(ERR_NOT_FOUND, decision_row_get(tx, mine, d.id, &arena, &d, &e));
    REFUSES(ERR_NOT_FOUND, idempotency_row_get(tx, mine, STR("k"), &arena, &r, &e));

    OK(secret_row_list(tx, mine, none, &arena, &secrets, &n, &e));
    assert_int_equal(n, 0);
    OK(secret_row_list_inheritors(tx, mine, STR("SHARED"), &arena, &ids, &n, &e));
    assert_int_equal(n, 1); /* its own workspace */
    assert_true(id_equal(ids[0], id_of(21)));
    OK(token_row_list(tx, mine, ws, TOKEN_USAGE, 5, &arena, &tokens, &n, &e));
    assert_int_equal(n, 0);
    OK(token_row_list(tx, mine, none, TOKEN_USAGE, 5, &arena, &tokens, &n, &e));
    assert_int_equal(n, 0);
    OK(token_row_count_live(tx, mine, ws, TOKEN_USAGE, 5, &number, &e));
    assert_int_equal(number, 0);
    OK(ledger_row_list(tx, mine, ws, 9, &arena, &ledger, &n, &e));
    assert_int_equal(n, 0);
    OK(ledger_row_list(tx, mine, none, 9, &arena, &ledger, &n, &e));
    assert_int_equal(n, 0);
    OK(ledger_row_totals(tx, mine, ws, 0, 0, &totals, &e));
    assert_int_equal(totals.calls, 0);
    OK(decision_row_list(tx, &(struct decision_filter){mine, ws}, 9, &arena, &decisions, &n, &e));
    assert_int_equal(n, 0);
    OK(event_row_list(tx, mine, ws, 0, 9, &arena, &events, &n, &e));
    assert_int_equal(n, 0);
    OK(event_row_list(tx, mine, none, 0, 9, &arena, &events, &n, &e));
    assert_int_equal(n, 0);

    w = workspace_of(tx, 1, 11);
    assert_int_equal(w.version, 1);
    OK(secret_row_list(tx, id_of(1), ws, &arena, &secrets, &n, &e));
    assert_int_equal(n, 2);
}

static void
garble_status(struct store_tx *tx)
{
    exec_sql(tx, "UPDATE workspaces SET status = 'sleeping' WHERE org_id LIKE '%1'");
}

static enum err
read_garbled(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row *rows;
    size_t n;

    return workspace_row_list(tx, id_of(1), &arena, &rows, &n, err);
}

static void
a_row_that_no_purser_wrote_is_an_error_not_a_guess(void **state)
{
    in_tx(garble_status);
    REFUSES(ERR_STORE_UNAVAILABLE, store_read(store, read_garbled, NULL, &e));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(an_org_comes_back_as_it_was_written),
        STORE_TEST(an_org_can_be_suspended_and_its_policy_changed),
        STORE_TEST(rows_that_must_not_be_are_refused),
        STORE_TEST(a_workspace_comes_back_as_it_was_written),
        STORE_TEST(any_override_text_is_kept_and_null_clears),
        STORE_TEST(an_update_of_an_old_reading_is_a_conflict),
        STORE_TEST(status_and_desired_are_set_apart),
        STORE_TEST(a_heartbeat_comes_back_until_the_next_start),
        STORE_TEST(only_those_that_run_and_were_heard_can_be_missed),
        STORE_TEST(events_are_read_from_either_end),
        STORE_TEST(every_status_and_desired_has_a_name_that_comes_back),
        STORE_TEST(uids_are_the_smallest_free_ones),
        STORE_TEST(a_removed_workspace_leaves_a_row_and_nothing_else),
        STORE_TEST(a_secret_comes_back_as_it_was_put),
        STORE_TEST(merging_lets_the_workspace_win_and_keeps_the_scope),
        STORE_TEST(equal_values_are_found_across_orgs_by_fingerprint_only),
        STORE_TEST(a_token_comes_back_as_it_was_given_out),
        STORE_TEST(revoked_tokens_are_not_found_and_suspended_orgs_are_told),
        STORE_TEST(live_usage_tokens_are_what_the_policy_is_rebuilt_from),
        STORE_TEST(use_is_noted_at_most_once_a_minute),
        STORE_TEST(platform_keys_are_retired_but_not_forgotten),
        STORE_TEST(events_are_numbered_per_org_without_gaps),
        STORE_TEST(an_answer_is_found_again_by_its_key),
        STORE_TEST(a_workspace_names_its_org_to_the_admin),
        STORE_TEST(nothing_passes_the_wall_between_orgs),
        STORE_TEST(a_row_that_no_purser_wrote_is_an_error_not_a_guess),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
