#include "store/db_values.h"

enum {
    KEPT_BYTES_MAX = 8192, /* of memory, for the next values */
    DECIMAL_BYTES = 20,    /* of the longest number, its sign included */
};

void
db_values_init(struct db_values *v)
{
    *v = (struct db_values){0};
    buf_init(&v->bytes, SIZE_MAX / 2);
}

/* The end of the text is the end of ret. */
static struct str
decimal(int64_t n, char ret[static DECIMAL_BYTES])
{
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    char *p = ret + DECIMAL_BYTES;

    do {
        *--p = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (n < 0)
        *--p = '-';
    return (struct str){p, (size_t)(ret + DECIMAL_BYTES - p)};
}

void
db_values_bind(struct db_values *v, unsigned parameter, const struct db_value *value)
{
    char digits[DECIMAL_BYTES];
    struct str bytes = value->s;
    struct db_bound *b;

    ENSURE(parameter >= 1 && parameter <= DB_PARAMETERS_MAX);
    b = &v->bound[parameter - 1];
    ENSURE(b->kind == DB_UNBOUND);
    b->kind = DB_BOUND_BYTES;
    if (value->type == DB_INT) {
        b->kind = DB_BOUND_DECIMAL;
        bytes = decimal(value->i, digits);
    } else if (value->type == DB_NULL) {
        b->kind = DB_BOUND_NULL;
        bytes = STR("");
    }
    b->at = v->bytes.n;
    b->n = bytes.n;
    buf_add(&v->bytes, bytes);
    buf_add_char(&v->bytes, '\0');
    ENSURE(buf_ok(&v->bytes));
    if (parameter > v->n)
        v->n = parameter;
}

void
db_values_list(const struct db_values *v, struct db_values_list *ret)
{
    for (unsigned i = 0; i < v->n; i++) {
        const struct db_bound *b = &v->bound[i];
        bool null = b->kind == DB_UNBOUND || b->kind == DB_BOUND_NULL;

        ret->values[i] = null ? NULL : buf_cstr(&v->bytes) + b->at;
        ret->lengths[i] = (int)b->n;
        ret->are_bytes[i] = b->kind == DB_BOUND_BYTES;
    }
}

void
db_values_clear(struct db_values *v)
{
    memset(v->bound, 0, v->n * sizeof(v->bound[0]));
    v->n = 0;
    buf_clear(&v->bytes);
    if (v->bytes.capacity > KEPT_BYTES_MAX)
        buf_done(&v->bytes);
}

void
db_values_done(struct db_values *v)
{
    buf_done(&v->bytes);
}
