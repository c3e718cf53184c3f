/*
 * What the store does per second: bench-store URL WORKSPACES TOKENS. The store must be empty. Prints
 * one line; bench/store makes the table.
 */
#include "base/cleanup.h"
#include "store/query.h"
#include "store/secret_row.h"
#include "store/token_row.h"
#include "store/workspace_row.h"

#include <inttypes.h>
#include <sys/resource.h>

enum { MEASURE_MS = 1500, BATCH = 500, ORG_SIZE = 100, MANY_SECRETS = 50, SEALED_BYTES = 96 };

static struct store *store;
static struct error e;

static void
must(enum err err)
{
    if (err == ERR_OK)
        return;
    fprintf(stderr, "bench-store: %s\n", e.text);
    exit(1);
}

static struct id
id_of(uint64_t kind, uint64_t n)
{
    struct id id = {{0}};

    id.b[0] = (uint8_t)kind;
    for (int i = 0; i < 8; i++)
        id.b[15 - i] = (uint8_t)(n >> (8 * i));
    return id;
}

/* The same sequence in every run. */
static uint64_t
random_below(uint64_t n)
{
    static uint64_t state = 88172645463325252u;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % n;
}

static struct id
org_of(uint64_t workspace)
{
    return id_of(1, workspace / ORG_SIZE);
}

struct batch {
    uint64_t from, to;
};

static enum err
put_secret(struct store_tx *tx, uint64_t workspace, struct str name, struct error *err)
{
    static const char sealed[SEALED_BYTES];
    struct secret_row s = {.org = org_of(workspace),
        .workspace = id_of(2, workspace),
        .name = name,
        .sealed = {sealed, sizeof(sealed)},
        .key_id = 1,
        .version = (int64_t)random_below(INT64_MAX),
        .fingerprint = {sealed, 32},
        .created_ms = 1,
        .updated_ms = 1};

    return secret_row_put(tx, &s, err);
}

static enum err
add_org(struct store_tx *tx, uint64_t n, struct error *err)
{
    struct query q = query_start(
        tx, "INSERT INTO orgs (id, slug, name, created_ms) VALUES ($1, $2, 'An org', 1)");
    char slug[24];

    snprintf(slug, sizeof(slug), "org-%" PRIu64, n);
    query_id(&q, id_of(1, n));
    query_text(&q, str_from_cstr(slug));
    return query_run(&q, err);
}

static enum err
add_workspace(struct store_tx *tx, uint64_t n, struct error *err)
{
    struct workspace_row w = {.id = id_of(2, n),
        .org = org_of(n),
        .name = STR("agent"),
        .role = STR(""),
        .runtime = STR("claude-code"),
        .url = STR(""),
        .command = STR("[]"),
        .extra_models = STR("[]"),
        .required_env = STR("[]"),
        .workspace_dir = STR(""),
        .desired = WORKSPACE_DESIRED_STOPPED,
        .status = WORKSPACE_STOPPED,
        .last_error_code = STR(""),
        .last_error = STR(""),
        .created_ms = 1};

    return workspace_row_insert(tx, &w, err);
}

static enum err
fill_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    const struct batch *b = ctx;
    enum err code = ERR_OK;

    for (uint64_t n = b->from; code == ERR_OK && n < b->to; n++) {
        if (n % ORG_SIZE == 0)
            code = add_org(tx, n / ORG_SIZE, err);
        if (code == ERR_OK)
            code = add_workspace(tx, n, err);
        if (code == ERR_OK)
            code = put_secret(tx, n, STR("MODEL"), err);
    }
    return code;
}

/* The first workspace gets many secrets. */
static enum err
many_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    enum err code = ERR_OK;

    for (int i = 1; code == ERR_OK && i < MANY_SECRETS; i++) {
        char name[24];

        snprintf(name, sizeof(name), "SECRET_%d", i);
        code = put_secret(tx, 0, str_from_cstr(name), err);
    }
    return code;
}

static void
fill(uint64_t workspaces)
{
    for (uint64_t from = 0; from < workspaces; from += BATCH) {
        struct batch b = {from, from + BATCH < workspaces ? from + BATCH : workspaces};

        must(store_tx(store, fill_tx, &b, &e));
    }
    must(store_tx(store, many_tx, NULL, &e));
}

/* One statement for all of them; each engine makes numbers and bytes in its own way. */
static enum err
tokens_tx(struct store_tx *tx, void *ctx, struct error *err)
{
#define TOKEN_ROWS(numbers, n, digest)                                                             \
    numbers                                                                                        \
        " INSERT INTO tokens (id, org_id, workspace_id, kind, digest, prefix, name, read_only,"    \
        " created_ms, expires_ms, models) SELECT " n ", '01000000-0000-0000-0000-000000000000',"   \
        " '02000000-0000-0000-0000-000000000000', 'usage', " digest ", 'psr_use_', '', 0, 1, 0,"   \
        " '[\"*\"]' FROM numbers"
    bool server = tx->db->driver == &db_pg;
    struct query q = server
        ? query_start(tx,
              TOKEN_ROWS("WITH numbers AS (SELECT generate_series(0, $1 - 1) AS n)",
                  "'00000000-0000-0000-0000-' || lpad(n::text, 12, '0')",
                  "convert_to(lpad(n::text, 32, '0'), 'UTF8')"))
        : query_start(tx,
              TOKEN_ROWS("WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM"
                         " numbers WHERE n < $1 - 1)",
                  "printf('00000000-0000-0000-0000-%012d', n)",
                  "CAST(printf('%032d', n) AS BLOB)"));

    query_int(&q, (int64_t) * (uint64_t *)ctx);
    return query_run(&q, err);
}

static enum err
write_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    return put_secret(tx, random_below(*(uint64_t *)ctx), STR("MODEL"), err);
}

static enum err
merged_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    uint64_t n = random_below(*(uint64_t *)ctx);
    AUTO_ARENA struct arena arena = {0};
    struct secret_row *rows;
    size_t rows_n;

    return secret_row_list(tx, org_of(n), id_of(2, n), &arena, &rows, &rows_n, err);
}

/* What a start reads of the store. */
static enum err
gather_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    AUTO_ARENA struct arena arena = {0};
    struct workspace_row w;
    struct secret_row *rows;
    size_t n = 0;

    if (workspace_row_get(tx, org_of(0), id_of(2, 0), &arena, &w, err) != ERR_OK ||
        secret_row_load(tx, org_of(0), id_of(2, 0), &arena, &rows, &n, err) != ERR_OK)
        return err->code;
    ENSURE(n == MANY_SECRETS);
    return ERR_OK;
}

static enum err
token_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    AUTO_ARENA struct arena arena = {0};
    char digest[TOKEN_DIGEST_BYTES + 1];
    struct token_row t;
    bool suspended;

    snprintf(digest, sizeof(digest), "%032" PRIu64, random_below(*(uint64_t *)ctx));
    return token_row_find(tx, (const uint8_t *)digest, 1000, &arena, &t, &suspended, err);
}

typedef enum err run_fn(struct store *s, store_tx_fn *fn, void *ctx, struct error *err);

/* Transactions per second, one after the other. */
static double
measure(run_fn *run, store_tx_fn *fn, uint64_t n)
{
    int64_t from = clock_monotonic_ms(), now = from;
    int64_t done = 0;

    for (; now - from < MEASURE_MS; now = clock_monotonic_ms()) {
        for (int i = 0; i < 20; i++, done++)
            must(run(store, fn, &n, &e));
    }
    return (double)done * 1000 / (double)(now - from);
}

int
main(int argc, char **argv)
{
    const char *url = getenv("STORE_TEST_URL"); /* of with_postgres: wins over the argument */
    uint64_t workspaces, tokens;

    if (argc != 4)
        return 2;
    workspaces = strtoull(argv[2], NULL, 10);
    tokens = strtoull(argv[3], NULL, 10);
    must(store_open(str_from_cstr(url == NULL ? argv[1] : url), &store, &e));
    fill(workspaces);
    if (tokens > 0)
        must(store_tx(store, tokens_tx, &tokens, &e));
    printf("%10" PRIu64 " %10" PRIu64, workspaces, tokens);
    printf(" %10.0f", measure(store_tx, write_tx, workspaces));
    printf(" %10.0f", measure(store_tx_durable, write_tx, workspaces));
    printf(" %10.0f", measure(store_read, merged_tx, workspaces));
    printf(" %10.0f", measure(store_read, gather_tx, workspaces));
    if (tokens > 0)
        printf(" %10.0f", measure(store_read, token_tx, tokens));
    printf("\n");
    store_close(store);
    return 0;
}
