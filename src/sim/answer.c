#include "sim/answer_openai.h"

#include <inttypes.h>

const char *
sim_answer_model(const struct sim_ask *a)
{
    return a->b.model[0] != '\0' ? a->b.model : a->model;
}

void
sim_answer_string(struct buf *b, struct str s)
{
    size_t from = 0;

    buf_add_char(b, '"');
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(b, str_slice(s, from, i));
        if (c == '\n')
            buf_add(b, STR("\\n"));
        else if (c < 0x20)
            buf_addf(b, "\\u%04x", c);
        else
            buf_addf(b, "\\%c", c);
        from = i + 1;
    }
    buf_add(b, str_slice(s, from, s.n));
    buf_add_char(b, '"');
}

static struct str
piece(const struct sim_ask *a, int64_t index)
{
    struct str text = buf_str(&a->b.text);
    size_t from = (size_t)((unsigned __int128)text.n * (size_t)index / (size_t)a->b.events);
    size_t to = (size_t)((unsigned __int128)text.n * (size_t)(index + 1) / (size_t)a->b.events);

    /* Never inside a character. */
    while (from < text.n && ((unsigned char)text.p[from] & 0xc0) == 0x80)
        from++;
    while (to < text.n && ((unsigned char)text.p[to] & 0xc0) == 0x80)
        to++;
    return str_slice(text, from, to);
}

int64_t
sim_answer_generated(const struct sim_ask *a, int64_t n)
{
    return (int64_t)((__int128)a->b.tokens.output * n / a->b.events);
}

bool
sim_answer_head_has_usage(const struct sim_ask *a)
{
    return a->kind == SIM_MESSAGES && !a->b.no_usage && !a->b.late_usage;
}

bool
sim_answer_tail_has_usage(const struct sim_ask *a)
{
    return !a->b.no_usage &&
        (a->kind != SIM_CHAT || !a->stream || a->include_usage || a->b.style == SIM_STYLE_CHOICE);
}

static void
add_usage_messages(struct buf *b, const struct sim_tokens *t, int64_t output)
{
    buf_addf(b,
        "{\"input_tokens\":%" PRId64 ",\"cache_creation_input_tokens\":%" PRId64
        ",\"cache_read_input_tokens\":%" PRId64
        ",\"cache_creation\":{\"ephemeral_5m_input_tokens\":%" PRId64
        ",\"ephemeral_1h_input_tokens\":%" PRId64 "},\"output_tokens\":%" PRId64,
        t->input, t->cache_write_5m + t->cache_write_1h, t->cache_read, t->cache_write_5m,
        t->cache_write_1h, output);
    if (t->reasoning > 0)
        buf_addf(b, ",\"output_tokens_details\":{\"thinking_tokens\":%" PRId64 "}", t->reasoning);
    buf_add(b, STR(",\"service_tier\":\"standard\"}"));
}

/* ---- Anthropic Messages ---- */

static void
messages_json(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    buf_addf(b,
        "{\"id\":\"msg_sim%012" PRIx64 "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
        id);
    sim_answer_string(b, str_from_cstr(sim_answer_model(a)));
    buf_add(b, STR(",\"content\":[{\"type\":\"text\",\"text\":"));
    sim_answer_string(b, buf_str(&a->b.text));
    buf_add(b, STR("}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null"));
    if (!a->b.no_usage) {
        buf_add(b, STR(",\"usage\":"));
        add_usage_messages(b, &a->b.tokens, a->b.tokens.output);
    }
    buf_add_char(b, '}');
}

static void
messages_head(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    static const struct sim_tokens none;

    buf_addf(b,
        "event: message_start\ndata: "
        "{\"type\":\"message_start\",\"message\":{\"id\":\"msg_sim%012" PRIx64
        "\",\"type\":\"message\",\"role\":\"assistant\",\"model\":",
        id);
    sim_answer_string(b, str_from_cstr(sim_answer_model(a)));
    buf_add(b, STR(",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null"));
    if (!a->b.no_usage) {
        buf_add(b, STR(",\"usage\":"));
        if (a->b.late_usage)
            add_usage_messages(b, &none, 0);
        else
            add_usage_messages(b, &a->b.tokens, a->b.tokens.output > 0);
    }
    buf_add(b,
        STR("}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,"
            "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
            "event: ping\ndata: {\"type\":\"ping\"}\n\n"));
}

static void
messages_delta(struct buf *b, struct str text)
{
    buf_add(b,
        STR("event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
            "\"delta\":{\"type\":\"text_delta\",\"text\":"));
    sim_answer_string(b, text);
    buf_add(b, STR("}}\n\n"));
}

static void
messages_tail(struct buf *b, const struct sim_ask *a)
{
    buf_add(b,
        STR("event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
            "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"
            "\"end_turn\",\"stop_sequence\":null}"));
    if (!a->b.no_usage) {
        buf_add(b, STR(",\"usage\":"));
        add_usage_messages(b, &a->b.tokens, a->b.tokens.output);
    }
    buf_add(b, STR("}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
}

/* ---- what has no dialect of its own ---- */

static void
models_json(struct buf *b, const struct sim_ask *a)
{
    if (a->openai)
        buf_add(b,
            STR("{\"object\":\"list\",\"data\":[{\"id\":\"sim-1\",\"object\":\"model\","
                "\"created\":1750000000,\"owned_by\":\"sim\"}]}"));
    else
        buf_add(b,
            STR("{\"data\":[{\"type\":\"model\",\"id\":\"sim-1\",\"display_name\":\"Sim 1\","
                "\"created_at\":\"2025-06-15T15:06:40Z\"}],\"has_more\":false,"
                "\"first_id\":\"sim-1\",\"last_id\":\"sim-1\"}"));
}

void
sim_answer_json(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    switch (a->kind) {
    case SIM_MESSAGES:
        messages_json(b, a, id);
        break;
    case SIM_CHAT:
        sim_chat_json(b, a, id);
        break;
    case SIM_RESPONSES:
        sim_responses_object(b, a, id, SIM_PART_FULL);
        break;
    case SIM_EMBEDDINGS:
        sim_embeddings_json(b, a);
        break;
    case SIM_COUNT_TOKENS:
        buf_addf(b, "{\"input_tokens\":%" PRId64 "}", a->b.tokens.input);
        break;
    case SIM_MODELS:
        models_json(b, a);
        break;
    default:
        ENSURE(!"this kind has no answer");
    }
}

void
sim_answer_head(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    if (a->kind == SIM_MESSAGES)
        messages_head(b, a, id);
    else if (a->kind == SIM_CHAT)
        sim_chat_chunk(b, a, id, "assistant", NULL, false);
    else
        sim_responses_head(b, a, id);
}

void
sim_answer_delta(struct buf *b, const struct sim_ask *a, uint64_t id, int64_t index)
{
    struct str text = piece(a, index);

    if (a->kind == SIM_MESSAGES)
        messages_delta(b, text);
    else if (a->kind == SIM_CHAT)
        sim_chat_chunk(b, a, id, NULL, &text, false);
    else
        sim_responses_delta(b, id, index, text);
}

void
sim_answer_tail(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    if (a->kind == SIM_MESSAGES)
        messages_tail(b, a);
    else if (a->kind == SIM_CHAT)
        sim_chat_tail(b, a, id);
    else
        sim_responses_tail(b, a, id);
}

/* ---- errors ---- */

static const char *
error_type(bool openai, int status)
{
    static const struct {
        int status;
        const char *anthropic, *openai;
    } table[] = {
        {400, "invalid_request_error", "invalid_request_error"},
        {401, "authentication_error", "invalid_request_error"},
        {402, "billing_error", "insufficient_quota"},
        {403, "permission_error", "invalid_request_error"},
        {404, "not_found_error", "invalid_request_error"},
        {413, "request_too_large", "invalid_request_error"},
        {429, "rate_limit_error", "requests"},
        {529, "overloaded_error", "server_error"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].status == status)
            return openai ? table[i].openai : table[i].anthropic;
    }
    return openai ? "server_error" : "api_error";
}

void
sim_answer_error(struct buf *b, bool openai, int status, const char *message)
{
    const char *code = status == 401 ? "\"invalid_api_key\""
        : status == 429              ? "\"rate_limit_exceeded\""
                                     : "null";

    if (openai)
        buf_addf(b, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":%s}}",
            message, error_type(true, status), code);
    else
        buf_addf(b,
            "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":\"%s\"},\"request_id\":"
            "\"req_sim\"}",
            error_type(false, status), message);
}

void
sim_answer_broken(struct buf *b, const struct sim_ask *a)
{
    if (a->kind == SIM_MESSAGES)
        buf_add(b,
            STR("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\","
                "\"message\":\"Overloaded\"}}\n\n"));
    else if (a->kind == SIM_CHAT)
        buf_add(b,
            STR("data: {\"error\":{\"message\":\"The server had an error\",\"type\":"
                "\"server_error\",\"param\":null,\"code\":null}}\n\n"));
    else
        buf_add(b,
            STR("event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":"
                "\"The server had an error\",\"param\":null,\"sequence_number\":4}\n\n"));
}
