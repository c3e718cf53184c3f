/* The OpenAI dialects: counts of the cache and of reasoning are parts of prompt and output. */
#include "core/usage_shape.h"

enum type { TYPE_OTHER, TYPE_DONE, TYPE_FAILED, TYPE_ERROR };

#define COUNT(raw) &usage_count_nodes[USAGE_RAW_##raw]

static const struct usage_name prompt_names[] = {
    {STR_INIT("cached_tokens"), COUNT(READ)},
    {STR_INIT("cache_write_tokens"), COUNT(WRITE)},
};
static const struct usage_node prompt_details = USAGE_OBJECT(USAGE_NODE_OBJECT, prompt_names);

static const struct usage_name output_names[] = {
    {STR_INIT("reasoning_tokens"), COUNT(REASONING)},
};
static const struct usage_node output_details = USAGE_OBJECT(USAGE_NODE_OBJECT, output_names);

static const struct usage_name chat_usage_names[] = {
    {STR_INIT("prompt_tokens"), COUNT(INPUT)},
    {STR_INIT("completion_tokens"), COUNT(OUTPUT)},
    {STR_INIT("total_tokens"), COUNT(TOTAL)},
    {STR_INIT("prompt_tokens_details"), &prompt_details},
    {STR_INIT("completion_tokens_details"), &output_details},
    {STR_INIT("cached_tokens"), COUNT(READ)},            /* Moonshot */
    {STR_INIT("prompt_cache_hit_tokens"), COUNT(READ)},  /* DeepSeek */
    {STR_INIT("prompt_cache_miss_tokens"), COUNT(MISS)}, /* DeepSeek */
    {STR_INIT("reasoning_tokens"), COUNT(REASONING)},
};
static const struct usage_node chat_usage = USAGE_OBJECT(USAGE_NODE_USAGE, chat_usage_names);

static const struct usage_name choice_names[] = {
    {STR_INIT("finish_reason"), &usage_finish_node},
    {STR_INIT("usage"), &chat_usage}, /* Moonshot, in the last one */
};
static const struct usage_node choice = USAGE_OBJECT(USAGE_NODE_PART, choice_names);
static const struct usage_node choices = {.kind = USAGE_NODE_ARRAY, .element = &choice};

static const struct usage_name groq_names[] = {{STR_INIT("usage"), &chat_usage}};
static const struct usage_node groq = USAGE_OBJECT(USAGE_NODE_OBJECT, groq_names);
static const struct usage_name status_names[] = {{STR_INIT("status_code"), COUNT(STATUS)}};
static const struct usage_node status = USAGE_OBJECT(USAGE_NODE_OBJECT, status_names);
static const struct usage_node error = {.kind = USAGE_NODE_ERROR};

static const struct usage_name chat_event_names[] = {
    {STR_INIT("model"), &usage_model_node},
    {STR_INIT("choices"), &choices},
    {STR_INIT("usage"), &chat_usage},
    {STR_INIT("x_groq"), &groq},
    {STR_INIT("base_resp"), &status}, /* MiniMax */
    {STR_INIT("error"), &error},
};
static const struct usage_node chat_event = USAGE_OBJECT(USAGE_NODE_OBJECT, chat_event_names);

static const struct usage_name chat_answer_names[] = {
    {STR_INIT("model"), &usage_model_node},
    {STR_INIT("usage"), &chat_usage},
    {STR_INIT("base_resp"), &status},
    {STR_INIT("error"), &error},
};
static const struct usage_node chat_answer = USAGE_OBJECT(USAGE_NODE_OBJECT, chat_answer_names);

static const struct usage_name responses_usage_names[] = {
    {STR_INIT("input_tokens"), COUNT(INPUT)},
    {STR_INIT("output_tokens"), COUNT(OUTPUT)},
    {STR_INIT("total_tokens"), COUNT(TOTAL)},
    {STR_INIT("input_tokens_details"), &prompt_details},
    {STR_INIT("output_tokens_details"), &output_details},
};
static const struct usage_node responses_usage =
    USAGE_OBJECT(USAGE_NODE_USAGE, responses_usage_names);

static const struct usage_name response_names[] = {
    {STR_INIT("model"), &usage_model_node},
    {STR_INIT("usage"), &responses_usage},
    {STR_INIT("error"), &error},
    {STR_INIT("base_resp"), &status},
};
static const struct usage_node response = USAGE_OBJECT(USAGE_NODE_OBJECT, response_names);

static const struct usage_node response_part = USAGE_OBJECT(USAGE_NODE_PART, response_names);

static const struct usage_name responses_event_names[] = {
    {STR_INIT("type"), &usage_type_node},
    {STR_INIT("response"), &response_part},
};
static const struct usage_node responses_event =
    USAGE_OBJECT(USAGE_NODE_OBJECT, responses_event_names);

static void
take_responses_type(struct usage_meter *m, struct str word)
{
    m->type =
        str_equal(word, STR("response.completed")) || str_equal(word, STR("response.incomplete"))
        ? TYPE_DONE
        : str_equal(word, STR("response.failed")) ? TYPE_FAILED
        : str_equal(word, STR("error"))           ? TYPE_ERROR
                                                  : TYPE_OTHER;
}

static void
take_no_type(struct usage_meter *m, struct str word)
{
    (void)m;
    (void)word;
}

/*
 * Some vendors count the cached tokens beside the prompt, or reasoning beside the output, and the
 * total tells: it is the sum of what stands beside each other.
 */
static void
take_usage(struct usage_meter *m)
{
    struct usage *c = &m->counts;
    int64_t input = m->raw[USAGE_RAW_INPUT], output = m->raw[USAGE_RAW_OUTPUT];
    int64_t cached = m->raw[USAGE_RAW_READ] + m->raw[USAGE_RAW_WRITE];
    int64_t reasoning = m->raw[USAGE_RAW_REASONING], beside;

    if (!usage_raw_is_seen(m, USAGE_RAW_INPUT))
        input = m->raw[USAGE_RAW_READ] + m->raw[USAGE_RAW_MISS];
    if (input == 0 && output == 0 && cached == 0)
        return;
    beside = usage_raw_is_seen(m, USAGE_RAW_TOTAL) ? m->raw[USAGE_RAW_TOTAL] - input - output : 0;
    if (reasoning > 0 &&
        (reasoning > output || beside == reasoning || beside == reasoning + cached))
        output += reasoning;
    if (cached <= input && (cached == 0 || (beside != cached && beside != cached + reasoning)))
        input -= cached;
    if (input > 0 || cached > 0) {
        c->input = input;
        c->cache_read = m->raw[USAGE_RAW_READ];
        c->cache_write_5m = m->raw[USAGE_RAW_WRITE];
    }
    if (output > 0) {
        c->output = output;
        c->reasoning = reasoning;
    }
}

/* An error number of the vendor's own, behind a status that says all is well. */
static void
end_status(struct usage_meter *m)
{
    if (m->raw[USAGE_RAW_STATUS] == 0)
        return;
    m->flags |= USAGE_ERROR;
    if ((m->flags & USAGE_INPUT_SEEN) == 0)
        m->flags |= USAGE_REFUSED;
}

static void
end_answer(struct usage_meter *m)
{
    end_status(m);
    m->flags |= USAGE_COMPLETE;
    if (m->has_output)
        m->flags |= USAGE_FINAL;
}

static void
end_chat(struct usage_meter *m)
{
    if (!m->stream) {
        end_answer(m);
        return;
    }
    end_status(m);
    if (m->done_n > 0) { /* "[DONE]" */
        m->flags |= USAGE_COMPLETE | ((m->flags & USAGE_OUTPUT_SEEN) != 0 ? USAGE_FINAL : 0);
        return;
    }
    /* With the end of the text, or in a chunk of its own behind which only "[DONE]" can follow. */
    if (m->has_output && (m->has_finish || !m->has_part))
        m->flags |= USAGE_FINAL;
    if (m->has_output && !m->has_part && m->counts.output > 0)
        m->flags |= USAGE_COMPLETE;
    if (m->has_usage && !m->has_part && m->event == USAGE_EVENT_OPEN)
        m->event = USAGE_EVENT_USAGE_ONLY;
}

static void
end_responses(struct usage_meter *m)
{
    if (!m->stream) {
        end_answer(m);
        return;
    }
    end_status(m);
    if (m->type == TYPE_ERROR || (m->type == TYPE_FAILED && m->has_part))
        m->flags |= USAGE_ERROR;
    if ((m->type == TYPE_DONE || m->type == TYPE_FAILED) && m->has_part)
        m->flags |= USAGE_COMPLETE | (m->has_output ? USAGE_FINAL : 0);
}

/* There is no output to wait for. */
static void
end_embeddings(struct usage_meter *m)
{
    end_answer(m);
    if (m->has_usage)
        m->flags |= USAGE_FINAL;
}

static const struct str chat_words[] = {
    STR_INIT("\"usage\""), STR_INIT("\"error\""), STR_INIT("\"base_resp\""), {NULL, 0}};
static const struct str responses_words[] = {
    STR_INIT("\"response\""), STR_INIT("\"error\""), {NULL, 0}};

const struct usage_shape usage_chat = {
    &chat_answer, &chat_event, STR_INIT(""), chat_words, take_no_type, take_usage, end_chat};
const struct usage_shape usage_responses = {&response, &responses_event, STR_INIT(""),
    responses_words, take_responses_type, take_usage, end_responses};
const struct usage_shape usage_embeddings = {
    &chat_answer, &chat_event, STR_INIT(""), NULL, take_no_type, take_usage, end_embeddings};
