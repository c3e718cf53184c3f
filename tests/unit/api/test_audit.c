/* The trail: what is written down is enough to decide again, and a change of it is noticed. */
#include "world.h"

#include "api/replay.h"
#include "store/audit_row.h"
#include "store/query.h"
#include "store/secret_row.h"

#include "unit.h"

static const char platform_model[] =
    "\"model\":\"anthropic/claude-opus-4-7\",\"command\":\"agent\"";
static const char own_model[] = "\"model\":\"opus\",\"command\":\"agent\",\"secrets\":{\"CLAUDE_"
                                "CODE_OAUTH_TOKEN\":\"CANARY\",\"NOTE\":\"x\"}";

/* --- helpers --------------------------------------------------------------------------------- */

static void
start(struct world *w, const char *id, int status)
{
    AUTO_ANSWER struct answer a = ask(w, "POST", path_of(id, "/start"), NULL);

    assert_int_equal(a.status, status);
}

static struct api_registry
set_of(struct registry_set *set)
{
    return (struct api_registry){
        .registry = registry_block(set), .match = registry_match, .match_ctx = set};
}

/* What a replay says, in one line; the caller frees it. */
static char *
replay(struct registry_set *set, json_t *record)
{
    struct api_registry registry = set_of(set);
    json_t *differences = NULL;
    char *text;
    struct error e;

    if (replay_record(&registry, record, &differences, &e) != ERR_OK)
        return strdup(e.text);
    text = json_dumps(differences, JSON_COMPACT);
    json_decref(differences);
    return text;
}

static void
assert_replay(struct registry_set *set, json_t *record, const char *expected)
{
    char *got = replay(set, record);

    if (strcmp(expected, "[]") == 0 ? strcmp(got, "[]") != 0 : strstr(got, expected) == NULL) {
        char *dump = json_dumps(record, JSON_INDENT(1));

        fail_msg("got %s, expected %s in the replay of %s", got, expected, dump);
    }
    free(got);
}

/* The newest record of a workspace, a reference of the caller's. */
static json_t *
newest_record(struct world *w, const char *id)
{
    char path[128];
    AUTO_ANSWER struct answer a = {0};
    json_t *record;

    snprintf(path, sizeof(path), "/admin/audit/decisions?limit=1&workspace=%s", id);
    a = ask(w, "GET", path, NULL);
    assert_int_equal(a.status, 200);
    record = json_object_get(json_array_get(json_object_get(a.json, "decisions"), 0), "record");
    assert_true(json_is_object(record));
    return json_incref(record);
}

struct change {
    struct id org, workspace;
    const char *override;
    const char *sql;
};

static enum err
change_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct change *c = ctx;
    struct str raw = str_from_cstr(c->override);
    struct query q;

    if (c->override != NULL)
        return workspace_row_set_override(tx, c->org, c->workspace, &raw, e);
    q = query_start(tx, c->sql);
    return query_run(&q, e);
}

static void
change(struct world *w, const char *id, const char *override, const char *sql)
{
    struct change c = {.override = override, .sql = sql};
    struct error e;

    assert_true(id_parse(str_from_cstr(w->org), &c.org));
    assert_true(id == NULL || id_parse(str_from_cstr(id), &c.workspace));
    if (store_tx(w->store, change_tx, &c, &e) != ERR_OK)
        fail_msg("%s", e.text);
}

/* --- records --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    const char *fields;
    const char *override;
    bool no_gateway, no_key;
    const char *sql; /* after the workspace was made */
    int status;      /* of the start */
    const char *code;
} situations[] = {
    {"platform", platform_model, NULL, false, false, NULL, 200, NULL},
    {"byok", own_model, NULL, false, false, NULL, 200, NULL},
    {"disabled", own_model, "disabled", false, false, NULL, 200, NULL},
    {"byok on a platform model", platform_model, "byok", false, false, NULL, 422,
        "MISSING_BYOK_CREDENTIAL"},
    {"garbled", own_model, " byok", false, false, NULL, 422, "MODEL_NOT_ON_PLATFORM"},
    {"no registry entry", "\"runtime\":\"langgraph\",\"model\":\"x\",\"command\":\"agent\"", NULL,
        false, false, NULL, 200, NULL},
    {"codex with a tie",
        "\"runtime\":\"codex\",\"model\":\"gpt-5.5\",\"command\":\"agent\","
        "\"secrets\":{\"OPENAI_API_KEY\":\"k\",\"CODEX_AUTH_JSON\":\"{}\"}",
        NULL, false, false, NULL, 200, NULL},
    {"a blank secret",
        "\"runtime\":\"codex\",\"model\":\"gpt-5.5\",\"command\":\"agent\","
        "\"secrets\":{\"OPENAI_API_KEY\":\"k\",\"CODEX_AUTH_JSON\":\"  \"}",
        NULL, false, false, NULL, 200, NULL},
    {"a required name", "\"model\":\"anthropic/claude-opus-4-7\",\"required_env\":[\"NOT_THERE\"]",
        NULL, false, false, NULL, 422, "MISSING_REQUIRED_ENV"},
    {"no gateway", platform_model, NULL, true, false, NULL, 503, "MISSING_PLATFORM_PROXY"},
    {"no platform key", platform_model, NULL, false, true, NULL, 503, "MISSING_PLATFORM_PROXY"},
    {"an unreadable secret", own_model, NULL, false, false,
        "UPDATE workspace_secrets SET sealed = fingerprint WHERE name = 'NOTE'", 500,
        "SECRET_UNREADABLE"},
};
enum { SITUATIONS = sizeof(situations) / sizeof(situations[0]) };
/* Those that tests ask for by name. */
enum { PLATFORM = 0, OWN = 1, NO_GATEWAY = 9 };

/* Makes the workspace, starts it or is refused, and leaves the world as it was. */
static void
play(struct world *w, size_t i, char ret[static ID_TEXT_BYTES])
{
    make_workspace(w, situations[i].fields, ret);
    if (situations[i].override != NULL)
        change(w, ret, situations[i].override, NULL);
    if (situations[i].sql != NULL)
        change(w, NULL, NULL, situations[i].sql);
    stand_in.gateway_present = !situations[i].no_gateway;
    stand_in.has_platform_key = !situations[i].no_key;
    start(w, ret, situations[i].status);
    stand_in.gateway_present = stand_in.has_platform_key = true;
}

/* With its own registry, a record gives again what it says, whatever it was about. */
static void
every_record_replays_to_itself(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < SITUATIONS; i++) {
        char id[ID_TEXT_BYTES];
        AUTO_JSON json_t *record = NULL;
        json_t *refusal;

        play(w, i, id);
        record = newest_record(w, id);
        assert_replay(w->registry, record, "[]");
        refusal = json_object_get(record, "refusal");
        assert_string_equal(json_string_value(json_object_get(record, "kind")),
            situations[i].code == NULL ? "start" : "refusal");
        if (situations[i].code == NULL)
            assert_true(json_is_null(refusal));
        else
            assert_string_equal(json_string_value(refusal), situations[i].code);
    }
}

/* The names of everything that was there, and no value of any of it. */
static void
a_record_has_names_and_scopes_and_no_value(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_JSON json_t *record = NULL;
    json_t *inputs, *secrets;
    char *text;

    play(w, OWN, id);
    record = newest_record(w, id);
    inputs = json_object_get(record, "inputs");
    secrets = json_object_get(inputs, "secrets");
    assert_int_equal(json_array_size(secrets), 3); /* MODEL is one */
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(
            json_string_value(json_object_get(json_array_get(secrets, i), "scope")), "workspace");
    assert_int_equal(json_array_size(json_object_get(inputs, "auth_names")), 1);
    assert_int_equal(json_string_length(json_object_get(
                         json_object_get(record, "decision"), "registry_fingerprint")),
        64);
    assert_true(json_array_size(json_object_get(json_object_get(record, "decision"), "trace")) > 2);
    assert_true(json_array_size(json_object_get(json_object_get(record, "plan"), "env")) > 5);
    text = json_dumps(record, 0);
    assert_null(strstr(text, "CANARY"));
    free(text);
}

/* --- replay ---------------------------------------------------------------------------------- */

static json_t *
at(json_t *record, const char *a, const char *b)
{
    return json_object_get(json_object_get(record, a), b);
}

static json_t *
row_named(json_t *env, const char *name)
{
    json_t *row;
    size_t i;

    json_array_foreach(env, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0)
            return row;
    }
    fail_msg("no row %s", name);
    return NULL;
}

/* Each part of what came out is compared: falsified alone, it is named. */
static void
a_replay_names_what_is_different(void **state)
{
    static const struct {
        const char *parent, *field, *value, *said;
    } cases[] = {
        {"decision", "resolved_mode", "\"disabled\"", "the mode was disabled and would be byok"},
        {"decision", "source", "\"workspace_override\"",
            "its source was workspace_override and would be derived_provider"},
        {"decision", "provider_selection", "\"kimi-coding\"", "the provider was kimi-coding"},
        {"decision", "error", "\"UNKNOWN_RUNTIME\"",
            "the derivation's error was UNKNOWN_RUNTIME and would be none"},
        {"decision", "warnings", "[{\"code\":\"OVERRIDE_GARBLED\"}]",
            "the decision's warning was OVERRIDE_GARBLED and would be none"},
        {"decision", "trace", "[]", "the steps that lead to the provider"},
        {"plan", "refusal", "{\"code\":\"MODEL_REQUIRED\"}",
            "the refusal was MODEL_REQUIRED and would be none"},
        {"plan", "needs_usage_token", "true", "the need of a usage token was there"},
        {"plan", "warnings", "[{\"code\":\"SHADOWED_CREDENTIAL\"}]", "the plan's warning was"},
        {"plan", "env", "[]", "MODEL was none and would be set from model to opus"},
    };
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_JSON json_t *record = NULL;

    play(w, OWN, id);
    record = newest_record(w, id);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_JSON json_t *copy = json_deep_copy(record);

        json_object_set_new(json_object_get(copy, cases[i].parent), cases[i].field,
            json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        assert_replay(w->registry, copy, cases[i].said);
    }
}

static void
a_replay_names_a_row_of_the_plan_that_is_different(void **state)
{
    static const struct {
        const char *field, *value, *said;
    } cases[] = {
        {"action", "strip",
            "CLAUDE_CODE_OAUTH_TOKEN was strip (workspace) and would be keep (workspace)"},
        {"scope", "org", "CLAUDE_CODE_OAUTH_TOKEN was keep (org) and would be keep (workspace)"},
        {"name", "OTHER", "OTHER was keep (workspace) and would be none"},
    };
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_JSON json_t *record = NULL;

    play(w, OWN, id);
    record = newest_record(w, id);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_JSON json_t *copy = json_deep_copy(record);

        json_object_set_new(row_named(at(copy, "plan", "env"), "CLAUDE_CODE_OAUTH_TOKEN"),
            cases[i].field, json_string(cases[i].value));
        assert_replay(w->registry, copy, cases[i].said);
    }
    json_object_set_new(
        row_named(at(record, "plan", "env"), "MODEL"), "value", json_string("other"));
    assert_replay(w->registry, record,
        "MODEL was set from model to other and would be set from model to opus");
}

/* Every input is read: with another one, something else comes out. */
static void
a_replay_reads_every_input(void **state)
{
    static const struct {
        size_t situation;
        const char *field, *value, *said;
    } cases[] = {
        {OWN, "runtime", "\"langgraph\"", "the mode was byok and would be platform_managed"},
        {OWN, "model", "\"anthropic/claude-opus-4-7\"", "the provider was"},
        {OWN, "override", "\"disabled\"", "the mode was byok and would be disabled"},
        {OWN, "secrets", "[]", "the refusal was none and would be MISSING_BYOK_CREDENTIAL"},
        {OWN, "secrets",
            "[{\"name\":\"CLAUDE_CODE_OAUTH_TOKEN\",\"scope\":\"workspace\",\"blank\":true,"
            "\"bytes\":2}]",
            "the refusal was none and would be MISSING_BYOK_CREDENTIAL"},
        {OWN, "secrets",
            "[{\"name\":\"CLAUDE_CODE_OAUTH_TOKEN\",\"scope\":\"org\",\"blank\":false,\"bytes\":2}"
            "]",
            "would be keep (org)"},
        {OWN, "secrets",
            "[{\"name\":\"CLAUDE_CODE_OAUTH_TOKEN\",\"scope\":\"org\",\"blank\":false,"
            "\"bytes\":200000}]",
            "would be ENVIRONMENT_TOO_LARGE"},
        {OWN, "store_failed", "true", "its source was derived_provider and would be constant_fall"},
    };
    static const struct {
        size_t situation;
        const char *field, *value, *said;
    } platform[] = {
        {PLATFORM, "gateway", "false", "would be MISSING_PLATFORM_PROXY"},
        {PLATFORM, "keys", "[]", "would be MISSING_PLATFORM_PROXY"},
        {PLATFORM, "at_ms", "-1", "would be MODEL_NOT_ON_PLATFORM"},
        {PLATFORM, "openai_base_url", "\"http://x/v1\"", "MOLECULE_LLM_BASE_URL was"},
        {PLATFORM, "anthropic_base_url", "\"http://x\"", "ANTHROPIC_BASE_URL was"},
        {PLATFORM, "usage_url", "\"http://x\"", "MOLECULE_LLM_USAGE_URL was"},
        {PLATFORM, "identity", "[]", "WORKSPACE_ID was"},
        {PLATFORM, "required_env", "[\"NOT_THERE\"]", "would be MISSING_REQUIRED_ENV"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char id[ID_TEXT_BYTES];
        AUTO_JSON json_t *record = NULL;

        play(w, cases[i].situation, id);
        record = newest_record(w, id);
        json_object_set_new(json_object_get(record, "inputs"), cases[i].field,
            json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        assert_replay(w->registry, record, cases[i].said);
    }
    for (size_t i = 0; i < sizeof(platform) / sizeof(platform[0]); i++) {
        char id[ID_TEXT_BYTES];
        AUTO_JSON json_t *record = NULL;

        play(w, platform[i].situation, id);
        record = newest_record(w, id);
        json_object_set_new(at(record, "inputs", "platform"), platform[i].field,
            json_loads(platform[i].value, JSON_DECODE_ANY, NULL));
        assert_replay(w->registry, record, platform[i].said);
    }
}

static void
a_replay_with_another_registry_says_what_becomes_of_it(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_JSON json_t *record = NULL;
    AUTO_REGISTRY struct registry_set *other = NULL;
    AUTO_BUF struct buf yaml;
    struct str from = STR("CLAUDE_CODE_OAUTH_TOKEN"), rest = registry_embedded_source();
    struct error e;

    buf_init(&yaml, 1 << 20);
    while (rest.n > 0) {
        const char *hit = memmem(rest.p, rest.n, from.p, from.n);
        size_t n = hit == NULL ? rest.n : (size_t)(hit - rest.p);

        buf_add(&yaml, str_slice(rest, 0, n));
        buf_add(&yaml, hit == NULL ? STR("") : STR("QUITE_ANOTHER_NAME"));
        rest = str_slice(rest, hit == NULL ? n : n + from.n, rest.n);
    }
    if (registry_load_bytes("other.yaml", buf_str(&yaml), &other, &e) != ERR_OK)
        fail_msg("%s", e.text);
    play(w, OWN, id);
    record = newest_record(w, id);
    assert_replay(other, record, "the refusal was none and would be MISSING_BYOK_CREDENTIAL");
    assert_replay(w->registry, record, "[]");
}

static void
what_is_no_record_is_said(void **state)
{
    static const struct {
        const char *parent, *field, *value, *said;
    } cases[] = {
        {NULL, "version", "\"x\"", "this is no decision record"},
        {NULL, "version", "99", "version 99 is not known"},
        {NULL, "inputs", "7", "runtime"},
        {"inputs", "secrets", "{}", "secrets"},
        {"inputs", "secrets", "[7]", "name"},
        {"inputs", "secrets", "[{\"name\":\"A\",\"scope\":\"x\",\"blank\":false,\"bytes\":1}]",
            "scope"},
        {"inputs", "secrets", "[{\"name\":\"A\",\"scope\":\"org\",\"blank\":false,\"bytes\":-1}]",
            "bytes"},
        {"inputs", "override", "7", "override"},
        {"inputs", "store_failed", "7", "store_failed"},
        {"inputs", "platform", "{}", "gateway"},
    };
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_JSON json_t *record = NULL;

    play(w, OWN, id);
    record = newest_record(w, id);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_JSON json_t *copy = json_deep_copy(record);
        json_object_set_new(cases[i].parent == NULL ? copy : json_object_get(copy, cases[i].parent),
            cases[i].field, json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
        assert_replay(w->registry, copy, cases[i].said);
    }
    assert_replay(w->registry, NULL, "this is no decision record");
}

/* --- routes ---------------------------------------------------------------------------------- */

struct booking {
    struct id org, workspace;
    int64_t opened_ms;
};

static enum err
book_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct booking *b = ctx;
    struct id call = id_new();
    struct ledger_entry en = {.attempt = 1,
        .opened_ms = b->opened_ms,
        .cost_nano_usd = 77,
        .provider = "anthropic-api",
        .model_asked = "anthropic/claude-opus-4-7"};

    memcpy(en.call_id, call.b, 16);
    memcpy(en.org_id, b->org.b, 16);
    memcpy(en.workspace_id, b->workspace.b, 16);
    return ledger_row_append(tx, &en, NULL, e);
}

static void
book(struct world *w, const char *id, int64_t opened_ms)
{
    struct booking b = {.opened_ms = opened_ms};
    struct error e;

    assert_true(id_parse(str_from_cstr(w->org), &b.org));
    assert_true(id_parse(str_from_cstr(id), &b.workspace));
    assert_int_equal(store_tx(w->store, book_tx, &b, &e), ERR_OK);
}

static int64_t
number_of(json_t *o, const char *field)
{
    return json_integer_value(json_object_get(o, field));
}

static const char *
event_type(const struct answer *a, size_t i)
{
    return json_string_value(
        json_object_get(json_array_get(json_object_get(a->json, "events"), i), "type"));
}

static void
a_workspaces_trail_has_decisions_and_calls_in_order(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], other[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer all = {0}, second = {0}, late = {0}, early = {0}, text = {0};

    play(w, PLATFORM, id);
    play(w, PLATFORM, other);
    book(w, id, clock_ms() + 5000);
    book(w, id, 1000);
    book(w, other, 2000);
    all = ask(w, "GET", path_of(id, "/audit"), NULL);
    assert_int_equal(all.status, 200);
    assert_int_equal(number_of(all.json, "total"), 3);
    assert_int_equal(json_array_size(json_object_get(all.json, "events")), 3);
    assert_string_equal(event_type(&all, 0), "ledger");
    assert_string_equal(event_type(&all, 1), "decision");
    assert_string_equal(event_type(&all, 2), "ledger");
    assert_true(json_is_true(json_object_get(all.json, "chain_valid")));
    second = ask(w, "GET", path_of(id, "/audit?limit=1&offset=1"), NULL);
    assert_int_equal(number_of(second.json, "total"), 3);
    assert_int_equal(json_array_size(json_object_get(second.json, "events")), 1);
    assert_string_equal(event_type(&second, 0), "decision");
    assert_true(json_is_true(json_object_get(second.json, "chain_valid")));
    late = ask(w, "GET", path_of(id, "/audit?from=1001"), NULL);
    assert_int_equal(number_of(late.json, "total"), 2);
    early = ask(w, "GET", path_of(id, "/audit?to=1001"), NULL);
    assert_int_equal(number_of(early.json, "total"), 1);
    text = ask(w, "GET",
        path_of(id, "/audit?from=1970-01-01T00:00:01Z&to=1970-01-01T01:00:02.5%2B01:00"), NULL);
    assert_int_equal(text.status, 200);
    assert_int_equal(number_of(text.json, "total"), 1);
}

static void
bad_parameters_are_refused(void **state)
{
    static const char *const bad[] = {"limit=0", "limit=501", "limit=x", "limit=", "offset=-1",
        "offset=9999999999", "from=yesterday", "from=-1", "to=2026-13-01T00:00:00Z",
        "to=2026-11-22T00:00:00", "to=2026-11-22T00:00:00%2B1"};
    static const char *const bad_pages[] = {
        "limit=0", "limit=501", "before=x", "workspace=x", "workspace="};
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128];

    make_workspace(w, platform_model, id);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO_ANSWER struct answer a = {0};

        snprintf(path, sizeof(path), "/workspaces/%s/audit?%s", id, bad[i]);
        a = ask(w, "GET", path, NULL);
        assert_answer(a, 400, "INVALID_REQUEST");
    }
    for (size_t i = 0; i < sizeof(bad_pages) / sizeof(bad_pages[0]); i++) {
        AUTO_ANSWER struct answer a = {0};

        snprintf(path, sizeof(path), "/admin/audit/decisions?%s", bad_pages[i]);
        a = ask(w, "GET", path, NULL);
        assert_answer(a, 400, "INVALID_REQUEST");
    }
}

/* Page by page, newest first, each record once. */
static void
records_come_in_pages(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128] = "/admin/audit/decisions?limit=2", last[64] = "~";
    size_t seen = 0, pages = 0;

    for (int i = 0; i < 5; i++)
        play(w, NO_GATEWAY, id);
    while (path[0] != '\0') {
        AUTO_ANSWER struct answer a = ask(w, "GET", path, NULL);
        json_t *list = json_object_get(a.json, "decisions"), *row;
        size_t i;

        assert_int_equal(a.status, 200);
        json_array_foreach(list, i, row)
        {
            const char *now = json_string_value(json_object_get(row, "id"));

            assert_true(strcmp(now, last) < 0);
            snprintf(last, sizeof(last), "%s", now);
            seen++;
        }
        path[0] = '\0';
        if (json_is_string(json_object_get(a.json, "next")))
            snprintf(path, sizeof(path), "/admin/audit/decisions?limit=2&before=%s", last);
        assert_true(++pages < 10);
    }
    assert_int_equal(seen, 5);
}

/* The list in an answer that holds one. */
static json_t *
rows_of(json_t *answer)
{
    json_t *list = json_object_get(answer, "decisions");

    return list == NULL ? json_object_get(answer, "chains") : list;
}

static size_t
count_seen(struct world *w, const char *token, const char *org, const char *path)
{
    AUTO_ANSWER struct answer a = ask_with(w, token, org, NULL, "GET", path, NULL);

    assert_int_equal(a.status, 200);
    return json_array_size(rows_of(a.json));
}

static void
an_org_sees_only_its_own_trail(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128];
    AUTO_ANSWER struct answer made =
        ask_with(w, w->admin, w->other, NULL, "POST", "/org/tokens", "{}");
    const char *stranger = answer_text(&made, "auth_token");

    play(w, PLATFORM, id);
    book(w, id, 1000);
    snprintf(path, sizeof(path), "/admin/audit/decisions?workspace=%s", id);
    assert_int_equal(count_seen(w, stranger, NULL, "/admin/audit/decisions"), 0);
    assert_int_equal(count_seen(w, stranger, NULL, path), 0);
    assert_int_equal(count_seen(w, stranger, NULL, "/admin/audit/verify"), 0);
    assert_int_equal(count_seen(w, w->admin, w->org, path), 1);
    assert_int_equal(count_seen(w, w->admin, w->org, "/admin/audit/verify"), 2);
    assert_int_equal(count_seen(w, w->admin, w->other, path), 0);
    /* The admin who chose no org sees all. */
    assert_int_equal(count_seen(w, w->admin, NULL, "/admin/audit/decisions"), 1);
    assert_int_equal(count_seen(w, w->admin, NULL, path), 1);
    assert_int_equal(count_seen(w, w->admin, NULL, "/admin/audit/verify"), 2);
}

/*
 * Whatever is done to either chain, verify says so and names the entry; a page of a workspace's
 * trail does for what it shows, for what stands before that, and for the head.
 */
static void
a_broken_chain_is_told(void **state)
{
    static const struct {
        const char *sql, *why;
        bool on_page;
    } cases[] = {
        {"UPDATE decisions SET record = '{}' WHERE seq = 2", "decision record 2 was altered",
            false},
        {"UPDATE decisions SET record = '{}' WHERE seq = 3", "decision record 3 was altered", true},
        {"DELETE FROM decisions WHERE seq = 2", "decision record 2 is missing", true},
        {"UPDATE decisions SET seq = seq + 10 WHERE seq = 1", "decision record 1 is missing",
            false},
        {"DELETE FROM decisions", "is missing", true},
        {"DELETE FROM heads WHERE chain = 'decision'", "is missing", true},
        {"UPDATE ledger SET cost_nano_usd = 0 WHERE seq = 1", "ledger entry 1 was altered", false},
        {"UPDATE ledger SET cost_nano_usd = 0 WHERE seq = 3", "ledger entry 3 was altered", true},
        {"DELETE FROM ledger WHERE seq = 2", "ledger entry 2 is missing", true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        void *fresh = NULL;
        struct world *w;
        char id[ID_TEXT_BYTES];

        assert_int_equal(world_setup(&fresh), 0);
        w = fresh;
        for (int n = 0; n < 3; n++) {
            play(w, NO_GATEWAY, id);
            book(w, id, 1000);
        }
        change(w, NULL, NULL, cases[i].sql);
        {
            AUTO_ANSWER struct answer verify = ask(w, "GET", "/admin/audit/verify", NULL);
            AUTO_ANSWER struct answer trail = ask(w, "GET", path_of(id, "/audit"), NULL);
            char *text = json_dumps(json_object_get(verify.json, "chains"), 0);

            assert_int_equal(verify.status, 200);
            assert_true(json_is_false(json_object_get(verify.json, "valid")));
            if (strstr(text, cases[i].why) == NULL)
                fail_msg("%s: %s", cases[i].sql, text);
            free(text);
            assert_true(strlen(answer_text(&verify, "cannot_show")) > 100);
            assert_int_equal(trail.status, 200);
            if (json_is_true(json_object_get(trail.json, "chain_valid")) == cases[i].on_page)
                fail_msg("the page did not tell: %s", cases[i].sql);
            if (cases[i].on_page)
                assert_non_null(strstr(answer_text(&trail, "why"), cases[i].why));
        }
        world_teardown(&fresh);
    }
}

/* --- the registry's routes ------------------------------------------------------------------- */

static struct {
    enum err err;
    bool changed;
    int calls;
} reload;

static enum err
reload_stand_in(void *ctx, bool *ret_changed, struct error *e)
{
    reload.calls++;
    *ret_changed = reload.changed;
    e->code = reload.err;
    snprintf(e->text, sizeof(e->text), "providers.yaml:7: unknown field \"colour\"");
    return reload.err;
}

static void
reload_answers_with_the_fingerprint_or_the_sentence(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer same = {0}, changed = {0}, bad = {0};

    w->api->o.reload_registry = reload_stand_in;
    memset(&reload, 0, sizeof(reload));
    same = ask(w, "POST", "/admin/registry/reload", NULL);
    reload.changed = true;
    changed = ask(w, "POST", "/admin/registry/reload", NULL);
    reload.err = ERR_REGISTRY_INVALID;
    bad = ask(w, "POST", "/admin/registry/reload", NULL);
    assert_int_equal(same.status, 200);
    assert_string_equal(answer_text(&same, "status"), "unchanged");
    assert_int_equal(strlen(answer_text(&same, "registry_fingerprint")), 64);
    assert_string_equal(answer_text(&changed, "status"), "reloaded");
    assert_answer(bad, 400, "REGISTRY_INVALID");
    assert_string_equal(answer_text(&bad, "error"), "providers.yaml:7: unknown field \"colour\"");
    assert_int_equal(reload.calls, 3);
}

static json_t *
template_of(const struct answer *a, const char *runtime)
{
    json_t *row;
    size_t i;

    json_array_foreach(a->json, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "runtime")), runtime) == 0)
            return row;
    }
    return NULL;
}

static void
templates_show_what_the_registry_offers(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer a = ask_with(w, w->admin, NULL, NULL, "GET", "/templates", NULL);
    json_t *codex, *row, *found = NULL;
    size_t i;

    assert_int_equal(a.status, 200);
    assert_int_equal(json_array_size(a.json), registry_block(w->registry)->runtimes.n);
    assert_non_null(template_of(&a, "claude-code"));
    codex = template_of(&a, "codex");
    assert_true(json_is_true(json_object_get(codex, "registry_backed")));
    row = json_array_get(json_object_get(codex, "registry_providers"), 0);
    assert_string_equal(json_string_value(json_object_get(row, "name")), "openai-subscription");
    assert_string_equal(json_string_value(json_object_get(row, "billing_mode")), "byok");
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(row, "auth_env"), 0)), "CODEX_AUTH_JSON");
    assert_true(json_is_false(json_object_get(row, "deprecated")));
    json_array_foreach(json_object_get(codex, "registry_models"), i, row)
    {
        const char *provider = json_string_value(json_object_get(row, "provider"));

        assert_string_equal(json_string_value(json_object_get(row, "billing_mode")),
            strcmp(provider, "platform") == 0 ? "platform_managed" : "byok");
        if (strcmp(json_string_value(json_object_get(row, "id")), "gpt-5.5") == 0) {
            assert_null(found); /* each id once, though two arms list it */
            found = row;
        }
    }
    assert_string_equal(
        json_string_value(json_object_get(found, "provider")), "openai-subscription");
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(every_record_replays_to_itself),
        WORLD_TEST(a_record_has_names_and_scopes_and_no_value),
        WORLD_TEST(a_replay_names_what_is_different),
        WORLD_TEST(a_replay_names_a_row_of_the_plan_that_is_different),
        WORLD_TEST(a_replay_reads_every_input),
        WORLD_TEST(a_replay_with_another_registry_says_what_becomes_of_it),
        WORLD_TEST(what_is_no_record_is_said),
        WORLD_TEST(a_workspaces_trail_has_decisions_and_calls_in_order),
        WORLD_TEST(bad_parameters_are_refused),
        WORLD_TEST(records_come_in_pages),
        WORLD_TEST(an_org_sees_only_its_own_trail),
        cmocka_unit_test(a_broken_chain_is_told),
        WORLD_TEST(reload_answers_with_the_fingerprint_or_the_sentence),
        WORLD_TEST(templates_show_what_the_registry_offers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
