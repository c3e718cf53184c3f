/*
 * The request scanner: reads a call's body, in pieces of any size, and finds what the gateway must
 * know: the top-level "model" and where it stands, "stream", how much output may come, and what
 * the prompt holds besides its own bytes. It checks that the whole body is one JSON object and
 * nothing else.
 *
 * Refused is what would be billed at other than the listed price (a fast lane, a priority tier,
 * tools that the vendor runs and bills), and what could not be metered (answers fetched later).
 * Refused, too, is what a vendor might read differently than we do: one of the keys that matter
 * twice, in another case (as Unicode folds it) or spelled with an escape, and a model spelled with
 * an escape. Offsets are counted from the first byte fed. The result is the same for any split of
 * the bytes.
 */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

#include "core/dialect.h"

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
    REQUEST_CHOICES_OUT_OF_RANGE, /* n */
    REQUEST_STREAM_OPTIONS,
    REQUEST_PRICE_CHANGED, /* asks for a way of serving that costs other than the listed price */
    REQUEST_UNPRICED,      /* asks for something that has no price here */
    REQUEST_TOOL_UNPRICED, /* a tool that the vendor runs itself, and bills; or no known tool */
    REQUEST_SEARCHES_UNLIMITED, /* the vendor's search without a limit on its uses */
    REQUEST_PROBLEM_COUNT
};

/* A sentence for the client. */
struct str request_problem_text(enum request_problem p);
/* Is it refused for want of a price, not for what it is? */
bool request_problem_is_price(enum request_problem p);

enum {
    REQUEST_DEPTH_MAX = 512,
    REQUEST_MODEL_MAX = 255,
    REQUEST_WORD_MAX = 63,
    REQUEST_CHOICES_MAX = 128,
    REQUEST_SEARCHES_MAX = 100,
    REQUEST_USES_NOT_A_NUMBER = -1,
};

struct request_scan {
    enum request_problem problem;
    size_t model_off; /* of the first byte inside the quotes */
    size_t model_n;
    char model[REQUEST_MODEL_MAX + 1];
    bool stream;
    /* The largest of the limits on output that this dialect knows. */
    bool has_max_output;
    int64_t max_output;
    int64_t choices; /* how many answers are asked for: each has the limit to itself */
    /* What stands in the prompt besides its bytes. */
    bool by_reference; /* something the vendor fetches, or a document: no bytes bound its tokens */
    uint32_t images;   /* given inline */
    uint32_t tools;
    uint32_t vendor_tools; /* of them, with a description that the vendor adds */
    int64_t web_searches;  /* how many the vendor may make, in all */
    bool compacts;         /* the vendor may compact the history, in a pass of its own */
    bool predicted; /* output the caller predicts: rejected parts of it are billed as output */
    size_t bytes;   /* fed so far */

    /* Where to ask for the usage of a streamed chat completion; see request_usage_splice(). */
    bool include_usage;
    size_t body_off; /* behind the root's '{' */
    size_t options_off, options_n;
    uint8_t options; /* what stands there */

    /* The scanner's state. */
    uint8_t dialect;
    uint8_t state;
    uint8_t key;    /* which of the known keys the value at depth 1 belongs to */
    uint8_t below;  /* which of the keys below the top the value belongs to */
    uint8_t word_n; /* bytes of the word so far, at most REQUEST_WORD_MAX + 1 */
    uint8_t hex_left;
    uint8_t literal_at;
    bool in_key, in_model, in_word;
    bool typed;        /* the object at depth 3 has said what it is */
    bool tools_within; /* the tool holds tools of its own */
    bool is_search;    /* the tool is the vendor's search ... */
    int64_t uses;      /* ... with this limit; 0: none was given */
    bool number_is_whole;
    char word[REQUEST_WORD_MAX + 1]; /* a key, or a short value that matters */
    const char *literal;
    uint64_t number;
    uint16_t depth;
    uint8_t arrays[REQUEST_DEPTH_MAX / 8 + 1];
    uint32_t seen; /* one bit for each of the known keys */
};

void request_scan_init(struct request_scan *s, enum dialect d);
/* False once a problem was found; the rest need not be fed. */
bool request_scan_feed(struct request_scan *s, const char *p, size_t n);
/* The body ended. The final word. */
enum request_problem request_scan_finish(struct request_scan *s);

/*
 * A streamed chat completion tells its usage only when it is asked to. False: nothing to do, the
 * caller asked himself or this is something else. Otherwise text goes to offset off of the body, in
 * the place of cut bytes; the chunk that is sent for it is not for the caller.
 */
bool request_usage_splice(
    const struct request_scan *s, size_t *ret_off, size_t *ret_cut, struct str *ret_text);

#endif
