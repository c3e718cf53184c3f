/*
 * The n-th call into the store fails, for every n, in every request that writes: afterwards the
 * store is as before, or as after a success; never between. In the order of routes.def.
 */
#include "unit.h"

#include "api/routes.h"
#include "store/copy.h"
#include "store/token_row.h"
#include "world.h"

enum { TABLES_MAX = 64, CALLS_MAX = 5000 };

#define MODEL "\"start\":false,\"model\":\"anthropic/claude-opus-4-7\""

/* What a row asks; %d is new in each try, %1 to %3 what the steps before made. */
struct step {
    const char *method, *path, *body, *confirm;
};

struct row {
    const char *route; /* as in routes.def, with the method in front */
    struct step before[3];
    struct step step;
    /* In the org that before[0] makes, all of it: what an earlier try left would make the next one longer. */
    bool in_made_org;
    bool by_agent; /* with the token that before[2] makes */
};

#define MAKE_WORKSPACE                                                                             \
    {                                                                                              \
        "POST", "/workspaces", "{\"name\":\"w%d\"," MODEL "}"                                      \
    }
#define MAKE_SECRET                                                                                \
    {                                                                                              \
        "PUT", "/workspaces/%2/secrets", "{\"key\":\"S\",\"value\":\"v\"}"                         \
    }
#define MAKE_ORG_SECRET                                                                            \
    {                                                                                              \
        "PUT", "/settings/secrets", "{\"key\":\"O\",\"value\":\"v\"}"                              \
    }
#define MAKE_TOKEN                                                                                 \
    {                                                                                              \
        "POST", "/workspaces/%2/tokens", "{\"name\":\"t\"}"                                        \
    }
#define MAKE_ORG                                                                                   \
    {                                                                                              \
        "POST", "/admin/orgs", "{\"slug\":\"o%d\",\"name\":\"An org\"}"                            \
    }
#define MAKE_KEY                                                                                   \
    {                                                                                              \
        "PUT", "/admin/platform/keys/anthropic-api", "{\"value\":\"platform-%d\"}"                 \
    }
#define MAKE_EXTERNAL                                                                              \
    {                                                                                              \
        "POST", "/workspaces", "{\"name\":\"e%d\",\"runtime\":\"external\"}"                       \
    }
#define MAKE_RUN                                                                                   \
    {                                                                                              \
        "POST", "/workspaces/%2/runs", "{}"                                                        \
    }
#define MAKE_BUDGET                                                                                \
    {                                                                                              \
        "PUT", "/org/budgets/month", "{\"limit\":5000}"                                            \
    }
#define SUSPEND                                                                                    \
    {                                                                                              \
        "POST", "/admin/orgs/%1/suspend"                                                           \
    }
#define IN_MADE_ORG .in_made_org = true
#define BY_AGENT .in_made_org = true, .by_agent = true

static const struct row rows[] = {
    {"POST /workspaces", {MAKE_ORG},
        {"POST", "/workspaces",
            "{\"name\":\"n%d\"," MODEL ",\"secrets\":{\"EXTRA\":\"1\",\"MORE\":\"2\"}}"},
        IN_MADE_ORG},
    {"PATCH /workspaces/:id", {MAKE_ORG, MAKE_WORKSPACE},
        {"PATCH", "/workspaces/%2", "{\"name\":\"p%d\"}"}, IN_MADE_ORG},
    {"PUT /workspaces/:id/model", {MAKE_ORG, MAKE_WORKSPACE},
        {"PUT", "/workspaces/%2/model", "{\"model\":\"moonshot/kimi-k2.6\"}"}, IN_MADE_ORG},
    {"POST /workspaces/:id/secrets", {MAKE_ORG, MAKE_WORKSPACE},
        {"POST", "/workspaces/%2/secrets", "{\"key\":\"S\",\"value\":\"v\"}"}, IN_MADE_ORG},
    {"PUT /workspaces/:id/secrets", {MAKE_ORG, MAKE_WORKSPACE, MAKE_SECRET}, MAKE_SECRET,
        IN_MADE_ORG},
    {"DELETE /workspaces/:id/secrets/:key", {MAKE_ORG, MAKE_WORKSPACE, MAKE_SECRET},
        {"DELETE", "/workspaces/%2/secrets/S"}, IN_MADE_ORG},
    {"POST /workspaces/:id/secrets/import", {MAKE_ORG, MAKE_WORKSPACE},
        {"POST", "/workspaces/%2/secrets/import",
            "{\"secrets\":{\"A\":\"1\",\"B\":\"2\",\"C\":\"3\"}}"},
        IN_MADE_ORG},
    {"POST /settings/secrets/import", {MAKE_ORG},
        {"POST", "/settings/secrets/import", "{\"secrets\":{\"D\":\"1\",\"E\":\"2\"}}"},
        IN_MADE_ORG},
    {"PUT /settings/secrets", {MAKE_ORG}, MAKE_ORG_SECRET, IN_MADE_ORG},
    {"DELETE /settings/secrets/:key", {MAKE_ORG, MAKE_ORG_SECRET},
        {"DELETE", "/settings/secrets/O"}, IN_MADE_ORG},
    {"POST /workspaces/:id/tokens", {MAKE_ORG, MAKE_WORKSPACE}, MAKE_TOKEN, IN_MADE_ORG},
    {"DELETE /workspaces/:id/tokens/:token", {MAKE_ORG, MAKE_WORKSPACE, MAKE_TOKEN},
        {"DELETE", "/workspaces/%2/tokens/%3"}, IN_MADE_ORG},
    {"PUT /admin/workspaces/:id/llm-billing-mode", {MAKE_ORG, MAKE_WORKSPACE},
        {"PUT", "/admin/workspaces/%2/llm-billing-mode", "{\"mode\":\"disabled\"}"}, IN_MADE_ORG},
    {"POST /workspaces/:id/runs", {MAKE_ORG, MAKE_WORKSPACE}, {"POST", "/workspaces/%2/runs", "{}"},
        IN_MADE_ORG},
    {"POST /workspaces/:id/runs/:run/renew", {MAKE_ORG, MAKE_WORKSPACE, MAKE_RUN},
        {"POST", "/workspaces/%2/runs/%3/renew", "{}"}, IN_MADE_ORG},
    {"DELETE /workspaces/:id/runs/:run", {MAKE_ORG, MAKE_WORKSPACE, MAKE_RUN},
        {"DELETE", "/workspaces/%2/runs/%3"}, IN_MADE_ORG},
    {"POST /registry/register", {MAKE_ORG, MAKE_EXTERNAL, MAKE_TOKEN},
        {"POST", "/registry/register",
            "{\"id\":\"%2\",\"delivery_mode\":\"poll\",\"agent_card\":{\"name\":\"an agent\"}}"},
        BY_AGENT},
    {"POST /registry/heartbeat", {MAKE_ORG, MAKE_EXTERNAL, MAKE_TOKEN},
        {"POST", "/registry/heartbeat",
            "{\"workspace_id\":\"%2\",\"error_rate\":0.9,\"configured\":true}"},
        BY_AGENT},
    {"POST /registry/update-card", {MAKE_ORG, MAKE_EXTERNAL, MAKE_TOKEN},
        {"POST", "/registry/update-card",
            "{\"workspace_id\":\"%2\",\"agent_card\":{\"name\":\"an agent\"}}"},
        BY_AGENT},
    {"PATCH /workspaces/:id/budget", {MAKE_ORG, MAKE_WORKSPACE},
        {"PATCH", "/workspaces/%2/budget", "{\"budget_limits\":{\"hourly\":100,\"monthly\":5000}}"},
        IN_MADE_ORG},
    {"PUT /workspaces/:id/limits", {MAKE_ORG, MAKE_WORKSPACE},
        {"PUT", "/workspaces/%2/limits",
            "{\"workspace\":{\"concurrent\":3},\"token\":{\"tokens_per_minute\":9}}"},
        IN_MADE_ORG},
    {"PATCH /org/budgets", {MAKE_ORG}, {"PATCH", "/org/budgets", "{\"exempt\":true}"}, IN_MADE_ORG},
    {"PUT /org/budgets/:period", {MAKE_ORG}, MAKE_BUDGET, IN_MADE_ORG},
    {"DELETE /org/budgets/:period", {MAKE_ORG, MAKE_BUDGET}, {"DELETE", "/org/budgets/month"},
        IN_MADE_ORG},
    {"POST /admin/orgs", {{0}}, MAKE_ORG},
    {"PATCH /admin/orgs/:org", {MAKE_ORG}, {"PATCH", "/admin/orgs/%1", "{\"name\":\"Other\"}"}},
    /* It suspends first, in a transaction of its own. */
    {"DELETE /admin/orgs/:org", {MAKE_ORG, SUSPEND},
        {"DELETE", "/admin/orgs/%1?ledger=delete", NULL, "o%d"}},
    {"POST /admin/orgs/:org/suspend", {MAKE_ORG}, SUSPEND},
    {"POST /admin/orgs/:org/resume", {MAKE_ORG, SUSPEND}, {"POST", "/admin/orgs/%1/resume"}},
    {"POST /org/tokens", {MAKE_ORG}, {"POST", "/org/tokens", "{}"}, IN_MADE_ORG},
    {"PUT /admin/platform/keys/:provider", {{0}}, MAKE_KEY},
    {"POST /admin/platform/keys", {MAKE_KEY},
        {"POST", "/admin/platform/keys",
            "{\"provider\":\"anthropic-api\",\"value\":\"second-%d\",\"weight\":2}"}},
    {"PATCH /admin/platform/keys/:provider", {MAKE_KEY},
        {"PATCH", "/admin/platform/keys/%1", "{\"weight\":7}"}},
    {"DELETE /admin/platform/keys/:provider", {MAKE_KEY},
        {"DELETE", "/admin/platform/keys/anthropic-api"}},
};

/* The routes that write but have no row, and why. */
static const struct {
    const char *route, *why;
} exempt[] = {
    {"POST /workspaces/:id/start", "several transactions on purpose: intent, then effect"},
    {"POST /workspaces/:id/stop", "as start"},
    {"POST /workspaces/:id/restart", "as start"},
    {"POST /workspaces/:id/pause", "as stop, of each that stands below"},
    {"POST /workspaces/:id/resume", "as start, of each that stands below"},
    {"DELETE /workspaces/:id", "as stop, then one transaction; see the rows' tests"},
    {"PUT /workspaces/:id/provider", "answers 410"},
    {"POST /settings/secrets", "the handler of PUT"},
    {"POST /admin/secrets", "the handler of PUT /settings/secrets"},
    {"PUT /admin/secrets", "the handler of PUT /settings/secrets"},
    {"DELETE /admin/secrets/:key", "the handler of DELETE /settings/secrets/:key"},
    {"POST /admin/workspaces/:id/tokens", "the handler of POST /workspaces/:id/tokens"},
    {"PUT /cp/admin/workspaces/:id/llm-billing-mode", "the handler under /admin"},
    {"POST /admin/registry/reload", "writes nothing"},
    {"DELETE /org/tokens/:token", "the row function of DELETE /workspaces/:id/tokens/:token"},
    {"POST /admin/ledger/corrections",
        "one transaction on a row of the ledger, which no route makes"},
    {"POST /admin/token/rotate", "a file and a row, each taken over by the next start"},
    {"DELETE /admin/nodes/:node", "one transaction, then what a start does anyway"},
    {"POST /admin/keys", "a file, no store"},
    {"POST /admin/keys/rotate", "many transactions on purpose: it is resumed"},
    {"DELETE /admin/keys/:key", "a file, then a row"},
};

static struct world *w;
static char made[3][ID_TEXT_BYTES];
static char agent_token[TOKEN_TEXT_BYTES + 1];
static int serial;

static const char *
filled(const char *format, char *ret, size_t ret_bytes)
{
    struct buf b;

    if (format == NULL)
        return NULL;
    buf_init(&b, ret_bytes - 1);
    for (const char *p = format; *p != '\0'; p++) {
        if (*p != '%') {
            buf_add_char(&b, *p);
            continue;
        }
        p++;
        if (*p == 'd')
            buf_addf(&b, "%d", serial);
        else
            buf_addf(&b, "%s", made[*p - '1']);
    }
    assert_true(buf_ok(&b));
    memcpy(ret, buf_cstr(&b), b.n + 1);
    buf_done(&b);
    return ret;
}

static struct answer
take_step(const struct step *s, const char *token, const char *org)
{
    char path[256], body[512], name[64], headers[128] = "";

    if (s->confirm != NULL)
        snprintf(headers, sizeof(headers), "X-Confirm-Name: %s\r\n",
            filled(s->confirm, name, sizeof(name)));
    return ask_with(w, token, org, headers, s->method, filled(s->path, path, sizeof(path)),
        filled(s->body, body, sizeof(body)));
}

/* Its first use is noted, which would be a change of its own. */
static void
use_agent_token(void)
{
    AUTO_ANSWER struct answer a =
        ask_with(w, agent_token, NULL, NULL, "GET", path_of(made[1], ""), NULL);

    assert_int_equal(a.status, 200);
}

static void
prepare(const struct row *row)
{
    serial++;
    for (int i = 0; i < 3 && row->before[i].method != NULL; i++) {
        AUTO_ANSWER struct answer a =
            take_step(&row->before[i], w->admin, row->in_made_org && i > 0 ? made[0] : w->org);
        const char *id = answer_text(&a, "id");

        if (a.status >= 300)
            fail_msg(
                "%s: preparing it gets %d: %s", row->route, a.status, answer_text(&a, "error"));
        snprintf(made[i], sizeof(made[i]), "%s", *id != '\0' ? id : answer_text(&a, "run_id"));
        snprintf(agent_token, sizeof(agent_token), "%s", answer_text(&a, "auth_token"));
    }
    if (row->by_agent)
        use_agent_token();
}

struct state {
    struct copy_table tables[TABLES_MAX];
    size_t n;
};

static struct state
digest_look(void)
{
    AUTO_ARENA struct arena arena = {0};
    struct copy_table *tables;
    struct state s = {0};
    struct error e;

    if (store_digest(w->store, &arena, &tables, &s.n, &e) != ERR_OK)
        fail_msg("%s", e.text);
    assert_true(s.n <= TABLES_MAX);
    memcpy(s.tables, tables, s.n * sizeof(*tables));
    return s;
}

/* What a request changed: by how many rows each table grew, and which were touched at all. */
struct change {
    int64_t rows[TABLES_MAX];
    bool touched[TABLES_MAX];
    bool any;
};

static struct change
change_between(const struct state *a, const struct state *b)
{
    struct change c = {0};

    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->tables[i].name, "nodes") == 0)
            continue; /* who lives, and how much was told to others */
        c.rows[i] = b->tables[i].rows - a->tables[i].rows;
        c.touched[i] = memcmp(a->tables[i].digest, b->tables[i].digest, COPY_DIGEST_BYTES) != 0;
        c.any = c.any || c.touched[i];
    }
    return c;
}

static bool
same_change(const struct change *a, const struct change *b)
{
    return memcmp(a->rows, b->rows, sizeof(a->rows)) == 0 &&
        memcmp(a->touched, b->touched, sizeof(a->touched)) == 0;
}

/*
 * Returns the answer's status; what it changed goes to ret, and before becomes what is there now.
 * n 0: nothing fails.
 */
static int
try_with(const struct row *row, long n, struct state *before, struct change *ret, long *ret_calls)
{
    AUTO_ANSWER struct answer a = {0};
    struct state after;

    store_fault_set(w->store, n);
    a = take_step(&row->step, row->by_agent ? agent_token : w->admin,
        row->by_agent          ? NULL
            : row->in_made_org ? made[0]
                               : w->org);
    *ret_calls = store_fault_calls(w->store);
    store_fault_set(w->store, 0);
    after = digest_look();
    *ret = change_between(before, &after);
    *before = after;
    if (n == 0 && a.status >= 300)
        fail_msg("%s: gets %d: %s", row->route, a.status, answer_text(&a, "error"));
    return a.status;
}

static void
prepare_and_look(const struct row *row, struct state *ret)
{
    prepare(row);
    *ret = digest_look();
}

static void
fail_every_call_of(const struct row *row)
{
    struct change whole, now;
    struct state before;
    long calls = CALLS_MAX, n = 1;

    /* Twice: the first one may begin a chain. */
    for (int i = 0; i < 2; i++) {
        prepare_and_look(row, &before);
        (void)try_with(row, 0, &before, &whole, &calls);
        assert_true(whole.any);
    }
    prepare_and_look(row, &before);
    for (; n <= calls; n++) {
        int status = try_with(row, n, &before, &now, &calls);
        bool complete = same_change(&now, &whole);

        if (status != 503 && status >= 300)
            fail_msg("%s: call %ld failed: %d instead of 503", row->route, n, status);
        if ((status < 300 && !complete) || (now.any && !complete))
            fail_msg(
                "%s: call %ld failed (%d) and left something half done", row->route, n, status);
        if (complete)
            prepare_and_look(row, &before);
        assert_true(n < CALLS_MAX);
    }
    print_message("# %s: %ld calls\n", row->route, n - 1);
}

/* Long from now: so no request notes that the token was used, which would be a change of its own. */
static enum err
use_admin_token(struct store_tx *tx, void *ctx, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct id none = {0};
    struct token_row *tokens;
    int64_t later = clock_ms() + 86400000;
    size_t n;
    enum err err = token_row_list(tx, none, none, TOKEN_ADMIN, clock_ms(), &arena, &tokens, &n, e);

    return err == ERR_OK ? token_row_touch(tx, tokens[0].id, later, e) : err;
}

static void
a_failure_of_any_call_leaves_all_or_nothing(void **state)
{
    struct error e;

    /* Each in a world of its own: all that is in the store is looked at after each call. */
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(world_setup(state), 0);
        w = *state;
        if (store_tx(w->store, use_admin_token, NULL, &e) != ERR_OK)
            fail_msg("%s", e.text);
        fail_every_call_of(&rows[i]);
        world_teardown(state);
    }
}

static bool
is_listed(const char *route)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].route, route) == 0)
            return true;
    }
    for (size_t i = 0; i < sizeof(exempt) / sizeof(exempt[0]); i++) {
        if (strcmp(exempt[i].route, route) == 0)
            return true;
    }
    return false;
}

static void
every_route_that_writes_is_listed(void **state)
{
    static const char *const lines[] = {
#define X(method, pattern, who, org, max_body, handler) #method " " pattern,
#include "api/routes.def"
#undef X
    };

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        if (strncmp(lines[i], "GET ", 4) != 0 && !is_listed(lines[i]))
            fail_msg("%s writes: give it a row here, or a reason to have none", lines[i]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_that_writes_is_listed),
        cmocka_unit_test(a_failure_of_any_call_leaves_all_or_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
