#include "store/query.h"

static bool
broken(struct query *q, enum db_result result)
{
    if (result == DB_OK || result == DB_ROW || result == DB_DONE)
        return false;
    q->err = db_fail(q->tx->db, result, &q->e);
    q->tx->failed = true;
    q->tx->busy = result == DB_BUSY;
    return true;
}

struct query
query_start(struct store_tx *tx, const char *sql)
{
    struct query q = {.tx = tx};

    broken(&q, db_prepare(tx->db, sql, &q.stmt));
    return q;
}

static void
bind(struct query *q, const struct db_value *v)
{
    if (q->err == ERR_OK)
        broken(q, db_bind(q->tx->db, q->stmt, ++q->parameters, v));
}

void
query_int(struct query *q, int64_t v)
{
    bind(q, &(struct db_value){.type = DB_INT, .i = v});
}

void
query_int_or_null(struct query *q, bool present, int64_t v)
{
    bind(q, &(struct db_value){.type = present ? DB_INT : DB_NULL, .i = v});
}

void
query_text(struct query *q, struct str v)
{
    bind(q, &(struct db_value){.type = DB_TEXT, .s = v});
}

void
query_text_or_null(struct query *q, bool present, struct str v)
{
    bind(q, &(struct db_value){.type = present ? DB_TEXT : DB_NULL, .s = v});
}

void
query_blob(struct query *q, const void *p, size_t n)
{
    bind(q, &(struct db_value){.type = DB_BLOB, .s = {p, n}});
}

void
query_id(struct query *q, struct id v)
{
    char text[ID_TEXT_BYTES];

    id_text(v, text);
    query_text(q, str_from_cstr(text));
}

void
query_id_or_null(struct query *q, struct id v)
{
    if (id_is_zero(v))
        bind(q, &(struct db_value){.type = DB_NULL});
    else
        query_id(q, v);
}

bool
query_row(struct query *q)
{
    enum db_result result;

    if (q->err != ERR_OK)
        return false;
    q->columns = 0;
    result = db_step(q->tx->db, q->stmt);
    return !broken(q, result) && result == DB_ROW;
}

void
query_garbled(struct query *q, const char *what)
{
    if (q->err != ERR_OK)
        return;
    q->garbled = true;
    q->err = fail(&q->e, ERR_STORE_UNAVAILABLE,
        "the store holds what no purser wrote: column %u (%s)", q->columns, what);
}

static bool
column(struct query *q, enum db_type type, bool nullable, struct db_value *ret)
{
    struct db_value v;

    if (q->err != ERR_OK || broken(q, db_column(q->tx->db, q->stmt, q->columns, &v)))
        return false;
    q->columns++;
    if (v.type != type && !(nullable && v.type == DB_NULL)) {
        query_garbled(q, "its type");
        return false;
    }
    *ret = v;
    return v.type != DB_NULL;
}

int64_t
query_get_int(struct query *q)
{
    struct db_value v;

    return column(q, DB_INT, false, &v) ? v.i : 0;
}

int64_t
query_get_int_or(struct query *q, int64_t when_null, bool *ret_present)
{
    struct db_value v;
    bool present = column(q, DB_INT, true, &v);

    if (ret_present != NULL)
        *ret_present = present;
    return present ? v.i : when_null;
}

bool
query_get_bool(struct query *q)
{
    int64_t v = query_get_int(q);

    if (v != 0 && v != 1)
        query_garbled(q, "neither 0 nor 1");
    return v == 1;
}

struct str
query_get_text(struct query *q, struct arena *a)
{
    struct db_value v;

    return column(q, DB_TEXT, false, &v) ? arena_dup(a, v.s) : STR("");
}

struct str
query_get_text_or_null(struct query *q, struct arena *a, bool *ret_present)
{
    struct db_value v;

    *ret_present = column(q, DB_TEXT, true, &v);
    return *ret_present ? arena_dup(a, v.s) : STR("");
}

struct str
query_get_blob(struct query *q, struct arena *a)
{
    struct db_value v;

    return column(q, DB_BLOB, false, &v) ? arena_dup(a, v.s) : STR("");
}

void
query_get_bytes(struct query *q, void *ret, size_t n)
{
    struct db_value v;

    if (!column(q, DB_BLOB, false, &v))
        return;
    if (v.s.n != n)
        query_garbled(q, "its length");
    else
        memcpy(ret, v.s.p, n);
}

static struct id
get_id(struct query *q, bool nullable)
{
    struct id id = {{0}};
    struct db_value v;

    if (column(q, DB_TEXT, nullable, &v) && !id_parse(v.s, &id))
        query_garbled(q, "not an id");
    return id;
}

struct id
query_get_id(struct query *q)
{
    return get_id(q, false);
}

struct id
query_get_id_or_zero(struct query *q)
{
    return get_id(q, true);
}

enum err
query_end(struct query *q, struct error *e)
{
    if (q->stmt != NULL)
        db_reset(q->tx->db, q->stmt);
    if (q->err != ERR_OK)
        *e = q->e;
    return q->err;
}

enum err
query_end_found(struct query *q, bool found, const char *what, struct error *e)
{
    if (query_end(q, e) != ERR_OK)
        return e->code;
    return found ? ERR_OK : fail(e, ERR_NOT_FOUND, "no such %s", what);
}

enum err
query_run(struct query *q, struct error *e)
{
    while (query_row(q))
        continue;
    return query_end(q, e);
}

enum err
query_send(struct query *q, struct error *e)
{
    if (q->err == ERR_OK)
        broken(q, db_send(q->tx->db, q->stmt));
    return query_end(q, e);
}

enum err
query_run_found(struct query *q, const char *what, struct error *e)
{
    bool found = false;

    while (query_row(q))
        found = true;
    return query_end_found(q, found, what, e);
}

void *
query_array(struct arena *a, void *array, size_t n, size_t bytes)
{
    void *grown;

    /* Capacities are 8, 16, 32 ...: n is one of them exactly when the array is full. */
    if (n != 0 && (n < 8 || (n & (n - 1)) != 0))
        return array;
    grown = arena_array(a, n == 0 ? 8 : n * 2, bytes);
    if (n > 0)
        memcpy(grown, array, n * bytes);
    return grown;
}
