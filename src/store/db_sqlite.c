/* The SQLite driver: WAL, foreign keys on, one writer at a time, parameters bound by name. */
#include "store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"

enum { WAL_TRY_MS = 10, BUSY_TIMEOUT_MS = 5000, PATH_MAX_BYTES = 4096, ROOM_MAX = 4096 };

struct connection {
    struct db db;
    sqlite3 *sqlite;
    bool query_only;
    int hold_fd; /* PATH.lock, flocked; -1: not held */
};

struct db_stmt {
    sqlite3_stmt *native;
    uint8_t index[DB_PARAMETERS_MAX + 1]; /* SQLite's, of the parameter of that number; 0: none */
    /* Short values stay here until the reset, so that SQLite need not copy each. */
    char *room;
    size_t room_bytes;
    size_t wanted; /* by the values bound since the reset; may be more than there is */
};

static sqlite3 *
handle(struct db *db)
{
    return ((struct connection *)db)->sqlite;
}

static enum db_result
result_from(int code)
{
    switch (code) {
    case SQLITE_OK:
        return DB_OK;
    case SQLITE_ROW:
        return DB_ROW;
    case SQLITE_DONE:
        return DB_DONE;
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return DB_CONFLICT;
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return DB_MISSING;
    default:
        return (code & 0xff) == SQLITE_BUSY || (code & 0xff) == SQLITE_LOCKED ? DB_BUSY : DB_FAILED;
    }
}

static const char *
sqlite_message(struct db *db)
{
    return handle(db) == NULL ? "not open" : sqlite3_errmsg(handle(db));
}

static enum db_result
sqlite_exec(struct db *db, const char *sql)
{
    return result_from(sqlite3_exec(handle(db), sql, NULL, NULL, NULL));
}

static void
sqlite_close(struct db *db)
{
    ENSURE(sqlite3_close(handle(db)) == SQLITE_OK);
    cleanup_close(&((struct connection *)db)->hold_fd);
    free(db);
}

/*
 * SQLite would make the file under the umask; it gives its side files the mode of the file. One
 * that
 * is there is not opened here: closing it would drop the locks that all connections of this process
 * hold on it (as POSIX has it), and the next process to close the store would take itself for the
 * last one and remove the write-ahead log that we go on writing to.
 */
static enum err
make_file(const char *path, bool existing, struct error *e)
{
    AUTO_CLOSE int fd = existing ? -1 : open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat st;

    if (existing && access(path, F_OK) != 0)
        return fail_errno(e, ERR_STORE_UNAVAILABLE, "there is no store %s", path);
    if (!existing && fd < 0 && errno != EEXIST)
        return fail_errno(e, ERR_STORE_UNAVAILABLE, "opening the store %s", path);
    if (fd < 0 && (lstat(path, &st) != 0 || !S_ISREG(st.st_mode)))
        return fail(e, ERR_STORE_UNAVAILABLE, "the store %s is not a plain file", path);
    if (fd < 0 && access(path, W_OK) != 0)
        return fail_errno(e, ERR_STORE_UNAVAILABLE, "the store %s cannot be written", path);
    return ERR_OK;
}

/*
 * SQLite does not ask its busy handler when somebody else changes the journal's mode of a new file
 * at this moment: the two could wait for each other. So we wait here, with nothing held.
 */
static enum db_result
use_wal(struct connection *c)
{
    enum db_result result = sqlite_exec(&c->db, "PRAGMA journal_mode = WAL");

    for (int waited = 0; result == DB_BUSY && waited < BUSY_TIMEOUT_MS; waited += WAL_TRY_MS) {
        sqlite3_sleep(WAL_TRY_MS);
        result = sqlite_exec(&c->db, "PRAGMA journal_mode = WAL");
    }
    return result;
}

static enum err
set_up(struct connection *c, const char *path, bool durable, struct error *e)
{
    if (sqlite3_open_v2(path, &c->sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return fail(
            e, ERR_STORE_UNAVAILABLE, "opening the store %s: %s", path, sqlite_message(&c->db));
    sqlite3_extended_result_codes(c->sqlite, 1);
    sqlite3_busy_timeout(c->sqlite, BUSY_TIMEOUT_MS);
    sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(c->sqlite, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    if (use_wal(c) != DB_OK ||
        sqlite_exec(&c->db,
            "PRAGMA foreign_keys = ON;"
            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON") != DB_OK ||
        sqlite_exec(
            &c->db, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL") != DB_OK)
        return fail(
            e, ERR_STORE_UNAVAILABLE, "opening the store %s: %s", path, sqlite_message(&c->db));
    return ERR_OK;
}

static enum err
sqlite_open(struct str target, unsigned how, struct db **ret, struct error *e)
{
    char path[PATH_MAX_BYTES];
    struct connection *c;

    if (target.n == 0 || target.n >= sizeof(path) || memchr(target.p, '\0', target.n) != NULL)
        return fail(e, ERR_STORE_UNAVAILABLE, "the store's path is empty or too long");
    memcpy(path, target.p, target.n);
    path[target.n] = '\0';
    if (make_file(path, (how & DB_EXISTING) != 0, e) != ERR_OK)
        return e->code;
    c = calloc(1, sizeof(*c));
    ENSURE(c != NULL);
    c->hold_fd = -1;
    if (set_up(c, path, (how & DB_DURABLE) != 0, e) != ERR_OK) {
        sqlite_close(&c->db);
        return e->code;
    }
    *ret = &c->db;
    return ERR_OK;
}

/*
 * A file of its own beside the store: locks on the store's file are SQLite's. The file stays, an
 * unlinked one would be locked by nobody who comes later.
 */
static enum err
sqlite_hold(struct db *db, bool exclusive, bool *ret, struct error *e)
{
    struct connection *c = (struct connection *)db;
    char path[PATH_MAX_BYTES + 8];

    snprintf(path, sizeof(path), "%s.lock", sqlite3_db_filename(c->sqlite, "main"));
    if (c->hold_fd < 0)
        c->hold_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (c->hold_fd < 0)
        return fail_errno(e, ERR_STORE_UNAVAILABLE, "the store's lock %s cannot be opened", path);
    *ret = flock(c->hold_fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0;
    if (!*ret && errno != EWOULDBLOCK)
        return fail_errno(e, ERR_STORE_UNAVAILABLE, "%s cannot be locked", path);
    return ERR_OK;
}

static enum db_result
sqlite_begin(struct db *db, enum db_mode mode)
{
    struct connection *c = (struct connection *)db;
    bool query_only = mode == DB_READ;

    if (c->query_only != query_only) {
        enum db_result result =
            sqlite_exec(db, query_only ? "PRAGMA query_only = ON" : "PRAGMA query_only = OFF");

        if (result != DB_OK)
            return result;
        c->query_only = query_only;
    }
    /* Writers lock at once: a read lock that wants to become a write lock can only fail. */
    return sqlite_exec(db, query_only ? "BEGIN" : "BEGIN IMMEDIATE");
}

static enum db_result
sqlite_commit(struct db *db)
{
    return sqlite_exec(db, "COMMIT");
}

/* After some errors (a full disk) SQLite has rolled back by itself. */
static enum db_result
sqlite_rollback(struct db *db)
{
    return sqlite3_get_autocommit(handle(db)) ? DB_OK : sqlite_exec(db, "ROLLBACK");
}

/* $1 is a name to SQLite: its index is the order of first appearance. */
static enum db_result
sqlite_prepare(struct db *db, const char *sql, struct db_stmt **ret)
{
    sqlite3_stmt *native;
    int code = sqlite3_prepare_v3(handle(db), sql, -1, SQLITE_PREPARE_PERSISTENT, &native, NULL);
    struct db_stmt *stmt;

    if (code != SQLITE_OK)
        return result_from(code);
    stmt = calloc(1, sizeof(*stmt));
    ENSURE(stmt != NULL);
    stmt->native = native;
    for (int i = sqlite3_bind_parameter_count(native); i > 0; i--) {
        long number = strtol(sqlite3_bind_parameter_name(native, i) + 1, NULL, 10);

        ENSURE(number >= 1 && number <= DB_PARAMETERS_MAX);
        stmt->index[number] = (uint8_t)i;
    }
    *ret = stmt;
    return DB_OK;
}

/* Where the value stays as it is until the reset; NULL: SQLite must copy it. */
static const char *
keep(struct db_stmt *stmt, struct str s)
{
    size_t at = stmt->wanted;

    stmt->wanted += s.n;
    if (stmt->room == NULL || stmt->wanted > stmt->room_bytes)
        return NULL;
    if (s.n > 0)
        memcpy(stmt->room + at, s.p, s.n);
    return stmt->room + at;
}

/* With nothing bound. The next values will be about as long as the last ones. */
static void
make_room(struct db_stmt *stmt)
{
    if (stmt->wanted > stmt->room_bytes && stmt->wanted <= ROOM_MAX) {
        free(stmt->room);
        stmt->room_bytes = stmt->wanted + stmt->wanted / 4;
        stmt->room = malloc(stmt->room_bytes);
        ENSURE(stmt->room != NULL);
    }
    stmt->wanted = 0;
}

static enum db_result
sqlite_bind(struct db *db, struct db_stmt *stmt, unsigned parameter, const struct db_value *v)
{
    static const char empty[1];
    int index = parameter <= DB_PARAMETERS_MAX ? stmt->index[parameter] : 0;
    bool bytes = v->type == DB_TEXT || v->type == DB_BLOB;
    const char *kept = bytes ? keep(stmt, v->s) : NULL;
    const char *p = kept != NULL ? kept : v->s.n == 0 ? empty : v->s.p;
    void (*copy)(void *) = kept == NULL ? SQLITE_TRANSIENT : SQLITE_STATIC;

    ENSURE(index > 0);
    switch (v->type) {
    case DB_NULL:
        return result_from(sqlite3_bind_null(stmt->native, index));
    case DB_INT:
        return result_from(sqlite3_bind_int64(stmt->native, index, v->i));
    case DB_TEXT:
        return result_from(sqlite3_bind_text64(stmt->native, index, p, v->s.n, copy, SQLITE_UTF8));
    case DB_BLOB:
        return result_from(sqlite3_bind_blob64(stmt->native, index, p, v->s.n, copy));
    }
    return DB_FAILED;
}

static enum db_result
sqlite_step(struct db *db, struct db_stmt *stmt)
{
    return result_from(sqlite3_step(stmt->native));
}

static enum db_result
sqlite_send(struct db *db, struct db_stmt *stmt)
{
    int code = SQLITE_ROW;

    while (code == SQLITE_ROW)
        code = sqlite3_step(stmt->native);
    return code == SQLITE_DONE ? DB_OK : result_from(code);
}

static enum db_result
sqlite_column(struct db *db, struct db_stmt *stmt, unsigned column, struct db_value *ret)
{
    int i = (int)column;
    struct db_value v = {.type = DB_NULL};

    switch (sqlite3_column_type(stmt->native, i)) {
    case SQLITE_INTEGER:
        v = (struct db_value){.type = DB_INT, .i = sqlite3_column_int64(stmt->native, i)};
        break;
    case SQLITE_TEXT:
        v.type = DB_TEXT;
        v.s.p = (const char *)sqlite3_column_text(stmt->native, i);
        break;
    case SQLITE_BLOB:
        v.type = DB_BLOB;
        v.s.p = sqlite3_column_blob(stmt->native, i);
        break;
    case SQLITE_NULL:
        break;
    default:
        return DB_FAILED;
    }
    if (v.type == DB_TEXT || v.type == DB_BLOB) {
        v.s.n = (size_t)sqlite3_column_bytes(stmt->native, i);
        if (v.s.p == NULL && v.s.n > 0)
            return DB_FAILED;
    }
    *ret = v;
    return DB_OK;
}

static void
sqlite_reset(struct db *db, struct db_stmt *stmt)
{
    sqlite3_reset(stmt->native);
    sqlite3_clear_bindings(stmt->native);
    make_room(stmt);
}

static void
sqlite_finish(struct db *db, struct db_stmt *stmt)
{
    sqlite3_finalize(stmt->native);
    free(stmt->room);
    free(stmt);
}

const struct db_driver db_sqlite = {
    .name = "SQLite",
    .blob_type = "BLOB",
    .text_type = "TEXT",
    .int_type = "INTEGER",
    .table_suffix = "STRICT",
    .has_migrations_sql =
        "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'schema_migrations'",
    .columns_sql = "SELECT name FROM pragma_table_info($1) ORDER BY name",
    .backup_sql = "VACUUM INTO $1",
    .check_sql = "PRAGMA integrity_check",
    .clock_sql = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    .tables_sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
                  " AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'schema%' ORDER BY name",
    .one_writer = true,
    .open = sqlite_open,
    .hold = sqlite_hold,
    .close = sqlite_close,
    .exec = sqlite_exec,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .prepare = sqlite_prepare,
    .bind = sqlite_bind,
    .step = sqlite_step,
    .send = sqlite_send,
    .column = sqlite_column,
    .reset = sqlite_reset,
    .finish = sqlite_finish,
    .message = sqlite_message,
};
