/*
 * The request scanner: reads a call's body, in pieces of any size, and finds what the gateway must
 * know: the top-level "model" and where it stands, "stream", and the limit on output tokens. It
 * checks that the whole body is one JSON object and nothing else.
 *
 * What would be billed at other than the listed price (a fast lane, a priority tier) is refused.
 * What
 * a vendor might read differently than we do is refused: one of these keys twice, in another
 * case or spelled with an escape, and a model spelled with an escape. Offsets are counted from the
 * first byte fed. The result is the same for any split of the bytes.
 */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

#include "core/str.h"

#include <stdint.h>

enum request_problem {
    REQUEST_OK,
    REQUEST_NOT_JSON,
    REQUEST_TOO_DEEP,
    REQUEST_KEY_TWICE,
    REQUEST_KEY_VARIANT, /* a top-level key with an escape, or one of ours in another case */
    REQUEST_MODEL_MISSING,
    REQUEST_MODEL_NOT_TEXT,
    REQUEST_MODEL_ESCAPED,
    REQUEST_MODEL_TOO_LONG,
    REQUEST_STREAM_NOT_BOOLEAN,
    REQUEST_LIMIT_NOT_A_NUMBER,
    REQUEST_PRICE_CHANGED, /* asks for a way of serving that costs other than the listed price */
    REQUEST_PROBLEM_COUNT
};

/* A sentence for the client. */
struct str request_problem_text(enum request_problem p);

enum { REQUEST_DEPTH_MAX = 512, REQUEST_MODEL_MAX = 255, REQUEST_KEY_MAX = 23 };

struct request_scan {
    enum request_problem problem;
    size_t model_off; /* of the first byte inside the quotes */
    size_t model_n;
    char model[REQUEST_MODEL_MAX + 1];
    bool stream;
    /* max_tokens, max_completion_tokens, max_output_tokens: the largest given. */
    bool has_max_output;
    int64_t max_output;
    size_t bytes; /* fed so far */

    /* The scanner's state. */
    uint8_t state;
    uint8_t key;   /* which of the known keys the value at depth 1 belongs to */
    uint8_t key_n; /* bytes of the key so far, at most REQUEST_KEY_MAX + 1 */
    uint8_t hex_left;
    uint8_t literal_at;
    bool in_key, in_model, in_price;
    char key_text[REQUEST_KEY_MAX + 1]; /* also the short values that change the price */
    const char *literal;
    bool number_is_whole;
    uint64_t number;
    uint32_t seen; /* bit per known key */
    uint16_t depth;
    uint8_t arrays[REQUEST_DEPTH_MAX / 8 + 1];
};

void request_scan_init(struct request_scan *s);
/* False once a problem was found; the rest need not be fed. */
bool request_scan_feed(struct request_scan *s, const char *p, size_t n);
/* The body ended. The final word. */
enum request_problem request_scan_finish(struct request_scan *s);

#endif
