/*
 * The usage meter: reads a vendor's answer as it passes by, in pieces of any size, and keeps the
 * token counts and the model that answered. It buffers one short word, so its memory is this
 * struct,
 * and the result is the same for any split of the bytes.
 *
 * It counts; it never judges. Bytes that are not what the dialect promises leave the counts as they
 * are.
 */
#ifndef CORE_USAGE_H
#define CORE_USAGE_H

#include "core/dialect.h"
#include "core/str.h"

#include <stdint.h>

/*
 * Tokens by kind, the normal form of every dialect: input excludes what came from or went to a
 * cache.
 */
struct usage {
    int64_t input;
    int64_t output; /* includes reasoning */
    int64_t cache_read;
    int64_t cache_write_5m;
    int64_t cache_write_1h;
    int64_t reasoning; /* informative: already inside output */
};

/* The whole prompt: what the price tier looks at. */
int64_t usage_prompt_tokens(const struct usage *u);

enum usage_flag {
    USAGE_INPUT_SEEN = 1,  /* the prompt's counts are exact */
    USAGE_OUTPUT_SEEN = 2, /* a count of output tokens was seen, maybe not the last one */
    USAGE_FINAL = 4,       /* the output count is the last one */
    USAGE_COMPLETE = 8,    /* the answer ended as its dialect ends */
    USAGE_ERROR = 16,      /* the stream carried an error event */
};

/* A count above USAGE_COUNT_MAX is not a count of tokens. */
enum { USAGE_COUNT_MAX = 1000000000 };
enum { USAGE_DEPTH_MAX = 512, USAGE_KEYS_MAX = 6, USAGE_WORD_MAX = 95 };

struct usage_meter {
    struct usage counts;
    unsigned flags;      /* enum usage_flag */
    uint32_t changes;    /* grows with every usage object: write the counts down when it moved */
    uint64_t text_bytes; /* bytes of generated text seen so far, about, for the estimate */
    char model[USAGE_WORD_MAX + 1];
    uint8_t model_n;

    /* The scanner's state. */
    bool stream;
    uint8_t line; /* where in a line of an event stream */
    uint8_t field_n;
    bool in_string, in_escape, is_key, expect_key;
    bool keep; /* the string is a key, or a value whose text matters */
    bool number_active, number_bad;
    bool lost; /* not an object, or nested too deeply: wait for the end of the event */
    uint16_t depth;
    uint8_t keys[USAGE_KEYS_MAX + 1]; /* what the current key at each of the first depths means */
    uint8_t arrays[USAGE_DEPTH_MAX / 8 + 1];
    int64_t number;
    uint8_t word_n;
    char word[USAGE_WORD_MAX + 1];
    uint64_t string_bytes;
    uint8_t event; /* type of the event being read */
    bool event_has_stop_reason, event_has_output;
    int64_t pending[8]; /* counts of the usage object being read */
    uint8_t pending_seen;
    int64_t write_total;
};

void usage_meter_init(struct usage_meter *m, bool stream);
void usage_meter_feed(struct usage_meter *m, const char *p, size_t n);

/* True when the counts are the vendor's last word. */
static inline bool
usage_meter_is_exact(const struct usage_meter *m)
{
    return (m->flags & (USAGE_INPUT_SEEN | USAGE_FINAL)) == (USAGE_INPUT_SEEN | USAGE_FINAL);
}

/*
 * What to book when the answer stopped early after the input was seen: the exact input, and as
 * output the larger of what the vendor counted so far and one token for every 4 bytes of text.
 */
struct usage usage_estimate(const struct usage *counts, uint64_t text_bytes);

#endif
