#include "store/migration.h"

#include "base/buf.h"
#include "base/ids.h"

enum { SQL_MAX_BYTES = 1 << 20, BUSY_TRIES = 10 };

/*
 * The lock row makes a second migrator wait (or fail busy) until the first one's step is
 * committed.
 */
static const char book[] =
    "CREATE TABLE IF NOT EXISTS schema_lock (id {INT} NOT NULL PRIMARY KEY, taken {INT} NOT NULL) "
    "{STRICT};"
    "CREATE TABLE IF NOT EXISTS schema_migrations (version {INT} NOT NULL PRIMARY KEY,"
    " name {TEXT} NOT NULL, applied_ms {INT} NOT NULL) {STRICT};"
    "INSERT INTO schema_lock (id, taken) VALUES (1, 0) ON CONFLICT (id) DO NOTHING;";

/* Fills in the engine's spelling. */
static enum db_result
exec_template(struct db *db, const char *sql)
{
    const struct {
        struct str from;
        const char *to;
    } words[] = {
        {STR_INIT("{BLOB}"), db->driver->blob_type},
        {STR_INIT("{TEXT}"), db->driver->text_type},
        {STR_INIT("{INT}"), db->driver->int_type},
        {STR_INIT("{STRICT}"), db->driver->table_suffix},
    };
    AUTO_BUF struct buf out;
    struct str rest = str_from_cstr(sql);

    buf_init(&out, SQL_MAX_BYTES);
    while (rest.n > 0) {
        size_t word = 0;

        while (word < sizeof(words) / sizeof(words[0]) && !str_starts_with(rest, words[word].from))
            word++;
        if (word < sizeof(words) / sizeof(words[0])) {
            buf_add(&out, str_from_cstr(words[word].to));
            rest = str_slice(rest, words[word].from.n, rest.n);
        } else {
            buf_add_char(&out, rest.p[0]);
            rest = str_slice(rest, 1, rest.n);
        }
    }
    ENSURE(buf_ok(&out));
    return db_exec(db, buf_cstr(&out));
}

/* The one number a statement without parameters gives. */
static enum db_result
read_int(struct db *db, const char *sql, int64_t *ret)
{
    struct db_value v = {0};
    struct db_stmt *stmt;
    enum db_result result = db_prepare(db, sql, &stmt);

    if (result != DB_OK)
        return result;
    result = db_step(db, stmt);
    if (result == DB_ROW)
        result = db_column(db, stmt, 0, &v);
    else if (result == DB_DONE)
        result = DB_FAILED;
    db_reset(db, stmt);
    if (result == DB_OK)
        *ret = v.i;
    return result;
}

static enum db_result
read_version(struct db *db, int *ret)
{
    static const char version_sql[] = "SELECT COALESCE(MAX(version), 0) FROM schema_migrations";
    int64_t there = 0;
    enum db_result result = read_int(db, db->driver->has_migrations_sql, &there);

    if (result == DB_OK && there != 0)
        result = read_int(db, version_sql, &there);
    if (result == DB_OK)
        *ret = (int)there;
    return result;
}

enum err
migration_version(struct db *db, int *ret, struct error *e)
{
    enum db_result result = read_version(db, ret);

    return result == DB_OK ? ERR_OK : db_fail(db, result, e);
}

static enum db_result
note(struct db *db, int version, bool up)
{
    AUTO_BUF struct buf sql;

    buf_init(&sql, 512);
    if (up)
        buf_addf(&sql,
            "INSERT INTO schema_migrations (version, name, applied_ms) VALUES (%d, '%s', %lld)",
            version, migrations[version - 1].name, (long long)clock_ms());
    else
        buf_addf(&sql, "DELETE FROM schema_migrations WHERE version = %d", version);
    ENSURE(buf_ok(&sql));
    return db_exec(db, buf_cstr(&sql));
}

/* One step towards the wanted version, under the lock; nothing when it was reached meanwhile. */
static enum db_result
step(struct db *db, int wanted, int *ret_version)
{
    int version = 0, target;
    bool up;
    enum db_result result = db_exec(db, "UPDATE schema_lock SET taken = taken + 1 WHERE id = 1");

    if (result == DB_OK)
        result = read_version(db, &version);
    *ret_version = version;
    if (result != DB_OK || version == wanted || version > migrations_n)
        return result;
    up = version < wanted;
    target = up ? version + 1 : version;
    result = exec_template(db, up ? migrations[target - 1].up : migrations[target - 1].down);
    if (result == DB_OK)
        result = note(db, target, up);
    if (result == DB_OK)
        *ret_version = up ? version + 1 : version - 1;
    return result;
}

static enum db_result
locked_step(struct db *db, int wanted, int *ret_version)
{
    enum db_result result = db_begin(db, DB_WRITE);

    if (result != DB_OK)
        return result;
    result = step(db, wanted, ret_version);
    return result == DB_OK ? db_commit(db) : result;
}

enum err
migration_too_new(int version, struct error *e)
{
    return fail(e, ERR_STORE_TOO_NEW,
        "the store was made by a later purser (migration %d; this one knows %d): use that version, "
        "or migrate down with it first",
        version, migrations_n);
}

enum err
migration_run(struct db *db, int version, struct error *e)
{
    int at = 0;
    int busy = 0;
    enum db_result result;

    ENSURE(version >= 0 && version <= migrations_n);
    if (migration_version(db, &at, e) != ERR_OK)
        return e->code;
    if (at > migrations_n)
        return migration_too_new(at, e);
    /*
     * The lock row is of no use before it is there: on an empty store two processes would both make
     * the tables.
     */
    if (at != version && db->driver->migration_lock_sql != NULL) {
        do
            result = db_exec(db, db->driver->migration_lock_sql);
        while (result == DB_BUSY && ++busy < BUSY_TRIES);
        if (result != DB_OK)
            return db_fail(db, result, e);
    }
    result = at == version ? DB_OK : exec_template(db, book);
    while (result == DB_OK && at != version) {
        result = locked_step(db, version, &at);
        if (result != DB_OK) {
            enum err err = db_fail(db, result, e);

            if (db_rollback(db) != DB_OK || result != DB_BUSY || ++busy == BUSY_TRIES)
                return wrap(e, "migrating the store from %d towards %d", at, version), err;
            result = DB_OK;
        } else if (at > migrations_n) {
            return migration_too_new(at, e);
        }
    }
    return result == DB_OK ? ERR_OK : db_fail(db, result, e);
}
