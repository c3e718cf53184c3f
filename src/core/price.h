/*
 * Prices and costs, integers only. A rate is micro-USD per million (tokens, or uses of a tool that
 * the vendor runs); a cost is nano-USD. cost = sum(count x rate), exact, rounded once, half up, to
 * nano-USD.
 */
#ifndef CORE_PRICE_H
#define CORE_PRICE_H

#include "core/usage.h"

/* One row of a model's price list. A list is ordered by (from_ms, above_tokens), both ascending. */
struct price {
    int64_t from_ms;      /* in force from this instant (Unix ms), until a later row's */
    int64_t above_tokens; /* tier: for prompts of more than so many tokens; 0 = the base tier */
    int64_t input;
    int64_t output;
    int64_t cache_read;
    int64_t cache_write_5m;
    int64_t cache_write_1h;
    int64_t web_search; /* per million uses; 0: the vendor's own search has no price */
};

/* What a call can be made of at most. */
struct price_most {
    int64_t prompt_tokens;
    int64_t output_tokens;
    int64_t web_searches;
};

/*
 * The rows in force at at_ms, one a tier, the base tier first: all that can price a call then. NULL
 * when there are none.
 */
const struct price *price_sheet(const struct price *rows, size_t n, int64_t at_ms, size_t *ret_n);

/* The row in force at at_ms for a prompt of that size; NULL when none is: no price, no call. */
const struct price *price_find(
    const struct price *rows, size_t n, int64_t at_ms, int64_t prompt_tokens);

/*
 * The row for a prompt of that size in the sheet that row stands in, so that a call is priced as it
 * would have been then. NULL when row is not in force at at_ms: these are not its prices.
 */
const struct price *price_find_beside(const struct price *rows, size_t n, int64_t at_ms,
    const struct price *row, int64_t prompt_tokens);

/* Exact cost in nano-USD under one row. False on negative counts or overflow (nothing is written).
 */
bool price_cost(const struct price *row, const struct usage *u, int64_t *ret_nano_usd);

/*
 * The most a call can cost: all of the prompt at the dearest input-side rate, over every tier in
 * force at at_ms. False when there is no price or on overflow.
 */
bool price_bound(const struct price *rows, size_t n, int64_t at_ms, const struct price_most *most,
    int64_t *ret_nano_usd);

#endif
