#include "store/db.h"

#include "base/cleanup.h"

const struct db_driver *
db_driver_for(struct str url, struct str *ret_target)
{
    static const struct str scheme = STR_INIT("sqlite:");

    if (str_starts_with(url, STR("postgresql://")) || str_starts_with(url, STR("postgres://"))) {
        *ret_target = url;
        return &db_pg;
    }
    *ret_target = str_starts_with(url, scheme) ? str_slice(url, scheme.n, url.n) : url;
    return &db_sqlite;
}

static bool
hit_by_fault(struct db *db)
{
    db->fault_hit = false;
    if (db->fault == NULL)
        return false;
    atomic_fetch_add(&db->fault->calls, 1);
    if (atomic_load(&db->fault->countdown) > 0)
        db->fault_hit = atomic_fetch_sub(&db->fault->countdown, 1) == 1;
    return db->fault_hit;
}

enum err
db_open(const struct db_driver *driver, struct str target, unsigned how, struct db_fault *fault,
    struct db **ret, struct error *e)
{
    struct db probe = {.driver = driver, .fault = fault};

    if (hit_by_fault(&probe))
        return db_fail(&probe, DB_FAILED, e);
    if (driver->open(target, how, ret, e) != ERR_OK)
        return e->code;
    (*ret)->driver = driver;
    (*ret)->fault = fault;
    return ERR_OK;
}

void
db_close(struct db *db)
{
    if (db == NULL)
        return;
    for (size_t i = 0; i < db->cached_n; i++)
        db->driver->finish(db, db->cached[i].stmt);
    free(db->cached);
    db->driver->close(db);
}

void
db_close_at(struct db **db)
{
    db_close(*db);
}

enum db_result
db_exec(struct db *db, const char *sql)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->exec(db, sql);
}

enum db_result
db_begin(struct db *db, enum db_mode mode)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->begin(db, mode);
}

enum db_result
db_commit(struct db *db)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->commit(db);
}

enum db_result
db_rollback(struct db *db)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->rollback(db);
}

enum err
db_hold(struct db *db, bool exclusive, bool *ret, struct error *e)
{
    return hit_by_fault(db) ? db_fail(db, DB_FAILED, e) : db->driver->hold(db, exclusive, ret, e);
}

enum db_result
db_prepare(struct db *db, const char *sql, struct db_stmt **ret)
{
    enum db_result result;

    if (hit_by_fault(db))
        return DB_FAILED;
    for (size_t i = 0; i < db->cached_n; i++) {
        if (db->cached[i].sql == sql) {
            *ret = db->cached[i].stmt;
            return DB_OK;
        }
    }
    result = db->driver->prepare(db, sql, ret);
    if (result != DB_OK)
        return result;
    if (db->cached_n == db->cached_capacity) {
        size_t capacity = db->cached_capacity == 0 ? 32 : db->cached_capacity * 2;
        struct db_cached *grown = realloc(db->cached, capacity * sizeof(*grown));

        ENSURE(grown != NULL);
        db->cached = grown;
        db->cached_capacity = capacity;
    }
    db->cached[db->cached_n++] = (struct db_cached){sql, *ret};
    return DB_OK;
}

enum db_result
db_prepare_fresh(struct db *db, const char *sql, struct db_stmt **ret)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->prepare(db, sql, ret);
}

void
db_finish(struct db *db, struct db_stmt *stmt)
{
    db->driver->finish(db, stmt);
}

enum db_result
db_bind(struct db *db, struct db_stmt *stmt, unsigned parameter, const struct db_value *v)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->bind(db, stmt, parameter, v);
}

enum db_result
db_step(struct db *db, struct db_stmt *stmt)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->step(db, stmt);
}

enum db_result
db_send(struct db *db, struct db_stmt *stmt)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->send(db, stmt);
}

enum db_result
db_column(struct db *db, struct db_stmt *stmt, unsigned column, struct db_value *ret)
{
    return hit_by_fault(db) ? DB_FAILED : db->driver->column(db, stmt, column, ret);
}

void
db_reset(struct db *db, struct db_stmt *stmt)
{
    db->driver->reset(db, stmt);
}

enum err
db_fail(struct db *db, enum db_result result, struct error *e)
{
    const char *said = db->fault_hit ? "injected fault" : db->driver->message(db);

    if (result == DB_CONFLICT)
        return fail(e, ERR_CONFLICT, "it is there already, or was changed by another (%s)", said);
    if (result == DB_MISSING)
        return fail(e, ERR_NOT_FOUND, "what it belongs to is not there (%s)", said);
    if (result == DB_BUSY)
        return fail(e, ERR_STORE_UNAVAILABLE, "the store is busy (%s)", said);
    return fail(e, ERR_STORE_UNAVAILABLE, "the store can not be used (%s)", said);
}
