#include "sim/ask.h"

#include "sim/scan.h"

/* ---- the wish ---- */

static void
set_text(struct buf *text, struct str value)
{
    buf_clear(text);
    buf_add(text, value);
}

static void
set_name(char to[static SIM_MODEL_MAX + 1], struct str name)
{
    size_t n = name.n < SIM_MODEL_MAX ? name.n : SIM_MODEL_MAX;

    if (n > 0)
        memcpy(to, name.p, n);
    to[n] = '\0';
}

static bool
take_style(struct sim_behaviour *b, struct str name)
{
    static const struct str names[SIM_STYLE_COUNT] = {[SIM_STYLE_PLAIN] = STR_INIT("plain"),
        [SIM_STYLE_CHOICE] = STR_INIT("choice"),
        [SIM_STYLE_HIT_MISS] = STR_INIT("hit_miss"),
        [SIM_STYLE_BESIDE] = STR_INIT("beside"),
        [SIM_STYLE_EACH] = STR_INIT("each")};

    for (int s = 0; s < SIM_STYLE_COUNT; s++) {
        if (str_equal(name, names[s])) {
            b->style = (enum sim_style)s;
            return true;
        }
    }
    return false;
}

/* False when the word is none of ours. */
static bool
take_wish(struct sim_behaviour *b, struct str key, struct str value)
{
    const struct {
        const char *name;
        int64_t *to;
    } numbers[] = {
        {"input", &b->tokens.input},
        {"output", &b->tokens.output},
        {"cache_read", &b->tokens.cache_read},
        {"cache_write_5m", &b->tokens.cache_write_5m},
        {"cache_write_1h", &b->tokens.cache_write_1h},
        {"reasoning", &b->tokens.reasoning},
        {"words", &b->words},
        {"events", &b->events},
        {"first_delay_ms", &b->first_delay_ms},
        {"delay_ms", &b->delay_ms},
        {"status", &b->status},
        {"retry_after", &b->retry_after},
        {"die_before", &b->die_before},
        {"die_after", &b->die_after},
        {"cut_after", &b->cut_after},
        {"stall_after", &b->stall_after},
        {"error_after", &b->error_after},
        {"no_usage", &b->no_usage},
        {"late_usage", &b->late_usage},
    };

    if (str_equal(key, STR("text")))
        set_text(&b->text, value);
    else if (str_equal(key, STR("model")))
        set_name(b->model, value);
    else if (str_equal(key, STR("style")))
        return take_style(b, value);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (str_equal(key, str_from_cstr(numbers[i].name))) {
            *numbers[i].to = sim_number(value);
            return *numbers[i].to >= 0;
        }
    }
    return str_equal(key, STR("text")) || str_equal(key, STR("model"));
}

static void
read_wishes(struct sim_behaviour *b, struct str s)
{
    for (;;) {
        struct str key, value;
        size_t eq, end;

        s = str_trim(s);
        eq = str_find_char(s, '=');
        if (eq == s.n)
            return;
        key = str_slice(s, 0, eq);
        s = str_slice(s, eq + 1, s.n);
        if (s.n > 0 && s.p[0] == '"') {
            s = str_slice(s, 1, s.n);
            end = str_find_char(s, '"');
        } else {
            for (end = 0; end < s.n && !str_is_space(s.p[end]);)
                end++;
        }
        value = str_slice(s, 0, end);
        s = str_slice(s, end < s.n ? end + 1 : end, s.n);
        if (!take_wish(b, key, value))
            return;
    }
}

/* The last place where needle stands in s; s.n when there is none. */
static size_t
find_last(struct str s, struct str needle)
{
    size_t found = s.n, from = 0;
    const char *hit;

    while (from < s.n && (hit = memmem(s.p + from, s.n - from, needle.p, needle.n)) != NULL) {
        found = (size_t)(hit - s.p);
        from = found + 1;
    }
    return found;
}

static void
read_message(struct sim_behaviour *b, struct str said)
{
    size_t at = find_last(said, STR("sim:"));
    struct str rest;

    if (at < said.n) {
        rest = str_slice(said, at + 4, said.n);
        read_wishes(b, str_slice(rest, 0, str_find_char(rest, '\n')));
        if (b->text.n > 0)
            return;
    }
    /* The known-answer question that probes ask. */
    at = find_last(said, STR("Reply with exactly the word "));
    if (at < said.n) {
        size_t n = 0;

        rest = str_slice(said, at + 28, said.n);
        while (n < rest.n && n < 64 && str_upper_char(rest.p[n]) >= 'A' &&
            str_upper_char(rest.p[n]) <= 'Z')
            n++;
        set_text(&b->text, str_slice(rest, 0, n));
    }
}

/* ---- the body ---- */

/* Of a long text only the end may hold a wish: large bodies stay cheap. */
static void
add_text(struct buf *said, struct str raw)
{
    enum { LOOKED_AT = 64 * 1024 };

    sim_scan_unescape(said, raw.n > LOOKED_AT ? str_slice(raw, raw.n - LOOKED_AT, raw.n) : raw);
    buf_add_char(said, '\n');
}

/* Appends what a user said: a string, or the text blocks of a list. */
static void
add_said(struct buf *said, struct sim_scan *s)
{
    bool first = true;

    if (sim_scan_peek(s) == '"') {
        add_text(said, sim_scan_value(s));
        return;
    }
    if (sim_scan_peek(s) != '[') {
        sim_scan_value(s);
        return;
    }
    sim_scan_enter(s, '[');
    while (sim_scan_element(s, &first)) {
        bool member = true;
        struct str key;

        if (sim_scan_peek(s) != '{') {
            sim_scan_value(s);
            continue;
        }
        sim_scan_enter(s, '{');
        while (sim_scan_member(s, &member, &key)) {
            bool is_text = str_equal(key, STR("text")) && sim_scan_peek(s) == '"';
            struct str value = sim_scan_value(s);

            if (is_text)
                add_text(said, value);
        }
    }
}

/* One message or item: when a user said it, it replaces what was said before. */
static void
read_turn(struct sim_scan *s, struct buf *said)
{
    bool first = true, user = false;
    struct str key, content = STR_NONE;
    struct sim_scan inner;

    sim_scan_enter(s, '{');
    while (sim_scan_member(s, &first, &key)) {
        if (str_equal(key, STR("content"))) {
            const char *from;

            sim_scan_peek(s);
            from = s->p;
            sim_scan_value(s);
            content = (struct str){from, (size_t)(s->p - from)};
        } else if (str_equal(key, STR("role")) && sim_scan_peek(s) == '"') {
            user = str_equal(sim_scan_value(s), STR("user"));
        } else {
            sim_scan_value(s);
        }
    }
    if (!user || content.n == 0)
        return;
    buf_clear(said);
    sim_scan_init(&inner, content);
    add_said(said, &inner);
}

static void
read_turns(struct sim_scan *s, struct buf *said)
{
    bool first = true;

    if (sim_scan_peek(s) == '"') {
        add_said(said, s);
        return;
    }
    if (sim_scan_peek(s) != '[') {
        sim_scan_value(s);
        return;
    }
    sim_scan_enter(s, '[');
    while (sim_scan_element(s, &first)) {
        if (sim_scan_peek(s) == '{')
            read_turn(s, said);
        else
            sim_scan_value(s);
    }
}

static bool
read_include_usage(struct sim_scan *s)
{
    bool first = true, include = false;
    struct str key;

    if (sim_scan_peek(s) != '{') {
        sim_scan_value(s);
        return false;
    }
    sim_scan_enter(s, '{');
    while (sim_scan_member(s, &first, &key)) {
        bool ours = str_equal(key, STR("include_usage"));

        include |= str_equal(sim_scan_value(s), STR("true")) && ours;
    }
    return include;
}

static void
read_body(struct sim_ask *a, struct str body, struct buf *said)
{
    struct sim_scan s;
    struct str key;
    bool first = true;

    sim_scan_init(&s, body);
    sim_scan_enter(&s, '{');
    while (sim_scan_member(&s, &first, &key)) {
        if (sim_scan_equals(key, STR("model")) && sim_scan_peek(&s) == '"')
            set_name(a->model, sim_scan_value(&s));
        else if (str_equal(key, STR("stream")))
            a->stream = str_equal(sim_scan_value(&s), STR("true"));
        else if (str_equal(key, STR("stream_options")))
            a->include_usage = read_include_usage(&s);
        else if (str_equal(key, STR("messages")) || str_equal(key, STR("input")))
            read_turns(&s, said);
        else
            sim_scan_value(&s);
    }
    a->bad_json = !sim_scan_at_end(&s);
}

/* ---- all together ---- */

static enum sim_kind
kind_of(const struct sim_head *h)
{
    static const struct {
        struct str method, suffix;
        enum sim_kind kind;
    } table[] = {
        {STR_INIT("GET"), STR_INIT("/__sim/stats"), SIM_STATS},
        {STR_INIT("POST"), STR_INIT("/__sim/reset"), SIM_RESET},
        {STR_INIT("GET"), STR_INIT("/models"), SIM_MODELS},
        {STR_INIT("POST"), STR_INIT("/v1/messages"), SIM_MESSAGES},
        {STR_INIT("POST"), STR_INIT("/v1/messages/count_tokens"), SIM_COUNT_TOKENS},
        {STR_INIT("POST"), STR_INIT("/chat/completions"), SIM_CHAT},
        {STR_INIT("POST"), STR_INIT("/responses"), SIM_RESPONSES},
        {STR_INIT("POST"), STR_INIT("/embeddings"), SIM_EMBEDDINGS},
    };

    if (str_equal(h->method, STR("HEAD")))
        return SIM_HELLO;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (str_equal(h->method, table[i].method) && str_ends_with(h->path, table[i].suffix))
            return table[i].kind;
    }
    return SIM_OTHER;
}

static int64_t
count_words(struct str s)
{
    int64_t n = 0;

    for (size_t i = 0; i < s.n; i++)
        n += !str_is_space(s.p[i]) && (i == 0 || str_is_space(s.p[i - 1]));
    return n;
}

static void
at_least_zero(int64_t *n)
{
    if (*n < 0)
        *n = 0;
}

/* What was not asked for follows from what was: the same request is always answered alike. */
static void
settle_defaults(struct sim_behaviour *b, size_t body_bytes)
{
    static const struct str sentence =
        STR_INIT("Hello! I am the built-in vendor, and all is well. ");
    int64_t wanted = b->words >= 0 ? b->words : b->text.n == 0 && b->events > 10 ? b->events : 10;

    if (b->text.n == 0) {
        size_t at = 0;

        for (int64_t words = 0; words < wanted && buf_ok(&b->text); at++) {
            char c = sentence.p[at % sentence.n];

            words += c == ' ';
            if (c != ' ' || words < wanted)
                buf_add_char(&b->text, c);
        }
    }
    if (b->tokens.input < 0)
        b->tokens.input = (int64_t)(body_bytes + 3) / 4;
    if (b->tokens.output < 0)
        b->tokens.output =
            count_words(buf_str(&b->text)) + (b->tokens.reasoning > 0 ? b->tokens.reasoning : 0);
    if (b->events < 0)
        b->events = count_words(buf_str(&b->text));
    if (b->events > SIM_EVENTS_MAX)
        b->events = SIM_EVENTS_MAX;
    if (b->events < 1)
        b->events = 1;
    at_least_zero(&b->tokens.cache_read);
    at_least_zero(&b->tokens.cache_write_5m);
    at_least_zero(&b->tokens.cache_write_1h);
    at_least_zero(&b->tokens.reasoning);
}

void
sim_ask_init(struct sim_ask *a, const struct sim_head *h, struct str body)
{
    AUTO_BUF struct buf said;

    *a = (struct sim_ask){.kind = kind_of(h)};
    a->b = (struct sim_behaviour){.tokens = {-1, -1, -1, -1, -1, -1},
        .words = -1,
        .events = -1,
        .status = -1,
        .retry_after = -1,
        .die_after = -1,
        .cut_after = -1,
        .stall_after = -1,
        .error_after = -1};
    a->openai = a->kind == SIM_CHAT || a->kind == SIM_RESPONSES || a->kind == SIM_EMBEDDINGS ||
        ((a->kind == SIM_MODELS || a->kind == SIM_OTHER) && !h->anthropic);
    buf_init(&said, SIM_TEXT_MAX);
    buf_init(&a->b.text, SIM_TEXT_MAX);
    if (a->kind >= SIM_COUNT_TOKENS)
        read_body(a, body, &said);
    read_wishes(&a->b, h->wish);
    if (a->kind != SIM_COUNT_TOKENS)
        read_message(&a->b, buf_str(&said));
    settle_defaults(&a->b, body.n);
    if (a->kind == SIM_EMBEDDINGS)
        a->b.tokens.output = 0;
}

void
sim_ask_done(struct sim_ask *a)
{
    buf_done(&a->b.text);
}
