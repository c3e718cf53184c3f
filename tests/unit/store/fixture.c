#include "fixture.h"

#include <unistd.h>

struct store *store;
struct str store_url;
bool store_is_file;
struct arena arena;
struct error e;
static char folder[64];
static char path[96];

struct id
id_of(int n)
{
    struct id id = {{0}};

    id.b[14] = (uint8_t)(n >> 8);
    id.b[15] = (uint8_t)n;
    return id;
}

static enum err
call_body(struct store_tx *tx, void *ctx, struct error *err)
{
    (*(body_fn **)ctx)(tx);
    return ERR_OK;
}

void
in_tx(body_fn *body)
{
    OK(store_tx(store, call_body, &body, &e));
}

void
in_read(body_fn *body)
{
    OK(store_read(store, call_body, &body, &e));
}

void
exec_sql(struct store_tx *tx, const char *sql)
{
    struct query q = query_start(tx, sql);

    OK(query_run(&q, &e));
}

int64_t
int_sql(struct store_tx *tx, const char *sql)
{
    struct query q = query_start(tx, sql);
    int64_t n = query_row(&q) ? query_get_int(&q) : -1;

    OK(query_end(&q, &e));
    return n;
}

void
reopen(void)
{
    store_close(TAKE(store));
    OK(store_open(store_url, &store, &e));
}

void
make_too_new(struct store_tx *tx)
{
    exec_sql(
        tx, "INSERT INTO schema_migrations (version, name, applied_ms) VALUES (9999, 'later', 1)");
}

void
make_known_again(struct store_tx *tx)
{
    exec_sql(tx, "DELETE FROM schema_migrations WHERE version = 9999");
}

static void
seed(struct store_tx *tx)
{
    for (int org = 1; org <= 2; org++) {
        struct org_row o = {.id = id_of(org),
            .slug = org == 1 ? STR("one") : STR("two"),
            .name = STR("An org"),
            .created_ms = 1000};
        struct workspace_row w = sample_workspace(org, org * 10 + 1);

        OK(org_row_insert(tx, &o, &e));
        OK(workspace_row_insert(tx, &w, &e));
    }
}

int
fixture_setup(void **state)
{
    const char *server = getenv("STORE_TEST_URL");

    snprintf(folder, sizeof(folder), "/tmp/test-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/purser.db", folder);
    store_url = str_from_cstr(server != NULL ? server : path);
    store_is_file = server == NULL;
    arena_init(&arena);
    if (!store_is_file)
        OK(store_migrate(store_url, 0, &e)); /* what the test before left */
    OK(store_open(store_url, &store, &e));
    in_tx(seed);
    return 0;
}

int
fixture_teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};
    char name[128];

    store_close(TAKE(store));
    arena_done(&arena);
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%s%s", path, suffixes[i]);
        unlink(name);
    }
    return rmdir(folder);
}

struct workspace_row
sample_workspace(int org, int n)
{
    return (struct workspace_row){.id = id_of(n),
        .org = id_of(org),
        .name = STR("agent"),
        .role = STR("role"),
        .runtime = STR("claude-code"),
        .url = STR(""),
        .command = STR("[\"sleep\",\"1\"]"),
        .workspace_dir = STR(""),
        .desired = WORKSPACE_DESIRED_STOPPED,
        .status = WORKSPACE_STOPPED,
        .last_error_code = STR(""),
        .last_error = STR(""),
        .created_ms = 1000 + n};
}

struct secret_row
sample_secret(int org, int workspace, const char *name, int64_t version)
{
    return (struct secret_row){.org = id_of(org),
        .workspace = id_of(workspace),
        .name = str_from_cstr(name),
        .sealed = {"se\0led", 6},
        .key_id = 1,
        .version = version,
        .fingerprint = {"finger\0print", 12},
        .created_ms = 1000 * version,
        .updated_ms = 1000 * version};
}

struct token_row
sample_token(int org, int workspace, enum token_kind kind, int n)
{
    struct token_row t = {.id = id_of(n),
        .org = id_of(org),
        .workspace = id_of(workspace),
        .kind = kind,
        .prefix = STR("psr_use_abc"),
        .name = STR("name"),
        .created_ms = 1000 + n,
        .models = STR("[\"anthropic/claude-opus-4-7\"]")};

    t.digest[0] = (uint8_t)n;
    t.digest[1] = (uint8_t)(n >> 8);
    return t;
}

struct ledger_entry
sample_entry(int org, int workspace, int call)
{
    struct ledger_entry en = {.attempt = 1,
        .vendor_status = 200,
        .opened_ms = 10000 + call,
        .closed_ms = 20000 + call,
        .usage = {.input = 10,
            .output = 20,
            .cache_read = 3,
            .cache_write_5m = 4,
            .cache_write_1h = 5,
            .reasoning = 6},
        .price = {.from_ms = 1, .input = 5000000, .output = 25000000},
        .bound_nano_usd = 999,
        .cost_nano_usd = 550,
        .provider = "anthropic",
        .model_asked = "anthropic/claude-opus-4-7",
        .model_vendor = "claude-opus-4-7",
        .model_answered = "claude-opus-4-7"};

    memcpy(en.call_id, id_of(call).b, 16);
    memcpy(en.org_id, id_of(org).b, 16);
    memcpy(en.workspace_id, id_of(workspace).b, 16);
    memset(en.registry_fingerprint, 7, sizeof(en.registry_fingerprint));
    return en;
}

struct decision_row
sample_decision(int org, int workspace, int n)
{
    return (struct decision_row){.id = id_of(n),
        .org = id_of(org),
        .workspace = id_of(workspace),
        .kind = DECISION_START,
        .code = STR(""),
        .mode = STR("byok"),
        .source = STR("derived_provider"),
        .provider = STR("anthropic-api"),
        .model = STR("claude-opus-4-7"),
        .runtime = STR("claude-code"),
        .json = STR("{\"inputs\":{}}"),
        .created_ms = 1000 + n};
}
