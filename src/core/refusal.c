#include "core/refusal.h"

struct row {
    struct str name;
    int anthropic_status;
    struct str anthropic_type;
    int openai_status;
    struct str openai_type, openai_code;
    bool retry;
    struct str text;
};

static const struct row rows[REFUSAL_COUNT] = {
#define X(name, as, at, os, ot, oc, retry, text)                                                   \
    [REFUSAL_##name] = {                                                                           \
        STR_INIT(#name), as, STR_INIT(at), os, STR_INIT(ot), STR_INIT(oc), retry, STR_INIT(text)},
#include "core/refusal.def"
#undef X
};

struct str
refusal_name(enum refusal r)
{
    return rows[r].name;
}

struct str
refusal_text(enum refusal r)
{
    return rows[r].text;
}

int
refusal_status(enum refusal r, enum dialect d)
{
    return d == DIALECT_ANTHROPIC ? rows[r].anthropic_status : rows[r].openai_status;
}

bool
refusal_may_retry(enum refusal r)
{
    return rows[r].retry;
}

struct out {
    char *p;
    size_t n;
    size_t max;
};

static void
add(struct out *o, struct str s)
{
    size_t n = s.n < o->max - o->n ? s.n : o->max - o->n;

    if (n > 0)
        memcpy(o->p + o->n, s.p, n);
    o->n += n;
}

/*
 * Text inside quotes. What is not plain ASCII text becomes '?': no answer carries bytes we did not
 * choose.
 */
static void
add_quoted(struct out *o, struct str s)
{
    for (size_t i = 0; i < s.n && o->n + 2 <= o->max; i++) {
        unsigned char c = (unsigned char)s.p[i];

        if (c == '"' || c == '\\')
            add(o, STR("\\"));
        add(o, c < 0x20 || c > 0x7e ? STR("?") : (struct str){s.p + i, 1});
    }
}

size_t
refusal_body(enum refusal r, enum dialect d, struct str detail, struct str request_id,
    char ret[static REFUSAL_BODY_MAX])
{
    const struct row *row = &rows[r];
    /* Room is kept for what must follow the sentence. */
    struct out o = {ret, 0, REFUSAL_BODY_MAX - 256};

    add(&o,
        d == DIALECT_ANTHROPIC ? STR("{\"type\":\"error\",\"error\":{\"type\":\"")
                               : STR("{\"error\":{\"type\":\""));
    add(&o, d == DIALECT_ANTHROPIC ? row->anthropic_type : row->openai_type);
    add(&o, STR("\",\"message\":\""));
    if (detail.n > 0) {
        add_quoted(&o, detail);
        add(&o, STR(" - "));
    }
    add_quoted(&o, row->text);
    o.max = REFUSAL_BODY_MAX;
    add(&o, STR("\""));
    if (d != DIALECT_ANTHROPIC) {
        add(&o, STR(",\"param\":null,\"code\":\""));
        add(&o, row->openai_code);
        add(&o, STR("\""));
    }
    add(&o, STR("},\"request_id\":\""));
    add_quoted(&o, request_id);
    add(&o, STR("\"}\n"));
    return o.n;
}
