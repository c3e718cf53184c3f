/*
 * The words of a request that matter to the scanner: keys and short values. Only request*.c include
 * this. All of it says false with s->problem set when the request is to be refused.
 */
#ifndef CORE_REQUEST_WORD_H
#define CORE_REQUEST_WORD_H

#include "core/request.h"

enum key {
    KEY_OTHER,
    KEY_MODEL,
    KEY_STREAM,
    KEY_SPEED, /* these three change what the vendor bills */
    KEY_SERVICE_TIER,
    KEY_INFERENCE_GEO,
    KEY_LIMIT_1,
    KEY_LIMIT_2,
    KEY_LIMIT_3,
    KEY_CHOICES,
    KEY_STREAM_OPTIONS,
    KEY_TOOLS,
    KEY_INPUT,
    KEY_PREDICTION,
    KEY_PREVIOUS, /* these two stand for a prompt that the vendor keeps */
    KEY_CONVERSATION,
    KEY_UNPRICED_FIRST, /* from here on: another model, another price, or no answer to meter */
    KEY_AUDIO = KEY_UNPRICED_FIRST,
    KEY_BACKGROUND,
    KEY_ENABLE_SEARCH,
    KEY_FALLBACKS,
    KEY_MCP_SERVERS,
    KEY_MODALITIES,
    KEY_MODELS,
    KEY_PLUGINS,
    KEY_PROMPT,
    KEY_SEARCH_PARAMETERS,
    KEY_WEB_SEARCH,
    KEY_COUNT
};

_Static_assert(KEY_COUNT <= 32, "one bit each in request_scan.seen");

/* Keys below the top whose values say what the prompt holds besides its bytes. */
enum below {
    BELOW_OTHER,
    BELOW_TYPE,
    BELOW_ROLE,
    BELOW_TOOLS,
    BELOW_URL, /* of something to fetch, or the thing itself ("data:") */
    BELOW_FILE,
    BELOW_MEDIA_TYPE,
    BELOW_INCLUDE_USAGE,
    BELOW_MAX_USES,
};

/* What stands where the usage of a stream is asked for. */
enum options { OPTIONS_ABSENT, OPTIONS_NULL, OPTIONS_EMPTY, OPTIONS_OTHER, OPTIONS_FALSE };

static inline bool
request_fail(struct request_scan *s, enum request_problem p)
{
    s->problem = p;
    return false;
}

static inline bool
request_in_array(const struct request_scan *s)
{
    return (s->arrays[s->depth / 8] >> (s->depth % 8) & 1) != 0;
}

static inline bool
request_changes_price(enum key key)
{
    return key >= KEY_SPEED && key <= KEY_INFERENCE_GEO;
}

/* A key at the top level was read: is it one of ours? */
bool request_know_key(struct request_scan *s, struct str word);
/* A key below the top was read. */
bool request_know_below(struct request_scan *s, struct str word);
/* A short value below the top that says what the prompt holds. Of a long one only the begin counts.
 */
bool request_know_word(struct request_scan *s, struct str word);
/* What the vendors serve at the listed price, by any of the three keys. */
bool request_is_standard(struct str value);
/* The first byte of a value at the top, or below: is that kind of value fit for its key? */
bool request_fits_key(struct request_scan *s, char c);
bool request_fits_below(struct request_scan *s, char c);
/* Notes where the usage of a stream is asked for, or could be. */
void request_note_options(struct request_scan *s, char c, size_t at);
/* Does this dialect read the key as its limit? Vendors ignore what they do not know. */
bool request_is_limit(const struct request_scan *s);
/* The object of a tool ended: may the vendor search, and how often? */
bool request_end_tool(struct request_scan *s);
/* In the object of one tool? Some tools hold tools of their own. */
bool request_in_tool(const struct request_scan *s);

#endif
