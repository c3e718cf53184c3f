#include "sim/answer_openai.h"

#include <inttypes.h>

/* ---- usage ---- */

/* What a dialect that counts cached tokens as part of the prompt says. */
static int64_t
whole_prompt(const struct sim_tokens *t)
{
    return t->input + t->cache_read + t->cache_write_5m + t->cache_write_1h;
}

/* A chat completion's usage as some vendors count it: the same tokens in other places. */
static void
add_usage_styled(struct buf *b, const struct sim_ask *a, int64_t output)
{
    const struct sim_tokens *t = &a->b.tokens;
    int64_t beside = a->b.style == SIM_STYLE_BESIDE ? t->reasoning : 0;
    int64_t written = t->cache_write_5m + t->cache_write_1h;

    buf_addf(b, "{\"prompt_tokens\":%" PRId64 ",\"completion_tokens\":%" PRId64, whole_prompt(t),
        output - beside);
    if (a->b.style == SIM_STYLE_CHOICE)
        buf_addf(b, ",\"cached_tokens\":%" PRId64, t->cache_read);
    else if (a->b.style == SIM_STYLE_HIT_MISS)
        buf_addf(b,
            ",\"prompt_cache_hit_tokens\":%" PRId64 ",\"prompt_cache_miss_tokens\":%" PRId64,
            t->cache_read, whole_prompt(t) - t->cache_read);
    buf_addf(b,
        ",\"prompt_tokens_details\":{\"cached_tokens\":%" PRId64 ",\"cache_write_tokens\":%" PRId64
        "},\"completion_tokens_details\":{\"reasoning_tokens\":%" PRId64 "}",
        t->cache_read, written, t->reasoning);
    buf_addf(b, ",\"total_tokens\":%" PRId64 "}", whole_prompt(t) + output);
}

/* Chat and Responses differ in the names alone. */
static void
add_usage_openai(struct buf *b, const struct sim_ask *a)
{
    const struct sim_tokens *t = &a->b.tokens;
    bool chat = a->kind == SIM_CHAT;

    if (chat && a->b.style != SIM_STYLE_PLAIN) {
        add_usage_styled(b, a, t->output);
        return;
    }
    buf_addf(b, "{\"%s\":%" PRId64 ",\"%s_details\":{\"cached_tokens\":%" PRId64,
        chat ? "prompt_tokens" : "input_tokens", whole_prompt(t),
        chat ? "prompt_tokens" : "input_tokens", t->cache_read);
    if (t->cache_write_5m + t->cache_write_1h > 0)
        buf_addf(b, ",\"cache_write_tokens\":%" PRId64, t->cache_write_5m + t->cache_write_1h);
    buf_addf(b,
        "},\"%s\":%" PRId64 ",\"%s_details\":{\"reasoning_tokens\":%" PRId64
        "},\"total_tokens\":%" PRId64 "}",
        chat ? "completion_tokens" : "output_tokens", t->output,
        chat ? "completion_tokens" : "output_tokens", t->reasoning, whole_prompt(t) + t->output);
}

/* ---- OpenAI chat completions ---- */

static void
chat_open(struct buf *b, const struct sim_ask *a, uint64_t id, const char *object)
{
    buf_addf(b,
        "{\"id\":\"chatcmpl-sim%012" PRIx64
        "\",\"object\":\"%s\",\"created\":1750000000,\"model\":",
        id, object);
    sim_answer_string(b, str_from_cstr(sim_answer_model(a)));
}

void
sim_chat_json(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    chat_open(b, a, id, "chat.completion");
    buf_add(b, STR(",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"));
    sim_answer_string(b, buf_str(&a->b.text));
    buf_add(b, STR(",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}]"));
    if (!a->b.no_usage) {
        buf_add(b, STR(",\"usage\":"));
        add_usage_openai(b, a);
    }
    buf_add_char(b, '}');
}

/* One chunk; delta is JSON. */
void
sim_chat_chunk(struct buf *b, const struct sim_ask *a, uint64_t id, const char *role,
    const struct str *text, bool last)
{
    buf_add(b, STR("data: "));
    chat_open(b, a, id, "chat.completion.chunk");
    buf_add(b, STR(",\"choices\":[{\"index\":0,\"delta\":{"));
    if (role != NULL)
        buf_addf(b, "\"role\":\"%s\",\"content\":\"\"", role);
    if (text != NULL) {
        buf_add(b, STR("\"content\":"));
        sim_answer_string(b, *text);
    }
    buf_addf(b, "},\"logprobs\":null,\"finish_reason\":%s", last ? "\"stop\"" : "null");
    if (last && a->b.style == SIM_STYLE_CHOICE && !a->b.no_usage) {
        buf_add(b, STR(",\"usage\":"));
        add_usage_styled(b, a, a->b.tokens.output);
    }
    buf_add(b, STR("}]"));
    if (a->b.style == SIM_STYLE_EACH && a->include_usage && !a->b.no_usage) {
        buf_add(b, STR(",\"usage\":"));
        add_usage_styled(b, a, last ? a->b.tokens.output : a->b.tokens.output > 0);
    } else if (a->include_usage) {
        buf_add(b, STR(",\"usage\":null"));
    }
    buf_add(b, STR("}\n\n"));
}

void
sim_chat_tail(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    sim_chat_chunk(b, a, id, NULL, NULL, true);
    if (sim_answer_tail_has_usage(a) && a->b.style != SIM_STYLE_CHOICE) {
        buf_add(b, STR("data: "));
        chat_open(b, a, id, "chat.completion.chunk");
        buf_add(b, STR(",\"choices\":[],\"usage\":"));
        add_usage_openai(b, a);
        buf_add(b, STR("}\n\n"));
    }
    buf_add(b, STR("data: [DONE]\n\n"));
}

/* ---- OpenAI responses ---- */

static void
responses_content(struct buf *b, const struct sim_ask *a, enum sim_part part)
{
    buf_add(b, STR("{\"type\":\"output_text\",\"annotations\":[],\"logprobs\":[],\"text\":"));
    sim_answer_string(b, part == SIM_PART_FULL ? buf_str(&a->b.text) : STR(""));
    buf_add_char(b, '}');
}

static void
responses_item(struct buf *b, const struct sim_ask *a, uint64_t id, enum sim_part part)
{
    buf_addf(b,
        "{\"id\":\"msg_sim%012" PRIx64
        "\",\"type\":\"message\",\"status\":\"%s\",\"role\":\"assistant\",\"content\":[",
        id, part == SIM_PART_FULL ? "completed" : "in_progress");
    if (part == SIM_PART_FULL)
        responses_content(b, a, part);
    buf_add(b, STR("]}"));
}

void
sim_responses_object(struct buf *b, const struct sim_ask *a, uint64_t id, enum sim_part part)
{
    buf_addf(b,
        "{\"id\":\"resp_sim%012" PRIx64
        "\",\"object\":\"response\",\"created_at\":1750000000,\"status\":\"%s\","
        "\"error\":null,\"incomplete_details\":null,\"instructions\":null,\"metadata\":{},"
        "\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],\"temperature\":1.0,"
        "\"top_p\":1.0,\"model\":",
        id, part == SIM_PART_FULL ? "completed" : "in_progress");
    sim_answer_string(b, str_from_cstr(sim_answer_model(a)));
    buf_add(b, STR(",\"output\":["));
    if (part == SIM_PART_FULL)
        responses_item(b, a, id, part);
    buf_add(b, STR("],\"usage\":"));
    if (part == SIM_PART_FULL && !a->b.no_usage)
        add_usage_openai(b, a);
    else
        buf_add(b, STR("null"));
    buf_add_char(b, '}');
}

static void
responses_event(struct buf *b, const char *type, int64_t number)
{
    buf_addf(b, "event: response.%s\ndata: {\"type\":\"response.%s\",\"sequence_number\":%" PRId64,
        type, type, number);
}

void
sim_responses_head(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    responses_event(b, "created", 0);
    buf_add(b, STR(",\"response\":"));
    sim_responses_object(b, a, id, SIM_PART_EMPTY);
    buf_add(b, STR("}\n\n"));
    responses_event(b, "in_progress", 1);
    buf_add(b, STR(",\"response\":"));
    sim_responses_object(b, a, id, SIM_PART_EMPTY);
    buf_add(b, STR("}\n\n"));
    responses_event(b, "output_item.added", 2);
    buf_add(b, STR(",\"output_index\":0,\"item\":"));
    responses_item(b, a, id, SIM_PART_EMPTY);
    buf_add(b, STR("}\n\n"));
    responses_event(b, "content_part.added", 3);
    buf_addf(b,
        ",\"item_id\":\"msg_sim%012" PRIx64 "\",\"output_index\":0,\"content_index\":0,\"part\":",
        id);
    responses_content(b, a, SIM_PART_EMPTY);
    buf_add(b, STR("}\n\n"));
}

void
sim_responses_delta(struct buf *b, uint64_t id, int64_t index, struct str text)
{
    responses_event(b, "output_text.delta", 4 + index);
    buf_addf(b,
        ",\"item_id\":\"msg_sim%012" PRIx64
        "\",\"output_index\":0,\"content_index\":0,\"logprobs\":[],\"delta\":",
        id);
    sim_answer_string(b, text);
    buf_add(b, STR("}\n\n"));
}

void
sim_responses_tail(struct buf *b, const struct sim_ask *a, uint64_t id)
{
    int64_t n = 4 + a->b.events;

    responses_event(b, "output_text.done", n);
    buf_addf(b,
        ",\"item_id\":\"msg_sim%012" PRIx64
        "\",\"output_index\":0,\"content_index\":0,\"logprobs\":[],\"text\":",
        id);
    sim_answer_string(b, buf_str(&a->b.text));
    buf_add(b, STR("}\n\n"));
    responses_event(b, "content_part.done", n + 1);
    buf_addf(b,
        ",\"item_id\":\"msg_sim%012" PRIx64 "\",\"output_index\":0,\"content_index\":0,\"part\":",
        id);
    responses_content(b, a, SIM_PART_FULL);
    buf_add(b, STR("}\n\n"));
    responses_event(b, "output_item.done", n + 2);
    buf_add(b, STR(",\"output_index\":0,\"item\":"));
    responses_item(b, a, id, SIM_PART_FULL);
    buf_add(b, STR("}\n\n"));
    responses_event(b, "completed", n + 3);
    buf_add(b, STR(",\"response\":"));
    sim_responses_object(b, a, id, SIM_PART_FULL);
    buf_add(b, STR("}\n\n"));
}

/* ---- embeddings ---- */

void
sim_embeddings_json(struct buf *b, const struct sim_ask *a)
{
    buf_add(b,
        STR("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,"
            "\"embedding\":[0.5,-0.25,0.125,0.0]}],\"model\":"));
    sim_answer_string(b, str_from_cstr(sim_answer_model(a)));
    if (!a->b.no_usage)
        buf_addf(b, ",\"usage\":{\"prompt_tokens\":%" PRId64 ",\"total_tokens\":%" PRId64 "}",
            a->b.tokens.input, a->b.tokens.input);
    buf_add_char(b, '}');
}
