#include "core/request_word.h"

static const struct str key_names[KEY_COUNT] = {
    [KEY_MODEL] = STR_INIT("model"),
    [KEY_STREAM] = STR_INIT("stream"),
    [KEY_SPEED] = STR_INIT("speed"),
    [KEY_SERVICE_TIER] = STR_INIT("service_tier"),
    [KEY_INFERENCE_GEO] = STR_INIT("inference_geo"),
    [KEY_LIMIT_1] = STR_INIT("max_tokens"),
    [KEY_LIMIT_2] = STR_INIT("max_completion_tokens"),
    [KEY_LIMIT_3] = STR_INIT("max_output_tokens"),
    [KEY_CHOICES] = STR_INIT("n"),
    [KEY_STREAM_OPTIONS] = STR_INIT("stream_options"),
    [KEY_TOOLS] = STR_INIT("tools"),
    [KEY_INPUT] = STR_INIT("input"),
    [KEY_PREDICTION] = STR_INIT("prediction"),
    [KEY_PREVIOUS] = STR_INIT("previous_response_id"),
    [KEY_CONVERSATION] = STR_INIT("conversation"),
    [KEY_AUDIO] = STR_INIT("audio"),
    [KEY_BACKGROUND] = STR_INIT("background"),
    [KEY_ENABLE_SEARCH] = STR_INIT("enable_search"),
    [KEY_FALLBACKS] = STR_INIT("fallbacks"),
    [KEY_MCP_SERVERS] = STR_INIT("mcp_servers"),
    [KEY_MODALITIES] = STR_INIT("modalities"),
    [KEY_MODELS] = STR_INIT("models"),
    [KEY_PLUGINS] = STR_INIT("plugins"),
    [KEY_PROMPT] = STR_INIT("prompt"),
    [KEY_SEARCH_PARAMETERS] = STR_INIT("search_parameters"),
    [KEY_WEB_SEARCH] = STR_INIT("web_search_options"),
};

static const struct {
    struct str name;
    enum below below;
} below_names[] = {
    {STR_INIT("type"), BELOW_TYPE},
    {STR_INIT("role"), BELOW_ROLE},
    {STR_INIT("tools"), BELOW_TOOLS},
    {STR_INIT("url"), BELOW_URL},
    {STR_INIT("image_url"), BELOW_URL},
    {STR_INIT("file_url"), BELOW_URL},
    {STR_INIT("file_id"), BELOW_FILE},
    {STR_INIT("file_data"), BELOW_FILE},
    {STR_INIT("media_type"), BELOW_MEDIA_TYPE},
    {STR_INIT("include_usage"), BELOW_INCLUDE_USAGE},
    {STR_INIT("max_uses"), BELOW_MAX_USES},
};

static const struct str problem_texts[REQUEST_PROBLEM_COUNT] = {
    [REQUEST_OK] = STR_INIT("the request is well-formed"),
    [REQUEST_NOT_JSON] = STR_INIT("the request body is not one JSON object"),
    [REQUEST_TOO_DEEP] = STR_INIT("the request body is nested too deeply"),
    [REQUEST_KEY_TWICE] = STR_INIT("a key that matters here (model, stream, an output limit, tools "
                                   "...) stands twice at the top level of the request body"),
    [REQUEST_KEY_VARIANT] =
        STR_INIT("a top-level key of the request body is spelled with an escape "
                 "or in another case; spell it plainly"),
    [REQUEST_MODEL_MISSING] = STR_INIT("model: field required"),
    [REQUEST_MODEL_NOT_TEXT] = STR_INIT("model: must be a non-empty string"),
    [REQUEST_MODEL_ESCAPED] = STR_INIT("model: is spelled with an escape; spell it plainly"),
    [REQUEST_MODEL_TOO_LONG] = STR_INIT("model: must be at most 255 bytes"),
    [REQUEST_STREAM_NOT_BOOLEAN] = STR_INIT("stream: must be true or false"),
    [REQUEST_LIMIT_NOT_A_NUMBER] =
        STR_INIT("the limit on output tokens must be a whole number, not negative"),
    [REQUEST_CHOICES_OUT_OF_RANGE] = STR_INIT("n: must be a whole number from 1 to 128"),
    [REQUEST_STREAM_OPTIONS] =
        STR_INIT("stream_options: must be an object; include_usage in it is true or false, given "
                 "once and spelled plainly"),
    [REQUEST_PRICE_CHANGED] = STR_INIT("speed, service_tier and inference_geo may only ask for the "
                                       "vendor's standard service here"),
    [REQUEST_UNPRICED] = STR_INIT(
        "audio, background, enable_search, fallbacks, mcp_servers, modalities, models, plugins, "
        "prompt, search_parameters and web_search_options cannot be used here"),
    [REQUEST_TOOL_UNPRICED] = STR_INIT("tools: only tools that the agent runs itself (functions, "
                                       "custom tools) may be given"),
    [REQUEST_SEARCHES_UNLIMITED] =
        STR_INIT("tools: web search has a price for each use, so it needs max_uses: a whole number "
                 "from 1 to 100, plainly spelled and given once"),
};

struct str
request_problem_text(enum request_problem p)
{
    return problem_texts[p];
}

bool
request_problem_is_price(enum request_problem p)
{
    return p == REQUEST_PRICE_CHANGED || p == REQUEST_UNPRICED || p == REQUEST_TOOL_UNPRICED;
}

/*
 * The word as the most tolerant reader would compare it: without case, as Unicode folds it (two
 * letters beyond ASCII fold to k and s), and without the white space around it.
 */
static struct str
fold(struct str word, char to[static REQUEST_WORD_MAX + 1])
{
    size_t n = 0;

    word = str_trim(word);
    for (size_t i = 0; i < word.n; i++) {
        struct str rest = str_slice(word, i, word.n);

        if (str_starts_with(rest, STR("\xe2\x84\xaa"))) {
            to[n++] = 'k';
            i += 2;
        } else if (str_starts_with(rest, STR("\xc5\xbf"))) {
            to[n++] = 's';
            i += 1;
        } else {
            to[n++] =
                word.p[i] >= 'A' && word.p[i] <= 'Z' ? (char)(word.p[i] - 'A' + 'a') : word.p[i];
        }
    }
    return (struct str){to, n};
}

/* May fold() make another word of it? Nearly every key is spelled plainly. */
static bool
is_odd(struct str word)
{
    unsigned odd = 0;

    for (size_t i = 0; i < word.n; i++) {
        unsigned char c = (unsigned char)word.p[i];

        odd |= c <= ' ' || c >= 0x80 || (c >= 'A' && c <= 'Z');
    }
    return odd != 0;
}

static enum key
find_key(struct str word)
{
    for (int key = KEY_OTHER + 1; key < KEY_COUNT; key++) {
        if (word.n == key_names[key].n && memcmp(word.p, key_names[key].p, word.n) == 0)
            return (enum key)key;
    }
    return KEY_OTHER;
}

bool
request_know_key(struct request_scan *s, struct str word)
{
    char text[REQUEST_WORD_MAX + 1];

    s->key = KEY_OTHER;
    if (word.n > REQUEST_WORD_MAX)
        return true;
    s->key = (uint8_t)find_key(word);
    if (s->key == KEY_OTHER)
        return !is_odd(word) || find_key(fold(word, text)) == KEY_OTHER ||
            request_fail(s, REQUEST_KEY_VARIANT);
    if ((s->seen >> s->key & 1) != 0)
        return request_fail(s, REQUEST_KEY_TWICE);
    s->seen |= 1u << s->key;
    return true;
}

bool
request_in_tool(const struct request_scan *s)
{
    return s->key == KEY_TOOLS && (s->depth == 3 || (s->depth == 5 && s->tools_within));
}

static enum below
find_below(struct str word)
{
    for (size_t i = 0; i < sizeof(below_names) / sizeof(below_names[0]); i++) {
        struct str name = below_names[i].name;

        if (word.n == name.n && word.p[0] == name.p[0] && str_equal(word, name))
            return below_names[i].below;
    }
    return BELOW_OTHER;
}

/*
 * A key below the top: nearly all keys of a body are, and are none of ours. Ours begin with one of
 * six letters, to which nothing beyond ASCII folds, or with a space before it.
 */
static enum below
below_of(struct str word)
{
    char text[REQUEST_WORD_MAX + 1];
    enum below below;

    if (word.n < 3 || word.n > REQUEST_WORD_MAX)
        return BELOW_OTHER;
    switch (word.p[0] | 0x20) {
    case 't':
    case 'r':
    case 'u':
    case 'f':
    case 'i':
    case 'm':
    case ' ':
        break;
    default:
        return BELOW_OTHER;
    }
    below = find_below(word);
    if (below != BELOW_OTHER)
        return below;
    return is_odd(word) ? find_below(fold(word, text)) : BELOW_OTHER;
}

bool
request_know_below(struct request_scan *s, struct str word)
{
    s->below = (uint8_t)below_of(word);
    if ((s->below == BELOW_TYPE || s->below == BELOW_ROLE) && s->depth == 3)
        s->typed = true;
    /* Spelled otherwise the vendor may not know it, and search without a limit. */
    if (s->below == BELOW_MAX_USES && s->key == KEY_TOOLS && s->depth == 3) {
        if (s->uses != 0 || !str_equal(word, STR("max_uses")))
            return request_fail(s, REQUEST_SEARCHES_UNLIMITED);
        s->uses = REQUEST_USES_NOT_A_NUMBER;
    }
    if (s->below == BELOW_TOOLS && s->key == KEY_TOOLS && s->depth == 3)
        s->tools_within = true;
    if (s->depth == 2 && s->key == KEY_STREAM_OPTIONS) {
        if (s->below != BELOW_INCLUDE_USAGE)
            s->options = s->options == OPTIONS_EMPTY ? OPTIONS_OTHER : s->options;
        else if (s->include_usage || s->options == OPTIONS_FALSE ||
            !str_equal(word, STR("include_usage")))
            return request_fail(s, REQUEST_STREAM_OPTIONS);
    }
    return true;
}

bool
request_is_standard(struct str value)
{
    static const struct str words[] = {STR_INIT("standard"), STR_INIT("standard_only"),
        STR_INIT("auto"), STR_INIT("default"), STR_INIT("global")};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_equal(value, words[i]))
            return true;
    }
    return false;
}

/* Tools that the agent runs itself, by the dialect's names for them; '_' at the end: any version. */
static bool
know_tool(struct request_scan *s, struct str type)
{
    static const struct {
        enum dialect dialect;
        struct str type;
    } known[] = {
        {DIALECT_ANTHROPIC, STR_INIT("custom")},
        {DIALECT_ANTHROPIC, STR_INIT("bash_")},
        {DIALECT_ANTHROPIC, STR_INIT("computer_")},
        {DIALECT_ANTHROPIC, STR_INIT("memory_")},
        {DIALECT_ANTHROPIC, STR_INIT("text_editor_")},
        {DIALECT_ANTHROPIC, STR_INIT("tool_search_tool_")},
        {DIALECT_OPENAI_CHAT, STR_INIT("function")},
        {DIALECT_OPENAI_CHAT, STR_INIT("custom")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("function")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("custom")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("apply_patch")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("computer")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("computer_use_preview")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("local_shell")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("namespace")},
        {DIALECT_OPENAI_RESPONSES, STR_INIT("tool_search")},
    };

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct str name = known[i].type;

        if (s->dialect != known[i].dialect)
            continue;
        if (!str_equal(type, name) && !(name.p[name.n - 1] == '_' && str_starts_with(type, name)))
            continue;
        s->vendor_tools += !str_equal(type, STR("function")) && !str_equal(type, STR("custom"));
        return true;
    }
    /* What it costs, and whether it has a price, is for who admits the call. */
    if (s->dialect == DIALECT_ANTHROPIC && s->depth == 3 &&
        str_starts_with(type, STR("web_search_"))) {
        s->vendor_tools++;
        s->is_search = true;
        return true;
    }
    s->word_n = (uint8_t)(type.n < sizeof(s->word) ? type.n : sizeof(s->word));
    memmove(s->word, type.p, s->word_n);
    return request_fail(s, REQUEST_TOOL_UNPRICED);
}

bool
request_end_tool(struct request_scan *s)
{
    if (!s->is_search)
        return true;
    if (s->uses < 1 || s->uses > REQUEST_SEARCHES_MAX)
        return request_fail(s, REQUEST_SEARCHES_UNLIMITED);
    s->web_searches += s->uses;
    return true;
}

bool
request_know_word(struct request_scan *s, struct str word)
{
    if (s->below == BELOW_TYPE && request_in_tool(s))
        return know_tool(s, word);
    if (s->below == BELOW_TYPE) {
        s->by_reference = s->by_reference || str_equal(word, STR("item_reference"));
        s->compacts = s->compacts || str_starts_with(word, STR("compact_"));
    } else if (s->below == BELOW_FILE)
        s->by_reference = true;
    else if (str_starts_with(word, s->below == BELOW_URL ? STR("data:image/") : STR("image/")))
        s->images++;
    else if (s->below == BELOW_URL || !str_starts_with(word, STR("text/")))
        s->by_reference = true;
    return true;
}

bool
request_fits_key(struct request_scan *s, char c)
{
    if (s->key == KEY_OTHER)
        return true;
    if (s->key >= KEY_UNPRICED_FIRST)
        return c == 'n' || c == 'f' || c == '[' || request_fail(s, REQUEST_UNPRICED);
    switch ((enum key)s->key) {
    case KEY_MODEL:
        return c == '"' || request_fail(s, REQUEST_MODEL_NOT_TEXT);
    case KEY_STREAM:
        return c == 't' || c == 'f' || request_fail(s, REQUEST_STREAM_NOT_BOOLEAN);
    case KEY_STREAM_OPTIONS:
        return c == '{' || c == 'n' || request_fail(s, REQUEST_STREAM_OPTIONS);
    case KEY_TOOLS:
        return c == '[' || c == 'n' || request_fail(s, REQUEST_TOOL_UNPRICED);
    case KEY_INPUT:
        return true;
    case KEY_PREDICTION:
        s->predicted = s->predicted || c != 'n';
        return true;
    case KEY_PREVIOUS:
    case KEY_CONVERSATION:
        s->by_reference = s->by_reference || c != 'n';
        return true;
    case KEY_SPEED:
    case KEY_SERVICE_TIER:
    case KEY_INFERENCE_GEO:
        return c == '"' || c == 'n' || request_fail(s, REQUEST_PRICE_CHANGED);
    case KEY_CHOICES:
        return (c >= '0' && c <= '9') || c == 'n' || request_fail(s, REQUEST_CHOICES_OUT_OF_RANGE);
    default:
        return (c >= '0' && c <= '9') || c == 'n' || request_fail(s, REQUEST_LIMIT_NOT_A_NUMBER);
    }
}

bool
request_fits_below(struct request_scan *s, char c)
{
    if (s->key >= KEY_UNPRICED_FIRST) /* an empty list asks for nothing */
        return request_fail(s, REQUEST_UNPRICED);
    if (s->key == KEY_TOOLS && s->depth == 2) {
        s->tools++;
        return c == '{' || request_fail(s, REQUEST_TOOL_UNPRICED);
    }
    if (s->below == BELOW_TYPE && request_in_tool(s))
        return c == '"' || c == 'n' || request_fail(s, REQUEST_TOOL_UNPRICED);
    if (s->below == BELOW_INCLUDE_USAGE && s->depth == 2 && s->key == KEY_STREAM_OPTIONS)
        return c == 't' || c == 'f' || c == 'n' || request_fail(s, REQUEST_STREAM_OPTIONS);
    return true;
}

void
request_note_options(struct request_scan *s, char c, size_t at)
{
    if (s->depth == 1) {
        s->options = c == '{' ? OPTIONS_EMPTY : OPTIONS_NULL;
        s->options_off = c == '{' ? at + 1 : at;
        s->options_n = c == '{' ? 0 : 4;
    } else if (s->depth == 2 && s->below == BELOW_INCLUDE_USAGE) {
        s->include_usage = c == 't';
        s->options = OPTIONS_FALSE;
        s->options_off = at;
        s->options_n = c == 'f' ? 5 : 4;
    }
}

bool
request_is_limit(const struct request_scan *s)
{
    switch ((enum key)s->key) {
    case KEY_LIMIT_1:
        return s->dialect == DIALECT_ANTHROPIC || s->dialect == DIALECT_OPENAI_CHAT;
    case KEY_LIMIT_2:
        return s->dialect == DIALECT_OPENAI_CHAT;
    case KEY_LIMIT_3:
        return s->dialect == DIALECT_OPENAI_RESPONSES;
    default:
        return false;
    }
}

bool
request_usage_splice(
    const struct request_scan *s, size_t *ret_off, size_t *ret_cut, struct str *ret_text)
{
    static const struct str texts[] = {
        [OPTIONS_ABSENT] = STR_INIT("\"stream_options\":{\"include_usage\":true},"),
        [OPTIONS_NULL] = STR_INIT("{\"include_usage\":true}"),
        [OPTIONS_EMPTY] = STR_INIT("\"include_usage\":true"),
        [OPTIONS_OTHER] = STR_INIT("\"include_usage\":true,"),
        [OPTIONS_FALSE] = STR_INIT("true"),
    };

    if (s->dialect != DIALECT_OPENAI_CHAT || !s->stream || s->include_usage)
        return false;
    *ret_off = s->options == OPTIONS_ABSENT ? s->body_off : s->options_off;
    *ret_cut = s->options_n;
    *ret_text = texts[s->options];
    return true;
}
