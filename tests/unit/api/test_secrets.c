/* Secrets, tokens, platform keys, usage: what goes in, what never comes out. */
#include "world.h"

#include "store/ledger_row.h"
#include "store/secret_row.h"

#include "unit.h"

static const char own_model[] =
    "\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"CANARY-oauth\"}";

static void
secrets_are_listed_without_values(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer org = {0}, put = {0}, shadow = {0}, list = {0}, gone = {0},
                              none = {0};
    char *text;

    make_workspace(w, own_model, id);
    org = ask(w, "PUT", "/settings/secrets", "{\"key\":\"SHARED\",\"value\":\"CANARY-1\"}");
    assert_int_equal(org.status, 200);
    assert_string_equal(answer_text(&org, "scope"), "global");
    shadow = ask(w, "POST", "/admin/secrets", "{\"key\":\"BOTH\",\"value\":\"CANARY-2\"}");
    assert_int_equal(shadow.status, 200);
    put = ask(w, "PUT", path_of(id, "/secrets"), "{\"key\":\" both \",\"value\":\"CANARY-3\"}");
    assert_int_equal(put.status, 200);
    assert_string_equal(answer_text(&put, "key"), "BOTH");
    list = ask(w, "GET", path_of(id, "/secrets"), NULL);
    assert_int_equal(json_array_size(list.json), 4); /* BOTH, CLAUDE..., MODEL; then SHARED */
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(list.json, 0), "key")), "BOTH");
    assert_string_equal(
        json_string_value(json_object_get(json_array_get(list.json, 3), "scope")), "global");
    text = json_dumps(list.json, 0);
    assert_null(strstr(text, "CANARY"));
    free(text);
    gone = ask(w, "DELETE", path_of(id, "/secrets/BOTH"), NULL);
    assert_string_equal(answer_text(&gone, "status"), "deleted");
    none = ask(w, "DELETE", path_of(id, "/secrets/BOTH"), NULL);
    assert_answer(none, 404, "NOT_FOUND");
}

static void
bad_names_and_values_are_refused(void **state)
{
    static const struct {
        const char *body;
        const char *code;
    } cases[] = {
        {"{\"key\":\"\",\"value\":\"x\"}", "INVALID_REQUEST"},
        {"{\"value\":\"x\"}", "INVALID_REQUEST"},
        {"{\"key\":\"A\"}", "INVALID_REQUEST"},
        {"{\"key\":\"A\",\"value\":\"\"}", "INVALID_REQUEST"},
        {"{\"key\":\"A\",\"value\":7}", "INVALID_REQUEST"},
        {"{\"key\":\"1A\",\"value\":\"x\"}", "INVALID_REQUEST"},
        {"{\"key\":\"A-B\",\"value\":\"x\"}", "INVALID_REQUEST"},
        {"{\"key\":\"molecule_llm_usage_token\",\"value\":\"x\"}", "RESERVED_NAME"},
        {"{\"key\":\"WORKSPACE_ID\",\"value\":\"x\"}", "RESERVED_NAME"},
        {"{\"key\":\"LLM_PROVIDER\",\"value\":\"x\"}", "RESERVED_NAME"},
        {"{\"key\":\"LD_PRELOAD\",\"value\":\"x\"}", "RESERVED_NAME"},
        {"{\"key\":\"OPENAI_API_KEY\",\"value\":\"x\"}", "VENDOR_KEY_ON_PLATFORM_MANAGED"},
        {"{\"key\":\"openai_base_url\",\"value\":\"x\"}", "VENDOR_KEY_ON_PLATFORM_MANAGED"},
    };
    struct world *w = *state;
    char id[ID_TEXT_BYTES];

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_ANSWER struct answer a = ask(w, "POST", path_of(id, "/secrets"), cases[i].body);

        if (a.status != 400 || strcmp(answer_text(&a, "code"), cases[i].code) != 0)
            fail_msg("%s: got %d %s", cases[i].body, a.status, answer_text(&a, "code"));
    }
}

static void
write_gate_opens_when_a_vendor_model_is_chosen(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    const char *key = "{\"key\":\"CLAUDE_CODE_OAUTH_TOKEN\",\"value\":\"t\"}";
    AUTO_ANSWER struct answer shut = {0}, model = {0}, open = {0};

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    shut = ask(w, "POST", path_of(id, "/secrets"), key);
    assert_answer(shut, 400, "VENDOR_KEY_ON_PLATFORM_MANAGED");
    assert_string_equal(answer_text(&shut, "key"), "CLAUDE_CODE_OAUTH_TOKEN");
    assert_string_equal(answer_text(&shut, "workspace_id"), id);
    model = ask(w, "PUT", path_of(id, "/model"), "{\"model\":\"opus\"}");
    assert_int_equal(model.status, 200);
    open = ask(w, "POST", path_of(id, "/secrets"), key);
    assert_int_equal(open.status, 200);
}

static void
org_gate_follows_the_orgs_policy(void **state)
{
    struct world *w = *state;
    const char *key = "{\"key\":\"OPENAI_API_KEY\",\"value\":\"k\"}";
    AUTO_ANSWER struct answer shut = ask(w, "PUT", "/settings/secrets", key);
    AUTO_ANSWER struct answer org = ask_with(w, w->admin, NULL, NULL, "POST", "/admin/orgs",
        "{\"slug\":\"lax\",\"name\":\"Lax\",\"vendor_keys\":\"allow\"}");
    AUTO_ANSWER struct answer open =
        ask_with(w, w->admin, "lax", NULL, "PUT", "/settings/secrets", key);

    assert_answer(shut, 400, "VENDOR_KEY_AT_ORG_SCOPE");
    assert_int_equal(org.status, 201);
    assert_int_equal(open.status, 200);
    assert_non_null(strstr(answer_text(&shut, "error"), "PATCH /admin/orgs/demo"));
}

static void
an_orgs_policy_is_changed_by_the_admin_alone(void **state)
{
    struct world *w = *state;
    const char *key = "{\"key\":\"OPENAI_API_KEY\",\"value\":\"k\"}";
    const char *allow = "{\"vendor_keys\":\"allow\"}", *reject = "{\"vendor_keys\":\"reject\"}";
    char by_id[128];
    AUTO_ANSWER struct answer token = ask(w, "POST", "/org/tokens", "{}");
    AUTO_ANSWER struct answer own = ask_with(
        w, answer_text(&token, "auth_token"), NULL, NULL, "PATCH", "/admin/orgs/demo", allow);
    AUTO_ANSWER struct answer nobody = ask(w, "PATCH", "/admin/orgs/nobody", allow);
    AUTO_ANSWER struct answer garbled =
        ask(w, "PATCH", "/admin/orgs/demo", "{\"vendor_keys\":\"maybe\"}");
    AUTO_ANSWER struct answer empty = ask(w, "PATCH", "/admin/orgs/demo", "{}");
    AUTO_ANSWER struct answer shut = ask(w, "PUT", "/settings/secrets", key);
    AUTO_ANSWER struct answer allowed = ask(w, "PATCH", "/admin/orgs/demo", allow);
    AUTO_ANSWER struct answer open = ask(w, "PUT", "/settings/secrets", key);
    AUTO_ANSWER struct answer rejected = {0}, again = {0};

    assert_answer(own, 403, "WRONG_CREDENTIAL_KIND");
    assert_answer(nobody, 404, "NOT_FOUND");
    assert_non_null(strstr(answer_text(&nobody, "error"), "nobody"));
    assert_answer(garbled, 400, "INVALID_REQUEST");
    assert_answer(empty, 400, "INVALID_REQUEST");
    assert_answer(shut, 400, "VENDOR_KEY_AT_ORG_SCOPE");
    assert_int_equal(allowed.status, 200);
    assert_string_equal(answer_text(&allowed, "vendor_keys"), "allow");
    assert_int_equal(open.status, 200);
    snprintf(by_id, sizeof(by_id), "/admin/orgs/%s", w->org);
    rejected = ask(w, "PATCH", by_id, reject);
    assert_int_equal(rejected.status, 200);
    again = ask(w, "PUT", "/settings/secrets", key);
    assert_answer(again, 400, "VENDOR_KEY_AT_ORG_SCOPE");
}

static void
platform_keys_never_enter_a_tenants_store(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer set =
        ask(w, "PUT", "/admin/platform/keys/anthropic-api", "{\"value\":\" CANARY-platform \"}");
    AUTO_ANSWER struct answer list = {0}, unknown = {0}, tenant = {0}, gone = {0}, none = {0};
    char *text;

    assert_int_equal(set.status, 200);
    list = ask(w, "GET", "/admin/platform/keys", NULL);
    assert_int_equal(json_array_size(list.json), 1);
    text = json_dumps(list.json, 0);
    assert_null(strstr(text, "CANARY"));
    free(text);
    unknown = ask(w, "PUT", "/admin/platform/keys/nosuch", "{\"value\":\"x\"}");
    assert_answer(unknown, 404, "NOT_FOUND");
    make_workspace(w, own_model, id);
    tenant = ask(
        w, "POST", path_of(id, "/secrets"), "{\"key\":\"NOTES\",\"value\":\"CANARY-platform\"}");
    assert_answer(tenant, 409, "PLATFORM_KEY_IN_TENANT_STORE");
    gone = ask(w, "DELETE", "/admin/platform/keys/anthropic-api", NULL);
    assert_int_equal(gone.status, 200);
    none = ask(w, "DELETE", "/admin/platform/keys/anthropic-api", NULL);
    assert_answer(none, 404, "NOT_FOUND");
}

static void
pull_gives_what_the_start_would_inject(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer made = {0}, pulled = {0}, admin = {0}, mode = {0}, stripped = {0},
                              extra = {0};
    char path[128];

    make_workspace(w, own_model, id);
    extra = ask(w, "POST", path_of(id, "/secrets"), "{\"key\":\"EXTRA\",\"value\":\"1\"}");
    assert_int_equal(extra.status, 200);
    made = ask(w, "POST", path_of(id, "/tokens"), NULL);
    assert_int_equal(made.status, 201);
    pulled = ask_with(w, answer_text(&made, "auth_token"), NULL, NULL, "GET",
        path_of(id, "/secrets/values"), NULL);
    assert_int_equal(pulled.status, 200);
    assert_string_equal(answer_text(&pulled, "CLAUDE_CODE_OAUTH_TOKEN"), "CANARY-oauth");
    assert_string_equal(answer_text(&pulled, "EXTRA"), "1");
    admin = ask(w, "GET", path_of(id, "/secrets/values"), NULL);
    assert_answer(admin, 403, "WRONG_CREDENTIAL_KIND");
    /* Now platform-managed: the vendor key is not handed out any more. */
    mode = ask(w, "PUT", path_of(id, "/model"), "{\"model\":\"anthropic/claude-opus-4-7\"}");
    assert_int_equal(mode.status, 200);
    stripped = ask_with(w, answer_text(&made, "auth_token"), NULL, NULL, "GET",
        path_of(id, "/secrets/values"), NULL);
    assert_int_equal(stripped.status, 200);
    assert_null(json_object_get(stripped.json, "CLAUDE_CODE_OAUTH_TOKEN"));
    assert_string_equal(answer_text(&stripped, "EXTRA"), "1");
    snprintf(path, sizeof(path), "/workspaces/%s/env", id);
    {
        AUTO_ANSWER struct answer env = ask(w, "GET", path, NULL);
        char *text = json_dumps(env.json, 0);

        assert_int_equal(env.status, 200);
        assert_non_null(strstr(text, "\"strip\""));
        assert_null(strstr(text, "CANARY"));
        free(text);
    }
}

struct spoil {
    struct id org, workspace;
    struct arena arena;
};

/* Moves the sealed bytes of MODEL under another name: bound to the old one, they no longer open. */
static enum err
spoil_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct spoil *s = ctx;
    struct secret_row row;
    enum err code = secret_row_get(tx, s->org, s->workspace, STR("MODEL"), &s->arena, &row, e);

    if (code != ERR_OK)
        return code;
    row.name = STR("MOVED");
    row.version = 1;
    return secret_row_put(tx, &row, e);
}

static void
one_unreadable_secret_closes_everything(void **state)
{
    struct world *w = *state;
    struct spoil s = {0};
    struct error e;
    char id[ID_TEXT_BYTES], path[128];
    AUTO_ANSWER struct answer made = {0}, start = {0}, pull = {0}, mode = {0}, gate = {0};

    make_workspace(w, own_model, id);
    made = ask(w, "POST", path_of(id, "/tokens"), NULL);
    assert_true(id_parse(str_from_cstr(w->org), &s.org));
    assert_true(id_parse(str_from_cstr(id), &s.workspace));
    assert_int_equal(store_tx(w->store, spoil_tx, &s, &e), ERR_OK);
    arena_done(&s.arena);
    start = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(start, 500, "SECRET_UNREADABLE");
    assert_int_equal(stand_in.launched, 0);
    pull = ask_with(w, answer_text(&made, "auth_token"), NULL, NULL, "GET",
        path_of(id, "/secrets/values"), NULL);
    assert_answer(pull, 500, "SECRET_UNREADABLE");
    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode", id);
    mode = ask(w, "GET", path, NULL);
    assert_answer(mode, 500, "SECRET_UNREADABLE");
    assert_string_equal(answer_text(&mode, "resolved_mode"), "platform_managed");
    gate = ask(w, "POST", path_of(id, "/secrets"), "{\"key\":\"OPENAI_API_KEY\",\"value\":\"k\"}");
    assert_answer(gate, 400, "VENDOR_KEY_ON_PLATFORM_MANAGED");
}

static void
tokens_are_made_listed_revoked_and_bounded(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer first = {0}, own = {0}, list = {0}, gone = {0}, dead = {0},
                              many = {0};

    make_workspace(w, own_model, id);
    first = ask(w, "POST", path_of(id, "/tokens"), NULL);
    own = ask_with(w, answer_text(&first, "auth_token"), NULL, NULL, "GET", path_of(id, ""), NULL);
    assert_int_equal(own.status, 200);
    list = ask(w, "GET", path_of(id, "/tokens"), NULL);
    assert_int_equal(json_integer_value(json_object_get(list.json, "count")), 1);
    {
        char tail[64];

        snprintf(tail, sizeof(tail), "/tokens/%s", answer_text(&first, "id"));
        gone = ask(w, "DELETE", path_of(id, tail), NULL);
        assert_string_equal(answer_text(&gone, "status"), "revoked");
        answer_done(&gone);
        gone = ask(w, "DELETE", path_of(id, tail), NULL);
        assert_answer(gone, 404, "NOT_FOUND");
    }
    dead = ask_with(w, answer_text(&first, "auth_token"), NULL, NULL, "GET", path_of(id, ""), NULL);
    assert_answer(dead, 401, "UNAUTHORIZED");
    for (int i = 0; i < 50; i++) {
        AUTO_ANSWER struct answer a = ask(w, "POST", path_of(id, "/tokens"), NULL);

        assert_int_equal(a.status, 201);
    }
    many = ask(w, "POST", path_of(id, "/tokens"), NULL);
    assert_answer(many, 429, "TOO_MANY_TOKENS");
}

struct booking {
    struct ledger_entry entry;
};

static enum err
book_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct booking *b = ctx;

    return ledger_row_append(tx, &b->entry, NULL, e);
}

static void
usage_is_what_the_ledger_has(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    struct id org, workspace, call = id_new();
    struct booking b = {.entry = {.attempt = 1,
                            .vendor_status = 200,
                            .opened_ms = 1000,
                            .first_byte_ms = 1100,
                            .closed_ms = 1200,
                            .cost_nano_usd = 5250,
                            .bound_nano_usd = 9000,
                            .usage = {.input = 12, .output = 34}}};
    struct error e;
    AUTO_ANSWER struct answer a = {0}, all = {0}, bad = {0}, later = {0};
    json_t *entry;

    make_workspace(w, own_model, id);
    assert_true(id_parse(str_from_cstr(w->org), &org));
    assert_true(id_parse(str_from_cstr(id), &workspace));
    memcpy(b.entry.org_id, org.b, 16);
    memcpy(b.entry.workspace_id, workspace.b, 16);
    memcpy(b.entry.call_id, call.b, 16);
    snprintf(b.entry.provider, sizeof(b.entry.provider), "anthropic-api");
    snprintf(b.entry.model_asked, sizeof(b.entry.model_asked), "anthropic/claude-opus-4-7");
    assert_int_equal(store_tx_durable(w->store, book_tx, &b, &e), ERR_OK);
    a = ask(w, "GET", path_of(id, "/usage"), NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(json_integer_value(json_object_get(a.json, "calls")), 1);
    assert_int_equal(json_integer_value(json_object_get(a.json, "input_tokens")), 12);
    assert_int_equal(json_integer_value(json_object_get(a.json, "output_tokens")), 34);
    assert_int_equal(json_integer_value(json_object_get(a.json, "cost_nano_usd")), 5250);
    entry = json_array_get(json_object_get(a.json, "entries"), 0);
    assert_string_equal(json_string_value(json_object_get(entry, "state")), "settled");
    assert_string_equal(json_string_value(json_object_get(entry, "certainty")), "exact");
    all = ask_with(w, w->admin, NULL, NULL, "GET", "/usage", NULL);
    assert_int_equal(json_array_size(json_object_get(all.json, "orgs")), 2);
    bad = ask(w, "GET", path_of(id, "/usage?limit=x"), NULL);
    assert_answer(bad, 400, "INVALID_REQUEST");
    later = ask(w, "GET", path_of(id, "/usage?from_ms=5000"), NULL);
    assert_int_equal(json_integer_value(json_object_get(later.json, "calls")), 0);
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(secrets_are_listed_without_values),
        WORLD_TEST(bad_names_and_values_are_refused),
        WORLD_TEST(write_gate_opens_when_a_vendor_model_is_chosen),
        WORLD_TEST(org_gate_follows_the_orgs_policy),
        WORLD_TEST(an_orgs_policy_is_changed_by_the_admin_alone),
        WORLD_TEST(platform_keys_never_enter_a_tenants_store),
        WORLD_TEST(pull_gives_what_the_start_would_inject),
        WORLD_TEST(one_unreadable_secret_closes_everything),
        WORLD_TEST(tokens_are_made_listed_revoked_and_bounded),
        WORLD_TEST(usage_is_what_the_ledger_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
