/*
 * How an answer of one dialect looks to the usage meter: which keys lead to what matters, and what
 * the end of a usage object, an event or an answer means. Only usage*.c include this.
 */
#ifndef CORE_USAGE_SHAPE_H
#define CORE_USAGE_SHAPE_H

#include "core/usage.h"

enum usage_kind {
    USAGE_NODE_OBJECT,
    USAGE_NODE_ARRAY,
    USAGE_NODE_USAGE, /* an object of counts */
    USAGE_NODE_PART,  /* an object that carries the answer, or a part of it */
    USAGE_NODE_ERROR, /* an object that tells an error */
    USAGE_NODE_COUNT,
    USAGE_NODE_MODEL, /* from here on: strings */
    USAGE_NODE_TYPE,
    USAGE_NODE_FINISH, /* it says why the text ended */
};

struct usage_name {
    struct str name;
    const struct usage_node *node;
};

struct usage_node {
    enum usage_kind kind;
    enum usage_raw count;             /* of a COUNT */
    const struct usage_node *element; /* of an ARRAY */
    const struct usage_name *names;   /* of an object */
    uint8_t names_n;
};

#define USAGE_OBJECT(kind_, names_)                                                                \
    {                                                                                              \
        .kind = (kind_), .names = (names_), .names_n = sizeof(names_) / sizeof((names_)[0])        \
    }

struct usage_shape {
    const struct usage_node *answer; /* the root of a whole answer */
    const struct usage_node *event;  /* of one event of a stream */
    /* How an event begins that carries nothing but a piece of text; empty: there are none. */
    struct str text_start;
    /*
     * When not NULL: every line of data is an event of its own, and one that holds none of these
     * words (up to the first without text), or null behind them, says nothing new. They stand in
     * quotes, so no text can hold them: its quotes are escaped.
     */
    const struct str *words;
    /* The type of an event is known: what of it matters. */
    void (*type)(struct usage_meter *m, struct str word);
    /* A usage object ended: its counts are in m->raw. */
    void (*usage)(struct usage_meter *m);
    /* An event, or the whole answer, ended. */
    void (*end)(struct usage_meter *m);
};

extern const struct usage_node usage_count_nodes[USAGE_RAW_N];
extern const struct usage_node usage_model_node, usage_type_node, usage_finish_node;
extern const struct usage_shape usage_anthropic, usage_chat, usage_responses, usage_embeddings;

/* What m->line may be set to by type(). */
enum usage_line {
    USAGE_LINE_FIELD, /* in the name of a field */
    USAGE_LINE_DATA,  /* in the value of a data field */
    USAGE_LINE_TEXT,  /* in the rest of one that carries nothing but a piece of text */
    USAGE_LINE_SKIP,  /* in a line that says nothing to us */
};

/* Forgets what was read of an event, or of the whole answer: another begins. */
void usage_start_document(struct usage_meter *m);
/* Returns how many bytes were used: less than n when the rest of the line is only text. */
size_t usage_feed_json(struct usage_meter *m, const char *p, size_t n);

static inline bool
usage_raw_is_seen(const struct usage_meter *m, enum usage_raw raw)
{
    return (m->raw_seen >> raw & 1) != 0;
}

#endif
