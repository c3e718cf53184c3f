/* Anthropic messages: counts of the cache stand beside the input; a stream tells them twice. */
#include "core/usage_shape.h"

enum type { TYPE_OTHER, TYPE_DELTA, TYPE_STOP, TYPE_ERROR };

#define COUNT(raw) &usage_count_nodes[USAGE_RAW_##raw]

static const struct usage_name creation_names[] = {
    {STR_INIT("ephemeral_5m_input_tokens"), COUNT(WRITE_5M)},
    {STR_INIT("ephemeral_1h_input_tokens"), COUNT(WRITE_1H)},
};
static const struct usage_node creation = USAGE_OBJECT(USAGE_NODE_OBJECT, creation_names);

static const struct usage_name details_names[] = {
    {STR_INIT("thinking_tokens"), COUNT(REASONING)},
};
static const struct usage_node details = USAGE_OBJECT(USAGE_NODE_OBJECT, details_names);

static const struct usage_name tools_names[] = {
    {STR_INIT("web_search_requests"), COUNT(SEARCHES)},
};
static const struct usage_node tools = USAGE_OBJECT(USAGE_NODE_OBJECT, tools_names);

/*
 * The passes of a call in which the vendor compacted the history. The counts beside them are those
 * of the last pass alone; what is billed is their sum.
 */
static const struct usage_name pass_creation_names[] = {
    {STR_INIT("ephemeral_5m_input_tokens"), COUNT(EACH_WRITE_5M)},
    {STR_INIT("ephemeral_1h_input_tokens"), COUNT(EACH_WRITE_1H)},
};
static const struct usage_node pass_creation = USAGE_OBJECT(USAGE_NODE_OBJECT, pass_creation_names);
static const struct usage_name pass_names[] = {
    {STR_INIT("input_tokens"), COUNT(EACH_INPUT)},
    {STR_INIT("output_tokens"), COUNT(EACH_OUTPUT)},
    {STR_INIT("cache_read_input_tokens"), COUNT(EACH_READ)},
    {STR_INIT("cache_creation_input_tokens"), COUNT(EACH_WRITE)},
    {STR_INIT("cache_creation"), &pass_creation},
};
static const struct usage_node pass = USAGE_OBJECT(USAGE_NODE_OBJECT, pass_names);
static const struct usage_node passes = {.kind = USAGE_NODE_ARRAY, .element = &pass};

static const struct usage_name usage_names[] = {
    {STR_INIT("input_tokens"), COUNT(INPUT)},
    {STR_INIT("output_tokens"), COUNT(OUTPUT)},
    {STR_INIT("cache_read_input_tokens"), COUNT(READ)},
    {STR_INIT("cache_creation_input_tokens"), COUNT(WRITE)},
    {STR_INIT("cache_creation"), &creation},
    {STR_INIT("output_tokens_details"), &details},
    {STR_INIT("server_tool_use"), &tools},
    {STR_INIT("iterations"), &passes},
};
static const struct usage_node usage = USAGE_OBJECT(USAGE_NODE_USAGE, usage_names);

static const struct usage_name answer_names[] = {
    {STR_INIT("model"), &usage_model_node},
    {STR_INIT("usage"), &usage},
};
static const struct usage_node answer = USAGE_OBJECT(USAGE_NODE_OBJECT, answer_names);

static const struct usage_name delta_names[] = {
    {STR_INIT("stop_reason"), &usage_finish_node},
};
static const struct usage_node delta = USAGE_OBJECT(USAGE_NODE_OBJECT, delta_names);

static const struct usage_name event_names[] = {
    {STR_INIT("type"), &usage_type_node},
    {STR_INIT("message"), &answer},
    {STR_INIT("delta"), &delta},
    {STR_INIT("usage"), &usage},
};
static const struct usage_node event = USAGE_OBJECT(USAGE_NODE_OBJECT, event_names);

static void
take_type(struct usage_meter *m, struct str word)
{
    m->type = str_equal(word, STR("message_delta")) ? TYPE_DELTA
        : str_equal(word, STR("message_stop"))      ? TYPE_STOP
        : str_equal(word, STR("error"))             ? TYPE_ERROR
                                                    : TYPE_OTHER;
    /* Nearly every event of a stream, and only its length matters: the rest is not parsed. */
    if (str_equal(word, STR("content_block_delta"))) {
        m->line = USAGE_LINE_TEXT;
        m->line_bytes = 0;
    }
}

/* A count of the prompt that this object tells, zeros included. */
static void
take_count(struct usage_meter *m, enum usage_raw raw, int64_t *count)
{
    if (usage_raw_is_seen(m, raw))
        *count = m->raw[raw];
}

/* Where passes were told, their sums take the place of the counts beside them. */
static void
take_passes(struct usage_meter *m)
{
    static const struct {
        enum usage_raw sum, count;
    } pairs[] = {
        {USAGE_RAW_EACH_INPUT, USAGE_RAW_INPUT},
        {USAGE_RAW_EACH_READ, USAGE_RAW_READ},
        {USAGE_RAW_EACH_WRITE, USAGE_RAW_WRITE},
        {USAGE_RAW_EACH_WRITE_5M, USAGE_RAW_WRITE_5M},
        {USAGE_RAW_EACH_WRITE_1H, USAGE_RAW_WRITE_1H},
        {USAGE_RAW_EACH_OUTPUT, USAGE_RAW_OUTPUT},
    };

    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        if (usage_raw_is_seen(m, pairs[i].sum) && m->raw[pairs[i].sum] > m->raw[pairs[i].count]) {
            m->raw[pairs[i].count] = m->raw[pairs[i].sum];
            m->raw_seen |= 1u << pairs[i].count;
        }
    }
}

/*
 * Counts are cumulative: the last word holds. A prompt has tokens, so counts of it that are all
 * zero say nothing; when one is not, zeros beside it are meant.
 */
static void
take_usage(struct usage_meter *m)
{
    struct usage *c = &m->counts;
    int64_t written = c->cache_write_5m + c->cache_write_1h;
    bool parts;

    take_passes(m);
    parts = usage_raw_is_seen(m, USAGE_RAW_WRITE_5M) || usage_raw_is_seen(m, USAGE_RAW_WRITE_1H);
    if (m->raw[USAGE_RAW_INPUT] + m->raw[USAGE_RAW_READ] + m->raw[USAGE_RAW_WRITE] +
            m->raw[USAGE_RAW_WRITE_5M] + m->raw[USAGE_RAW_WRITE_1H] >
        0) {
        take_count(m, USAGE_RAW_INPUT, &c->input);
        take_count(m, USAGE_RAW_READ, &c->cache_read);
        take_count(m, USAGE_RAW_WRITE_5M, &c->cache_write_5m);
        take_count(m, USAGE_RAW_WRITE_1H, &c->cache_write_1h);
        take_count(m, USAGE_RAW_WRITE, &written);
    }
    if (!parts && c->cache_write_1h > written)
        c->cache_write_1h = written;
    /* A total without its parts, or beyond them, was written for five minutes. */
    if (!parts || written > c->cache_write_5m + c->cache_write_1h)
        c->cache_write_5m = written - c->cache_write_1h;
    if (m->raw[USAGE_RAW_SEARCHES] > c->web_searches)
        c->web_searches = m->raw[USAGE_RAW_SEARCHES];
    if (m->raw[USAGE_RAW_REASONING] > 0)
        c->reasoning = m->raw[USAGE_RAW_REASONING];
    if (m->raw[USAGE_RAW_OUTPUT] > 0)
        c->output = m->raw[USAGE_RAW_OUTPUT];
}

static void
end(struct usage_meter *m)
{
    if (!m->stream) {
        /* A whole answer states its usage once. */
        m->flags |= USAGE_COMPLETE | (m->has_output ? USAGE_FINAL : 0);
        return;
    }
    if (m->type == TYPE_DELTA && m->has_output && m->has_finish)
        m->flags |= USAGE_FINAL;
    if (m->type == TYPE_STOP)
        m->flags |= USAGE_COMPLETE | ((m->flags & USAGE_OUTPUT_SEEN) != 0 ? USAGE_FINAL : 0);
    if (m->type == TYPE_ERROR)
        m->flags |= USAGE_ERROR;
}

const struct usage_shape usage_anthropic = {&answer, &event,
    STR_INIT("{\"type\":\"content_block_delta\""), NULL, take_type, take_usage, end};
