/*
 * The PostgreSQL driver: SERIALIZABLE, prepared statements, binary results, writes in a row without
 * waiting for each. A lost connection counts as "run it again" until the commit was sent; from then
 * on nobody knows, and it is a failure.
 */
#include "store/db_values.h"

#include <libpq-fe.h>

#include "base/cleanup.h"

enum {
    OID_BYTEA = 17,
    OID_INT8 = 20,
    OID_INT4 = 23,
    OID_TEXT = 25,
    SENT_MAX = 256, /* statements under way; their answers wait in buffers meanwhile */
};

struct connection {
    struct db db;
    PGconn *pg;
    unsigned statements; /* names them */
    unsigned sent;       /* statements whose end nobody looked at yet; above 0: pipeline mode */
    bool holds;          /* a lock of the session's */
    char message[200];
};

struct db_stmt {
    char name[16];
    struct db_values values;
    PGresult *result; /* NULL: not run yet */
    int row;
};

static PGconn *
handle(struct db *db)
{
    return ((struct connection *)db)->pg;
}

static const char *
pg_message(struct db *db)
{
    return ((struct connection *)db)->message;
}

static enum db_result
lost_or_failed(struct db *db)
{
    return PQstatus(handle(db)) == CONNECTION_BAD ? DB_BUSY : DB_FAILED;
}

/* The same where libpq itself did not take or give something. */
static enum db_result
not_carried(struct db *db)
{
    struct connection *c = (struct connection *)db;

    snprintf(c->message, sizeof(c->message), "the connection was lost");
    return lost_or_failed(db);
}

/*
 * The one translation of SQLSTATE. Only the primary message is kept: the detail may quote values.
 */
static enum db_result
result_from(struct db *db, const PGresult *result)
{
    static const struct {
        const char *state;
        enum db_result result;
    } rows[] = {{"40001", DB_BUSY}, {"40P01", DB_BUSY}, {"55P03", DB_BUSY}, {"23505", DB_CONFLICT},
        {"23503", DB_MISSING}};
    struct connection *c = (struct connection *)db;
    ExecStatusType status = PQresultStatus(result);
    const char *state, *text;

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_EMPTY_QUERY)
        return DB_OK;
    state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    snprintf(c->message, sizeof(c->message), "%s", text != NULL ? text : "the connection was lost");
    for (size_t i = 0; state != NULL && i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(state, rows[i].state) == 0)
            return rows[i].result;
    }
    return lost_or_failed(db);
}

/*
 * What stands in the pipeline, up to its sync. Of several failures the first one counts: the server
 * skips what comes behind it.
 */
static enum db_result
read_pipeline(struct db *db)
{
    enum db_result out = DB_OK;
    bool between = false; /* NULL stands once behind each statement; twice: there is no more */

    for (;;) {
        PGresult *result = PQgetResult(handle(db));
        ExecStatusType status = PQresultStatus(result);

        if (result == NULL && between)
            return out == DB_OK ? not_carried(db) : out;
        between = result == NULL;
        if (out == DB_OK && result != NULL && status != PGRES_PIPELINE_SYNC)
            out = result_from(db, result);
        PQclear(result);
        if (status == PGRES_PIPELINE_SYNC)
            return out;
    }
}

/* Waits for the end of what was sent. */
static enum db_result
settle(struct db *db)
{
    struct connection *c = (struct connection *)db;
    enum db_result out;

    if (c->sent == 0)
        return DB_OK;
    c->sent = 0;
    out = PQpipelineSync(c->pg) == 0 ? not_carried(db) : read_pipeline(db);
    /* Where this fails the rollback does, too, and the connection is given up. */
    if (PQexitPipelineMode(c->pg) == 0 && out == DB_OK)
        out = not_carried(db);
    /* A server that goes says so first, as a failure of the statement. */
    return out == DB_FAILED ? lost_or_failed(db) : out;
}

/* Runs what must wait for what was sent, and looks at its result. */
static enum db_result
pg_exec(struct db *db, const char *sql)
{
    enum db_result out = settle(db);
    PGresult *result;

    if (out != DB_OK)
        return out;
    result = PQexec(handle(db), sql);
    out = result_from(db, result);
    PQclear(result);
    return out;
}

static void
say_nothing(void *ctx, const char *message)
{
}

static void
pg_close(struct db *db)
{
    struct connection *c = (struct connection *)db;

    /* The server ends a session when it comes to it: whoever comes next must not meet its locks. */
    if (c->holds)
        PQclear(PQexec(c->pg, "SELECT pg_advisory_unlock_all()"));
    PQfinish(c->pg);
    free(db);
}

/*
 * Every commit is durable and no database is made here: how makes no difference. What the URL says
 * wins over the limits, which keep a server that is gone from holding a request up.
 */
static enum err
pg_open(struct str target, unsigned how, struct db **ret, struct error *e)
{
    AUTO_FREE char *url = strndup(target.p, target.n);
    struct connection *c = calloc(1, sizeof(*c));
    const char *const names[] = {"connect_timeout", "tcp_user_timeout", "keepalives_idle",
        "fallback_application_name", "dbname", NULL};
    const char *const values[] = {"5", "10000", "30", "purser", url, NULL};

    ENSURE(url != NULL && c != NULL);
    c->pg = PQconnectdbParams(names, values, 1);
    if (PQstatus(c->pg) != CONNECTION_OK) {
        /* libpq's text names host and user, never the password. */
        fail(e, ERR_STORE_UNAVAILABLE, "PostgreSQL can not be reached: %.300s",
            PQerrorMessage(c->pg));
        pg_close(&c->db);
        return e->code;
    }
    PQsetNoticeProcessor(c->pg, say_nothing, NULL);
    if (pg_exec(&c->db,
            "SET client_encoding = 'UTF8'; SET lock_timeout = '5s';"
            "SET synchronous_commit = on") != DB_OK) {
        fail(e, ERR_STORE_UNAVAILABLE, "PostgreSQL can not be set up: %s", c->message);
        pg_close(&c->db);
        return e->code;
    }
    *ret = &c->db;
    return ERR_OK;
}

/* The mark of the served store: any number, the same in every purser. */
static enum err
pg_hold(struct db *db, bool exclusive, bool *ret, struct error *e)
{
    PGresult *result = PQexec(handle(db),
        exclusive ? "SELECT pg_try_advisory_lock(8104636957719491)"
                  : "SELECT pg_try_advisory_lock_shared(8104636957719491)");
    enum db_result out = result_from(db, result);
    bool got = out == DB_OK && PQgetvalue(result, 0, 0)[0] == 't';

    PQclear(result);
    if (out != DB_OK)
        return db_fail(db, out, e);
    ((struct connection *)db)->holds |= got;
    *ret = got;
    return ERR_OK;
}

static int
pg_notice_fd(struct db *db)
{
    return PQsocket(handle(db));
}

static enum db_result
pg_notice(struct db *db, char *ret, size_t ret_bytes)
{
    bool alive = PQconsumeInput(handle(db)) != 0 && PQstatus(handle(db)) == CONNECTION_OK;
    PGnotify *notice = PQnotifies(handle(db));

    if (notice == NULL)
        return alive ? DB_DONE : DB_FAILED;
    snprintf(ret, ret_bytes, "%s", notice->extra);
    PQfreemem(notice);
    return DB_ROW;
}

static enum db_result
pg_begin(struct db *db, enum db_mode mode)
{
    return pg_exec(db,
        mode == DB_READ ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                        : "BEGIN ISOLATION LEVEL SERIALIZABLE");
}

static enum db_result
pg_commit(struct db *db)
{
    enum db_result out = settle(db);
    PGresult *result;

    if (out != DB_OK)
        return out;
    result = PQexec(handle(db), "COMMIT");
    out = result_from(db, result);
    /* A commit of an aborted transaction "succeeds" as a rollback. */
    if (out == DB_OK && strcmp(PQcmdStatus(result), "COMMIT") != 0)
        out = DB_FAILED;
    PQclear(result);
    return out == DB_BUSY && PQstatus(handle(db)) == CONNECTION_BAD ? DB_FAILED : out;
}

static enum db_result
pg_rollback(struct db *db)
{
    (void)settle(db); /* what failed is rolled back */
    return PQtransactionStatus(handle(db)) == PQTRANS_IDLE ? DB_OK : pg_exec(db, "ROLLBACK");
}

static enum db_result
pg_prepare(struct db *db, const char *sql, struct db_stmt **ret)
{
    struct connection *c = (struct connection *)db;
    struct db_stmt *stmt = calloc(1, sizeof(*stmt));
    enum db_result out = settle(db);
    PGresult *result;

    ENSURE(stmt != NULL);
    if (out != DB_OK) {
        free(stmt);
        return out;
    }
    db_values_init(&stmt->values);
    snprintf(stmt->name, sizeof(stmt->name), "s%u", ++c->statements);
    result = PQprepare(c->pg, stmt->name, sql, 0, NULL);
    out = result_from(db, result);
    PQclear(result);
    if (out != DB_OK) {
        free(stmt);
        return out;
    }
    *ret = stmt;
    return DB_OK;
}

static enum db_result
pg_bind(struct db *db, struct db_stmt *stmt, unsigned parameter, const struct db_value *v)
{
    db_values_bind(&stmt->values, parameter, v);
    return DB_OK;
}

static enum db_result
pg_step(struct db *db, struct db_stmt *stmt)
{
    struct db_values_list v;
    enum db_result out;

    if (stmt->result == NULL) {
        out = settle(db);
        if (out != DB_OK)
            return out;
        db_values_list(&stmt->values, &v);
        stmt->result = PQexecPrepared(
            handle(db), stmt->name, (int)stmt->values.n, v.values, v.lengths, v.are_bytes, 1);
        stmt->row = -1;
        out = result_from(db, stmt->result);
        if (out != DB_OK)
            return out;
    }
    return ++stmt->row < PQntuples(stmt->result) ? DB_ROW : DB_DONE;
}

static enum db_result
pg_send(struct db *db, struct db_stmt *stmt)
{
    struct connection *c = (struct connection *)db;
    struct db_values_list v;

    if (c->sent == 0 && PQenterPipelineMode(c->pg) == 0)
        return not_carried(db);
    c->sent++;
    db_values_list(&stmt->values, &v);
    if (PQsendQueryPrepared(
            c->pg, stmt->name, (int)stmt->values.n, v.values, v.lengths, v.are_bytes, 1) == 0)
        return not_carried(db);
    return c->sent < SENT_MAX ? DB_OK : settle(db);
}

static int64_t
big_endian(const char *p, size_t n)
{
    uint64_t v = n > 0 && (p[0] & 0x80) != 0 ? UINT64_MAX : 0;

    for (size_t i = 0; i < n; i++)
        v = v << 8 | (uint8_t)p[i];
    return (int64_t)v;
}

static enum db_result
pg_column(struct db *db, struct db_stmt *stmt, unsigned column, struct db_value *ret)
{
    int i = (int)column;
    struct str bytes;

    ENSURE(stmt->result != NULL && i < PQnfields(stmt->result));
    if (PQgetisnull(stmt->result, stmt->row, i)) {
        *ret = (struct db_value){.type = DB_NULL};
        return DB_OK;
    }
    bytes = (struct str){
        PQgetvalue(stmt->result, stmt->row, i), (size_t)PQgetlength(stmt->result, stmt->row, i)};
    switch (PQftype(stmt->result, i)) {
    case OID_INT4:
    case OID_INT8:
        *ret = (struct db_value){.type = DB_INT, .i = big_endian(bytes.p, bytes.n)};
        return DB_OK;
    case OID_TEXT:
        *ret = (struct db_value){.type = DB_TEXT, .s = bytes};
        return DB_OK;
    case OID_BYTEA:
        *ret = (struct db_value){.type = DB_BLOB, .s = bytes};
        return DB_OK;
    default:
        return DB_FAILED;
    }
}

static void
pg_reset(struct db *db, struct db_stmt *stmt)
{
    db_values_clear(&stmt->values);
    PQclear(stmt->result);
    stmt->result = NULL;
}

/* The server forgets it with the connection. */
static void
pg_finish(struct db *db, struct db_stmt *stmt)
{
    pg_reset(db, stmt);
    db_values_done(&stmt->values);
    free(stmt);
}

const struct db_driver db_pg = {
    .name = "PostgreSQL",
    .blob_type = "BYTEA",
    .text_type = "TEXT COLLATE \"C\"",
    .int_type = "BIGINT",
    .table_suffix = "",
    .has_migrations_sql = "SELECT COUNT(*) FROM pg_tables WHERE schemaname = current_schema()"
                          " AND tablename = 'schema_migrations'",
    .columns_sql = "SELECT column_name::text FROM information_schema.columns WHERE table_schema ="
                   " current_schema() AND table_name = $1 ORDER BY column_name::text COLLATE \"C\"",
    .check_sql = "SELECT 'ok'::text",
    .clock_sql = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    .tables_sql = "SELECT tablename::text FROM pg_tables WHERE schemaname = current_schema()"
                  " AND tablename NOT LIKE 'schema%' ORDER BY tablename::text COLLATE \"C\"",
    .migration_lock_sql = "SELECT pg_advisory_lock(8104636957719492)",
    .notify_sql = "SELECT pg_notify('purser', $1)",
    .listen_sql = "LISTEN purser",
    .claim_sql = "SELECT CAST(CAST(pg_try_advisory_lock($1) AS INT) AS BIGINT)",
    /* Chains are per node: two writers of one node would mostly make each other start again. */
    .one_writer = true,
    .open = pg_open,
    .hold = pg_hold,
    .notice_fd = pg_notice_fd,
    .notice = pg_notice,
    .close = pg_close,
    .exec = pg_exec,
    .begin = pg_begin,
    .commit = pg_commit,
    .rollback = pg_rollback,
    .prepare = pg_prepare,
    .bind = pg_bind,
    .step = pg_step,
    .send = pg_send,
    .column = pg_column,
    .reset = pg_reset,
    .finish = pg_finish,
    .message = pg_message,
};
