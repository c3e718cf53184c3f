#include "store/backup.h"

#include "base/cleanup.h"
#include "store/db.h"

#include <sys/stat.h>

/* Runs sql with at most one text parameter; *ret_first is the first column of its first row. */
static enum err
run(struct db *db, const char *sql, struct str parameter, struct arena *a, struct str *ret_first,
    struct error *e)
{
    struct db_value in = {.type = DB_TEXT, .s = parameter}, out = {0};
    struct db_stmt *stmt;
    enum db_result result = db_prepare(db, sql, &stmt);

    if (result == DB_OK && parameter.n > 0)
        result = db_bind(db, stmt, 1, &in);
    if (result == DB_OK)
        result = db_step(db, stmt);
    if (result == DB_ROW) {
        result = db_column(db, stmt, 0, &out);
        if (result == DB_OK && ret_first != NULL)
            *ret_first = arena_dup(a, out.s);
    } else if (result == DB_DONE) {
        result = DB_OK;
    }
    if (result != DB_OK)
        return db_fail(db, result, e);
    db_reset(db, stmt);
    return ERR_OK;
}

enum err
store_backup(struct str url, struct str path, struct error *e)
{
    struct str target;
    const struct db_driver *driver = db_driver_for(url, &target);
    AUTO(db_close_at) struct db *db = NULL;
    char to[4096];
    mode_t mask;
    enum err err;

    if (driver->backup_sql == NULL)
        return fail(e, ERR_USAGE,
            "a PostgreSQL store is backed up by PostgreSQL's own tools: pg_dump --format=custom "
            "--file=purser.dump URL (and pg_restore), or a base backup; the state directory's "
            "files "
            "with purser backup --without-store");
    if (path.n >= sizeof(to))
        return fail(e, ERR_USAGE, "the backup's path is too long");
    snprintf(to, sizeof(to), "%.*s", STR_ARG(path));
    if (access(to, F_OK) == 0)
        return fail(e, ERR_CONFLICT, "%s is there already: nothing is overwritten", to);
    if (db_open(driver, target, DB_EXISTING, NULL, &db, e) != ERR_OK)
        return e->code;
    mask = umask(0177);
    err = run(db, driver->backup_sql, path, NULL, NULL, e);
    umask(mask);
    return err == ERR_OK ? ERR_OK : wrap(e, "copying the store to %s", to);
}

enum err
store_check(struct str url, struct arena *a, struct str *ret_problem, struct error *e)
{
    struct str target, said = STR("ok");
    const struct db_driver *driver = db_driver_for(url, &target);
    AUTO(db_close_at) struct db *db = NULL;

    if (db_open(driver, target, DB_EXISTING, NULL, &db, e) != ERR_OK)
        return e->code;
    if (run(db, driver->check_sql, STR_NONE, a, &said, e) != ERR_OK)
        return e->code;
    *ret_problem = str_equal(said, STR("ok")) ? STR_NONE : said;
    return ERR_OK;
}
