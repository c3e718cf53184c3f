#include "store/org_data.h"

#include "store/query.h"

enum { PAGE_ROWS = 256 };

#define NONE "1 = 0"

/*
 * Each page goes on behind the last row of the one before, ($2, $3), in a way that the engines'
 * indexes serve; its keys stand behind the columns.
 */
#define KEYS_TEXT(k1, k2) k1 ", ''"
#define KEYS_INT(k1, k2) "'', " k2
#define KEYS_TEXT_TEXT(k1, k2) k1 ", " k2
#define KEYS_TEXT_INT(k1, k2) k1 ", " k2
#define BEHIND_TEXT(k1, k2) k1 " > $2 AND $3 = ''"
#define BEHIND_INT(k1, k2) "$2 = '' AND " k2 " > $3"
#define BEHIND_TEXT_TEXT(k1, k2) "(" k1 ", " k2 ") > ($2, $3)"
#define BEHIND_TEXT_INT(k1, k2) "(" k1 ", " k2 ") > ($2, $3)"
#define ORDER_TEXT(k1, k2) k1
#define ORDER_INT(k1, k2) k2
#define ORDER_TEXT_TEXT(k1, k2) k1 ", " k2
#define ORDER_TEXT_INT(k1, k2) k1 ", " k2
#define KEY2_TEXT DB_TEXT
#define KEY2_INT DB_INT
#define KEY2_TEXT_TEXT DB_TEXT
#define KEY2_TEXT_INT DB_INT

#define PAGE(table, owner, columns, order, k1, k2)                                                 \
    "SELECT " columns                                                                              \
    ", " KEYS_##order(k1, k2) " FROM " #table " WHERE " owner " = $1 AND " BEHIND_##order(         \
        k1, k2) " ORDER BY " ORDER_##order(k1, k2) " LIMIT $4"

struct org_table {
    const char *name;
    const char *columns;
    const char *page_sql, *delete_sql, *delete_unkept_sql;
    enum db_type key2;
};

/* Statements are known by the address of their text: it must be the same one every time. */
static const struct org_table tables[] = {
#define X(table, owner, columns, order, k1, k2, stays)                                             \
    {#table, columns, PAGE(table, owner, columns, order, k1, k2),                                  \
        "DELETE FROM " #table " WHERE " owner " = $1",                                             \
        "DELETE FROM " #table " WHERE " owner " = $1 AND NOT (" stays ")", KEY2_##order},
#include "store/org_tables.def"
#undef X
};
enum { TABLES_N = sizeof(tables) / sizeof(tables[0]) };

const char *
org_data_table(size_t i)
{
    return i < TABLES_N ? tables[i].name : NULL;
}

static void
name_columns(const struct org_table *t, struct org_data_row *row)
{
    struct str rest = str_from_cstr(t->columns);

    row->table = t->name;
    row->columns_n = 0;
    while (rest.n > 0) {
        size_t comma = str_find_char(rest, ',');

        ENSURE(row->columns_n < ORG_DATA_COLUMNS_MAX);
        row->names[row->columns_n++] = str_trim(str_slice(rest, 0, comma));
        rest = str_slice(rest, comma < rest.n ? comma + 1 : comma, rest.n);
    }
}

static void
bind_value(struct query *q, const struct db_value *v)
{
    if (v->type == DB_INT)
        query_int(q, v->i);
    else
        query_text(q, v->s);
}

static enum err
read_value(struct query *q, unsigned column, struct db_value *ret, struct error *e)
{
    enum db_result result = db_column(q->tx->db, q->stmt, column, ret);

    if (result == DB_OK)
        return ERR_OK;
    q->tx->failed = true;
    return db_fail(q->tx->db, result, e);
}

/* Where the next page begins: copied, since the row goes. */
struct place {
    struct arena arena;
    struct db_value key1, key2;
};

static enum err
read_place(struct query *q, unsigned column, struct place *p, struct error *e)
{
    enum err code = read_value(q, column, &p->key1, e);

    if (code == ERR_OK)
        code = read_value(q, column + 1, &p->key2, e);
    if (code != ERR_OK)
        return code;
    arena_done(&p->arena);
    arena_init(&p->arena);
    if (p->key1.type == DB_TEXT)
        p->key1.s = arena_dup(&p->arena, p->key1.s);
    if (p->key2.type == DB_TEXT)
        p->key2.s = arena_dup(&p->arena, p->key2.s);
    return ERR_OK;
}

static enum err
walk_page(struct query *q, struct org_data_row *row, struct place *at, size_t *ret_n,
    org_data_fn *fn, void *ctx, struct error *e)
{
    enum err code = ERR_OK;
    size_t n = 0;

    for (; code == ERR_OK && query_row(q); n++) {
        for (unsigned i = 0; code == ERR_OK && i < row->columns_n; i++)
            code = read_value(q, i, &row->values[i], e);
        if (code == ERR_OK)
            code = fn(ctx, row, e);
        if (code == ERR_OK)
            code = read_place(q, (unsigned)row->columns_n, at, e);
    }
    *ret_n = n;
    return code;
}

static enum err
walk_table(struct store_tx *tx, struct id org, const struct org_table *t, org_data_fn *fn,
    void *ctx, struct error *e)
{
    struct place at = {
        .key1 = {.type = DB_TEXT, .s = STR("")}, .key2 = {.type = t->key2, .i = -1, .s = STR("")}};
    struct org_data_row row;
    enum err code = ERR_OK;
    size_t n = PAGE_ROWS;

    name_columns(t, &row);
    while (code == ERR_OK && n == PAGE_ROWS) {
        struct query q = query_start(tx, t->page_sql);
        struct error ending;

        query_id(&q, org);
        bind_value(&q, &at.key1);
        bind_value(&q, &at.key2);
        query_int(&q, PAGE_ROWS);
        code = walk_page(&q, &row, &at, &n, fn, ctx, e);
        if (query_end(&q, &ending) != ERR_OK && code == ERR_OK) {
            *e = ending;
            code = ending.code;
        }
    }
    arena_done(&at.arena);
    return code;
}

enum err
org_data_walk(struct store_tx *tx, struct id org, org_data_fn *fn, void *ctx, struct error *e)
{
    enum err code = ERR_OK;

    for (size_t i = 0; code == ERR_OK && i < TABLES_N; i++)
        code = walk_table(tx, org, &tables[i], fn, ctx, e);
    return code;
}

enum err
org_data_delete(struct store_tx *tx, struct id org, bool keep_ledger, struct error *e)
{
    for (size_t i = TABLES_N; i-- > 0;) {
        /* Those of other orgs would look as if one had been taken away. */
        bool stays = keep_ledger || strcmp(tables[i].name, "checkpoints") == 0;
        struct query q =
            query_start(tx, stays ? tables[i].delete_unkept_sql : tables[i].delete_sql);

        query_id(&q, org);
        if (query_run(&q, e) != ERR_OK)
            return e->code;
    }
    return ERR_OK;
}
