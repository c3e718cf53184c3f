/* The version a store is at, and the way to another. */
#include "store/impl.h"
#include "store/migration.h"
#include "store/query.h"

#include "base/cleanup.h"

int
store_version_known(void)
{
    return migrations_n;
}

enum err
store_version(struct str url, int *ret, struct error *e)
{
    struct str target;
    const struct db_driver *driver = db_driver_for(url, &target);
    AUTO(db_close_at) struct db *db = NULL;

    if (db_open(driver, target, DB_EXISTING, NULL, &db, e) != ERR_OK)
        return e->code;
    return migration_version(db, ret, e);
}

static enum err
check_version(int version, struct error *e)
{
    if (version >= 0 && version <= migrations_n)
        return ERR_OK;
    return fail(e, ERR_INVALID_REQUEST, "there is no migration %d, the last one is %d", version,
        migrations_n);
}

enum err
store_migrate(struct str url, int version, struct error *e)
{
    struct str target;
    const struct db_driver *driver = db_driver_for(url, &target);
    AUTO(db_close_at) struct db *db = NULL;

    if (check_version(version, e) != ERR_OK ||
        db_open(driver, target, DB_DURABLE, NULL, &db, e) != ERR_OK)
        return e->code;
    return migration_run(db, version, e);
}

enum err
store_open_alone(struct str url, const char *which, unsigned how, struct db **ret, struct error *e)
{
    struct str target;
    const struct db_driver *driver = db_driver_for(url, &target);
    AUTO(db_close_at) struct db *db = NULL;
    bool held = false;

    if (db_open(driver, target, how, NULL, &db, e) != ERR_OK ||
        db_hold(db, true, &held, e) != ERR_OK)
        return e->code;
    if (!held)
        return fail(
            e, ERR_STATE_LOCKED, "the %s is in use: stop the purserd that serves it first", which);
    *ret = TAKE(db);
    return ERR_OK;
}

enum err
store_migrate_alone(struct str url, int version, struct error *e)
{
    AUTO(db_close_at) struct db *db = NULL;
    unsigned how = version == migrations_n ? DB_DURABLE : DB_DURABLE | DB_EXISTING;

    if (check_version(version, e) != ERR_OK ||
        store_open_alone(url, "store", how, &db, e) != ERR_OK)
        return e->code;
    return migration_run(db, version, e);
}

struct listing {
    struct arena *arena;
    struct store_migration *rows;
    size_t n;
};

static struct store_migration *
row_of(struct listing *l, int version)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->rows[i].version == version)
            return &l->rows[i];
    }
    l->rows = query_array(l->arena, l->rows, l->n, sizeof(*l->rows));
    l->rows[l->n] = (struct store_migration){.version = version};
    return &l->rows[l->n++];
}

static enum err
applied(struct db *db, struct listing *l, struct error *e)
{
    struct store_tx tx = {.db = db};
    struct query q = query_start(
        &tx, "SELECT version, name, applied_ms FROM schema_migrations ORDER BY version");

    while (query_row(&q)) {
        struct store_migration *row = row_of(l, (int)query_get_int(&q));

        row->name = query_get_text(&q, l->arena);
        row->applied_ms = query_get_int(&q);
    }
    return query_end(&q, e);
}

enum err
store_migration_list(
    struct str url, struct arena *a, struct store_migration **ret, size_t *ret_n, struct error *e)
{
    struct str target;
    const struct db_driver *driver = db_driver_for(url, &target);
    AUTO(db_close_at) struct db *db = NULL;
    struct listing l = {.arena = a};
    int version = 0;
    enum err err = db_open(driver, target, DB_EXISTING, NULL, &db, e);

    for (int i = 1; i <= migrations_n; i++)
        row_of(&l, i)->name = str_from_cstr(migrations[i - 1].name);
    if (err == ERR_OK)
        err = migration_version(db, &version, e);
    if (err == ERR_OK && version > 0)
        err = applied(db, &l, e);
    if (err != ERR_OK)
        return err;
    *ret = l.rows;
    *ret_n = l.n;
    return ERR_OK;
}
