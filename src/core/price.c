#include "core/price.h"

/* tokens x micro-USD per million / this = nano-USD. */
#define RATE_TOKENS_PER_NANO_USD 1000

/* First row of the list in force at at_ms: rows that share its from_ms are its tiers. */
static const struct price *
sheet_find(const struct price *rows, size_t n, int64_t at_ms, size_t *ret_n)
{
    const struct price *sheet = NULL;

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
    size_t sheet_n = 0;
    const struct price *sheet = sheet_find(rows, n, at_ms, &sheet_n);
    const struct price *found = sheet;

    for (size_t i = 1; i < sheet_n; i++) {
        if (prompt_tokens > sheet[i].above_tokens)
            found = &sheet[i];
    }
    return found;
}

/* Exact in 128 bits: five products of two 63-bit numbers. Half up, once. */
static bool
round_to_nano(__int128 sum, int64_t *ret)
{
    __int128 nano = (sum + RATE_TOKENS_PER_NANO_USD / 2) / RATE_TOKENS_PER_NANO_USD;

    if (nano > INT64_MAX)
        return false;
    *ret = (int64_t)nano;
    return true;
}

bool
price_cost(const struct price *row, const struct usage *u, int64_t *ret_nano_usd)
{
    __int128 sum = 0;

    if (u->input < 0 || u->output < 0 || u->cache_read < 0 || u->cache_write_5m < 0 ||
        u->cache_write_1h < 0)
        return false;
    sum += (__int128)u->input * row->input;
    sum += (__int128)u->output * row->output;
    sum += (__int128)u->cache_read * row->cache_read;
    sum += (__int128)u->cache_write_5m * row->cache_write_5m;
    sum += (__int128)u->cache_write_1h * row->cache_write_1h;
    return round_to_nano(sum, ret_nano_usd);
}

static int64_t
max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool
price_bound(const struct price *rows, size_t n, int64_t at_ms, int64_t prompt_tokens,
    int64_t output_tokens, int64_t *ret_nano_usd)
{
    size_t sheet_n = 0;
    const struct price *sheet = sheet_find(rows, n, at_ms, &sheet_n);
    __int128 dearest = 0;

    if (sheet == NULL || prompt_tokens < 0 || output_tokens < 0)
        return false;
    for (size_t i = 0; i < sheet_n; i++) {
        int64_t prompt_rate = max_i64(max_i64(sheet[i].input, sheet[i].cache_read),
            max_i64(sheet[i].cache_write_5m, sheet[i].cache_write_1h));
        __int128 bound =
            (__int128)prompt_tokens * prompt_rate + (__int128)output_tokens * sheet[i].output;

        if (bound > dearest)
            dearest = bound;
    }
    return round_to_nano(dearest, ret_nano_usd);
}
