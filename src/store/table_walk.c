#include "store/table_walk.h"

#include <sodium.h>

#include "base/cleanup.h"
#include "store/chain.h"

/* Read in pages: an engine may hand over a whole result at once. */
enum { PAGE_ROWS = 1000 };

/* Steps through a statement whose parameters are bound; fn gets each row. */
static enum db_result
each_row(struct db *db, struct db_stmt *stmt, size_t columns, table_row_fn *fn, void *ctx)
{
    struct db_value values[TABLE_COLUMNS_MAX + TABLE_KEYS_MAX];
    enum db_result result = DB_OK;

    ENSURE(columns <= TABLE_COLUMNS_MAX + TABLE_KEYS_MAX);
    while (result == DB_OK && (result = db_step(db, stmt)) == DB_ROW) {
        result = DB_OK;
        for (size_t i = 0; result == DB_OK && i < columns; i++)
            result = db_column(db, stmt, (unsigned)i, &values[i]);
        if (result == DB_OK)
            result = fn(ctx, values, columns);
    }
    db_reset(db, stmt);
    return result == DB_DONE ? DB_OK : result;
}

/* One statement, once. parameter NULL: it has none. */
static enum db_result
each_row_of(
    struct db *db, const char *sql, const struct db_value *parameter, table_row_fn *fn, void *ctx)
{
    struct db_stmt *stmt;
    enum db_result result = db_prepare_fresh(db, sql, &stmt);

    if (result != DB_OK)
        return result;
    if (parameter != NULL)
        result = db_bind(db, stmt, 1, parameter);
    if (result == DB_OK)
        result = each_row(db, stmt, 1, fn, ctx);
    db_finish(db, stmt);
    return result;
}

static enum db_result
take_column(void *ctx, const struct db_value *values, size_t n)
{
    struct table_reader *r = ctx;

    ENSURE(r->columns_n < TABLE_COLUMNS_MAX && values[0].type == DB_TEXT);
    r->columns[r->columns_n++] = arena_dup(r->arena, values[0].s);
    return DB_OK;
}

enum db_result
table_reader_init(struct table_reader *r, struct db *db, const struct table *t, struct arena *a)
{
    struct db_value name = {.type = DB_TEXT, .s = str_from_cstr(t->name)};

    *r = (struct table_reader){.db = db, .table = t, .arena = a, .keys_n = 1};
    for (const char *p = t->key; *p != '\0'; p++)
        r->keys_n += *p == ',';
    ENSURE(r->keys_n <= TABLE_KEYS_MAX);
    return each_row_of(db, db->driver->columns_sql, &name, take_column, r);
}

struct str
table_columns(const struct table_reader *r)
{
    struct str text = r->columns[0];

    for (size_t i = 1; i < r->columns_n; i++)
        text = arena_printf(r->arena, "%.*s, %.*s", STR_ARG(text), STR_ARG(r->columns[i]));
    return text;
}

struct str
table_places(struct arena *a, size_t n)
{
    struct str text = STR("$1");

    for (size_t i = 2; i <= n; i++)
        text = arena_printf(a, "%.*s, $%zu", STR_ARG(text), i);
    return text;
}

/* What passes by on a walk: rows are counted, hashed and handed on; the last key is kept. */
struct walk {
    const struct table_reader *reader;
    table_row_fn *fn; /* NULL: only counted and hashed */
    void *ctx;
    crypto_hash_sha256_state hash;
    int64_t rows, page_rows;
    struct db_value last[TABLE_KEYS_MAX];
    struct arena keys[2]; /* what last points to: of this page, and of the one before */
};

static void
walk_done(struct walk *w)
{
    arena_done(&w->keys[0]);
    arena_done(&w->keys[1]);
}

static void
hash_value(crypto_hash_sha256_state *hash, const struct db_value *v)
{
    bool bytes = v->type == DB_TEXT || v->type == DB_BLOB;
    uint8_t type = (uint8_t)v->type;
    AUTO_BUF struct buf number;

    buf_init(&number, 16);
    canonical_int(&number, v->type == DB_INT ? v->i : bytes ? (int64_t)v->s.n : 0);
    crypto_hash_sha256_update(hash, &type, 1);
    crypto_hash_sha256_update(hash, (const uint8_t *)number.p, number.n);
    if (bytes && v->s.n > 0)
        crypto_hash_sha256_update(hash, (const uint8_t *)v->s.p, v->s.n);
}

static void
keep_key(struct walk *w, const struct db_value *key)
{
    struct arena before = w->keys[0];

    arena_done(&w->keys[1]);
    w->keys[1] = before;
    w->keys[0] = (struct arena){0};
    for (size_t i = 0; i < w->reader->keys_n; i++) {
        w->last[i] = key[i];
        if (key[i].type != DB_INT)
            w->last[i].s = arena_dup(&w->keys[0], key[i].s);
    }
}

static enum db_result
walk_row(void *ctx, const struct db_value *values, size_t n)
{
    struct walk *w = ctx;
    size_t columns = w->reader->columns_n;

    for (size_t i = 0; i < columns; i++)
        hash_value(&w->hash, &values[i]);
    w->rows++;
    if (++w->page_rows == PAGE_ROWS)
        keep_key(w, &values[columns]);
    return w->fn == NULL ? DB_OK : w->fn(w->ctx, values, columns);
}

/* A page, and all that follow when the statement has parameters for the key. */
static enum db_result
walk_pages(struct walk *w, bool first, struct str where)
{
    const struct table_reader *r = w->reader;
    const char *key = r->table->key;
    struct str sql = arena_printf(r->arena, "SELECT %.*s, %s FROM %s%.*s ORDER BY %s LIMIT %d",
        STR_ARG(table_columns(r)), key, r->table->name, STR_ARG(where), key, PAGE_ROWS);
    struct db_stmt *stmt;
    enum db_result result = db_prepare_fresh(r->db, sql.p, &stmt);

    if (result != DB_OK)
        return result;
    do {
        for (size_t i = 0; !first && result == DB_OK && i < r->keys_n; i++)
            result = db_bind(r->db, stmt, (unsigned)i + 1, &w->last[i]);
        w->page_rows = 0;
        if (result == DB_OK)
            result = each_row(r->db, stmt, r->columns_n + r->keys_n, walk_row, w);
    } while (!first && result == DB_OK && w->page_rows == PAGE_ROWS);
    db_finish(r->db, stmt);
    return result;
}

enum db_result
table_walk(const struct table_reader *r, table_row_fn *fn, void *ctx, struct copy_table *ret)
{
    AUTO(walk_done) struct walk w = {.reader = r, .fn = fn, .ctx = ctx};
    struct str behind = arena_printf(r->arena, " WHERE (%s) > (%.*s)", r->table->key,
        STR_ARG(table_places(r->arena, r->keys_n)));
    enum db_result result;

    crypto_hash_sha256_init(&w.hash);
    result = walk_pages(&w, true, STR(""));
    if (result == DB_OK && w.page_rows == PAGE_ROWS)
        result = walk_pages(&w, false, behind);
    ret->name = r->table->name;
    ret->rows = w.rows;
    crypto_hash_sha256_final(&w.hash, ret->digest);
    return result;
}
