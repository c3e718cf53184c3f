#include "core/price.h"

/* count x micro-USD per million / this = nano-USD. */
#define RATE_TOKENS_PER_NANO_USD 1000

const struct price *
price_sheet(const struct price *rows, size_t n, int64_t at_ms, size_t *ret_n)
{
    const struct price *sheet = NULL;

    *ret_n = 0;
    for (size_t i = 0; i < n && rows[i].from_ms <= at_ms; i++) {
        if (sheet == NULL || rows[i].from_ms != sheet->from_ms)
            sheet = &rows[i];
        *ret_n = (size_t)(&rows[i] - sheet) + 1;
    }
    return sheet;
}

const struct price *
price_find(const struct price *rows, size_t n, int64_t at_ms, int64_t prompt_tokens)
{
    size_t sheet_n;
    const struct price *sheet = price_sheet(rows, n, at_ms, &sheet_n);
    const struct price *found = sheet;

    for (size_t i = 1; i < sheet_n; i++) {
        if (prompt_tokens > sheet[i].above_tokens)
            found = &sheet[i];
    }
    return found;
}

const struct price *
price_find_beside(const struct price *rows, size_t n, int64_t at_ms, const struct price *row,
    int64_t prompt_tokens)
{
    size_t sheet_n;
    const struct price *sheet = price_sheet(rows, n, at_ms, &sheet_n);

    for (size_t i = 0; i < sheet_n; i++) {
        if (memcmp(&sheet[i], row, sizeof(*row)) == 0)
            return price_find(rows, n, at_ms, prompt_tokens);
    }
    return NULL;
}

/* Adds count x rate. False on a negative count or overflow: nobody pays a sum that came round. */
static bool
add(__int128 *sum, int64_t count, int64_t rate)
{
    __int128 product = (__int128)count * rate; /* of two 63-bit numbers: fits */

    return count >= 0 && rate >= 0 && !__builtin_add_overflow(*sum, product, sum);
}

/* Half up, once. */
static bool
round_to_nano(__int128 sum, int64_t *ret)
{
    __int128 nano = sum / RATE_TOKENS_PER_NANO_USD;

    nano += sum % RATE_TOKENS_PER_NANO_USD >= RATE_TOKENS_PER_NANO_USD / 2;
    if (nano > INT64_MAX)
        return false;
    *ret = (int64_t)nano;
    return true;
}

bool
price_cost(const struct price *row, const struct usage *u, int64_t *ret_nano_usd)
{
    __int128 sum = 0;

    return add(&sum, u->input, row->input) && add(&sum, u->output, row->output) &&
        add(&sum, u->cache_read, row->cache_read) &&
        add(&sum, u->cache_write_5m, row->cache_write_5m) &&
        add(&sum, u->cache_write_1h, row->cache_write_1h) &&
        add(&sum, u->web_searches, row->web_search) && round_to_nano(sum, ret_nano_usd);
}

static int64_t
max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool
price_bound(const struct price *rows, size_t n, int64_t at_ms, const struct price_most *most,
    int64_t *ret_nano_usd)
{
    size_t sheet_n;
    const struct price *sheet = price_sheet(rows, n, at_ms, &sheet_n);
    __int128 dearest = 0;

    if (sheet == NULL)
        return false;
    for (size_t i = 0; i < sheet_n; i++) {
        int64_t prompt_rate = max_i64(max_i64(sheet[i].input, sheet[i].cache_read),
            max_i64(sheet[i].cache_write_5m, sheet[i].cache_write_1h));
        __int128 bound = 0;

        if (!add(&bound, most->prompt_tokens, prompt_rate) ||
            !add(&bound, most->output_tokens, sheet[i].output) ||
            !add(&bound, most->web_searches, sheet[i].web_search))
            return false;
        if (bound > dearest)
            dearest = bound;
    }
    return round_to_nano(dearest, ret_nano_usd);
}
