/*
 * The usage meter: reads a vendor's answer as it passes by, in pieces of any size, and keeps the
 * token counts and the model that answered. It buffers one short word, so its memory is this
 * struct, and the result is the same for any split of the bytes.
 *
 * It counts; it never judges. Bytes that are not what the dialect promises leave the counts as they
 * are.
 */
#ifndef CORE_USAGE_H
#define CORE_USAGE_H

#include "core/dialect.h"

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
    int64_t reasoning;    /* informative: already inside output */
    int64_t web_searches; /* uses of the vendor's own search, no tokens */
};

/* The whole prompt: what the price tier looks at. */
int64_t usage_prompt_tokens(const struct usage *u);

enum usage_flag {
    USAGE_INPUT_SEEN = 1,  /* the prompt's counts are exact */
    USAGE_OUTPUT_SEEN = 2, /* a count of output tokens was seen, maybe not the last one */
    USAGE_FINAL = 4,       /* the output count is the last one */
    USAGE_COMPLETE = 8,    /* the answer ended as its dialect ends */
    USAGE_ERROR = 16,      /* the answer carried an error of the vendor's */
    USAGE_REFUSED = 32,    /* it is nothing but that, though its status says 200 */
};

/* Of an event of a stream: may it be the chunk that only tells the usage of a chat completion? */
enum usage_event { USAGE_EVENT_OPEN, USAGE_EVENT_PASS, USAGE_EVENT_USAGE_ONLY };

/* A count above USAGE_COUNT_MAX is not a count of tokens. */
enum { USAGE_COUNT_MAX = 1000000000 };
enum { USAGE_PATH_MAX = 8, USAGE_WORD_MAX = 95 };

/* The counts of a usage object as the vendors name them. */
enum usage_raw {
    USAGE_RAW_INPUT,
    USAGE_RAW_OUTPUT,
    USAGE_RAW_READ,
    USAGE_RAW_WRITE,
    USAGE_RAW_WRITE_5M,
    USAGE_RAW_WRITE_1H,
    USAGE_RAW_REASONING,
    USAGE_RAW_TOTAL,
    USAGE_RAW_MISS,
    USAGE_RAW_SEARCHES,
    USAGE_RAW_EACH_INPUT, /* from here to EACH_OUTPUT: sums over the passes of one call */
    USAGE_RAW_EACH_READ,
    USAGE_RAW_EACH_WRITE,
    USAGE_RAW_EACH_WRITE_5M,
    USAGE_RAW_EACH_WRITE_1H,
    USAGE_RAW_EACH_OUTPUT,
    USAGE_RAW_STATUS, /* no count: a vendor's own error number */
    USAGE_RAW_N
};

struct usage_shape;
struct usage_node;

struct usage_meter {
    struct usage counts;
    unsigned flags;      /* enum usage_flag */
    uint32_t changes;    /* grows with every usage object: write the counts down when it moved */
    uint64_t text_bytes; /* bytes of streamed text so far, about, where the input comes first */
    char model[USAGE_WORD_MAX + 1];
    uint8_t model_n;
    uint8_t event; /* enum usage_event, of the event that is being read or just ended */
    bool event_ended;
    bool has_data; /* it has had a line of data */

    /* The scanner's state. */
    bool stream;
    uint8_t line; /* where in a line of an event stream */
    uint8_t field_n;
    uint8_t done_n; /* bytes of "[DONE]" seen */
    bool in_string, in_escape, expect_key, lost;
    uint8_t role;  /* of the string that is being read */
    uint8_t depth; /* of the containers that matter */
    bool number_active, number_bad;
    uint32_t skip; /* how deep in one that does not */
    const struct usage_shape *shape;
    const struct usage_node *path[USAGE_PATH_MAX + 1];
    const struct usage_node *value; /* what the value that comes next is */
    int64_t number;
    uint8_t word_n;
    char word[USAGE_WORD_MAX + 1];
    uint64_t line_bytes;
    /* What the event (or whole answer) being read has shown. */
    uint8_t type;
    bool has_usage, has_output, has_finish, has_part;
    int64_t raw[USAGE_RAW_N]; /* counts of the usage object being read */
    uint32_t raw_seen;
};

void usage_meter_init(struct usage_meter *m, enum dialect d, bool stream);
void usage_meter_feed(struct usage_meter *m, const char *p, size_t n);
/*
 * The same, but no further than the end of an event: returns how many bytes were used; event_ended
 * says whether an event ended with the last of them, event what it was (or can still be). Who must
 * withhold the chunk that only tells usage holds back an event while it is USAGE_EVENT_OPEN.
 */
size_t usage_meter_feed_event(struct usage_meter *m, const char *p, size_t n);

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
