#include "store/copy.h"

#include "base/cleanup.h"
#include "store/impl.h"
#include "store/migration.h"
#include "store/query.h"
#include "store/table_walk.h"

#define NONE NULL
#define X(name, key, parent) {#name, key, parent},
static const struct table tables[] = {
#include "store/copy_tables.def"
};
#undef X
#define X(name, key, parent) #name,
static const char *const table_names[] = {
#include "store/copy_tables.def"
    NULL};
#undef X

enum { TABLES_N = sizeof(tables) / sizeof(tables[0]) };

const char *const *
copy_tables(void)
{
    return table_names;
}

/* Rows on their way into the target. */
struct fill {
    struct db *db;
    struct db_stmt *stmt;
    const struct table_reader *reader;
    size_t parent, key; /* which columns they are; parent TABLE_COLUMNS_MAX: none */
};

static enum db_result
run_statement(struct fill *f)
{
    enum db_result result = db_step(f->db, f->stmt);

    db_reset(f->db, f->stmt);
    return result == DB_DONE || result == DB_ROW ? DB_OK : result;
}

/* Without its parent, which may come later. */
static enum db_result
insert_row(void *ctx, const struct db_value *values, size_t n)
{
    const struct db_value none = {.type = DB_NULL};
    struct fill *f = ctx;
    enum db_result result = DB_OK;

    for (size_t i = 0; result == DB_OK && i < n; i++)
        result = db_bind(f->db, f->stmt, (unsigned)i + 1, i == f->parent ? &none : &values[i]);
    if (result == DB_OK)
        return run_statement(f);
    db_reset(f->db, f->stmt);
    return result;
}

static enum db_result
set_parent(void *ctx, const struct db_value *values, size_t n)
{
    struct fill *f = ctx;
    enum db_result result;

    if (values[f->parent].type == DB_NULL)
        return DB_OK;
    result = db_bind(f->db, f->stmt, 1, &values[f->parent]);
    if (result == DB_OK)
        result = db_bind(f->db, f->stmt, 2, &values[f->key]);
    if (result == DB_OK)
        return run_statement(f);
    db_reset(f->db, f->stmt);
    return result;
}

static size_t
column_named(const struct table_reader *r, const char *name)
{
    size_t i = 0;

    while (name != NULL && i < r->columns_n && !str_equal(r->columns[i], str_from_cstr(name)))
        i++;
    return name == NULL ? TABLE_COLUMNS_MAX : i;
}

/* Reads the source once with sql as what is done in the target for each row. */
static enum db_result
fill_with(struct fill *f, struct str sql, table_row_fn *fn, struct copy_table *ret)
{
    enum db_result result = db_prepare_fresh(f->db, sql.p, &f->stmt);

    if (result != DB_OK)
        return result;
    result = table_walk(f->reader, fn, f, ret);
    db_finish(f->db, f->stmt);
    return result;
}

static enum db_result
fill_table(const struct table_reader *from, struct db *to, struct copy_table *ret)
{
    const struct table *t = from->table;
    struct arena *a = from->arena;
    struct fill f = {.db = to,
        .reader = from,
        .parent = column_named(from, t->parent),
        .key = column_named(from, t->key)};
    struct str sql = arena_printf(a, "INSERT INTO %s (%.*s) VALUES (%.*s)", t->name,
        STR_ARG(table_columns(from)), STR_ARG(table_places(a, from->columns_n)));
    enum db_result result = fill_with(&f, sql, insert_row, ret);

    if (result != DB_OK || t->parent == NULL)
        return result;
    sql = arena_printf(a, "UPDATE %s SET %s = $1 WHERE %s = $2", t->name, t->parent, t->key);
    return fill_with(&f, sql, set_parent, ret);
}

/* Either side may have failed: what both said last. */
static enum err
table_fail(struct db *from, struct db *to, const struct table *t, struct error *e)
{
    return fail(e, ERR_STORE_UNAVAILABLE, "copying %s: source: %.80s; target: %.80s", t->name,
        from->driver->message(from), to->driver->message(to));
}

static enum err
copy_table(
    struct db *from, struct db *to, const struct table *t, struct copy_table *ret, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct table_reader source, target;
    struct copy_table before, after;
    enum db_result result = table_reader_init(&source, from, t, &arena);

    if (result == DB_OK)
        result = table_reader_init(&target, to, t, &arena);
    if (result == DB_OK)
        result = table_walk(&target, NULL, NULL, &before);
    if (result == DB_OK && before.rows > 0)
        return fail(e, ERR_CONFLICT,
            "the target is not empty (%s has %lld rows): a copy goes into an empty store only",
            t->name, (long long)before.rows);
    if (result == DB_OK)
        result = fill_table(&source, to, ret);
    if (result == DB_OK)
        result = table_walk(&target, NULL, NULL, &after);
    if (result != DB_OK)
        return table_fail(from, to, t, e);
    if (after.rows != ret->rows || memcmp(after.digest, ret->digest, sizeof(after.digest)) != 0)
        return fail(e, ERR_INTERNAL,
            "%s reads back otherwise than it was written (%lld of %lld rows): nothing was copied",
            t->name, (long long)after.rows, (long long)ret->rows);
    return ERR_OK;
}

static enum err
copy_all(struct db *from, struct db *to, copy_progress_fn *progress, void *ctx, struct error *e)
{
    enum db_result result = db_begin(from, DB_READ);
    struct copy_table done;

    if (result != DB_OK)
        return db_fail(from, result, e);
    result = db_begin(to, DB_WRITE);
    if (result != DB_OK)
        return db_fail(to, result, e);
    for (int i = 0; i < TABLES_N; i++) {
        if (copy_table(from, to, &tables[i], &done, e) != ERR_OK)
            return e->code;
        if (progress != NULL)
            progress(ctx, &done);
    }
    result = db_commit(to);
    return result == DB_OK ? ERR_OK : db_fail(to, result, e);
}

/* At the version of this purser. */
static enum err
check_version(struct db *db, const char *which, struct error *e)
{
    int version = 0;

    if (migration_version(db, &version, e) != ERR_OK)
        return e->code;
    if (version > migrations_n)
        return migration_too_new(version, e);
    if (version < migrations_n)
        return fail(e, ERR_CONFLICT,
            "the %s store is at migration %d, this purser at %d: purser migrate up --store URL "
            "first",
            which, version, migrations_n);
    return ERR_OK;
}

/*
 * Nobody has opened it yet (that makes a node): new, or left behind by a copy that died while it
 * migrated.
 */
static enum err
is_unused(struct db *db, bool *ret, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct table_reader r;
    struct copy_table nodes;
    enum db_result result = table_reader_init(&r, db, &tables[0], &arena);

    if (result == DB_OK)
        result = table_walk(&r, NULL, NULL, &nodes);
    if (result != DB_OK)
        return db_fail(db, result, e);
    *ret = nodes.rows == 0;
    return ERR_OK;
}

static enum err
prepare_target(struct db *db, struct error *e)
{
    int version = 0;
    bool unused = true;
    enum err err = migration_version(db, &version, e);

    if (err == ERR_OK && version > 0)
        err = is_unused(db, &unused, e);
    if (err == ERR_OK && version < migrations_n && unused)
        err = migration_run(db, migrations_n, e);
    return err == ERR_OK ? check_version(db, "target", e) : err;
}

enum err
store_copy(struct str from, struct str to, copy_progress_fn *progress, void *ctx, struct error *e)
{
    AUTO(db_close_at) struct db *source = NULL;
    AUTO(db_close_at) struct db *target = NULL;
    enum err err = store_open_alone(from, "source store", DB_EXISTING, &source, e);

    if (err == ERR_OK)
        err = check_version(source, "source", e);
    if (err == ERR_OK)
        err = store_open_alone(to, "target store", DB_DURABLE, &target, e);
    if (err == ERR_OK)
        err = prepare_target(target, e);
    /* Closing rolls back what is open. */
    return err == ERR_OK ? copy_all(source, target, progress, ctx, e) : err;
}

struct digesting {
    struct arena *arena;
    struct copy_table *tables;
};

static enum err
digest_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct digesting *d = ctx;

    for (int i = 0; i < TABLES_N; i++) {
        struct table_reader r;
        enum db_result result = table_reader_init(&r, tx->db, &tables[i], d->arena);

        if (result == DB_OK)
            result = table_walk(&r, NULL, NULL, &d->tables[i]);
        if (result != DB_OK)
            return db_fail(tx->db, result, e);
    }
    return ERR_OK;
}

enum err
store_digest(
    struct store *s, struct arena *a, struct copy_table **ret, size_t *ret_n, struct error *e)
{
    struct digesting d = {a, arena_array(a, TABLES_N, sizeof(struct copy_table))};
    enum err err = store_read(s, digest_tx, &d, e);

    if (err == ERR_OK) {
        *ret = d.tables;
        *ret_n = TABLES_N;
    }
    return err;
}
