#include "api/redact.h"

enum { SECRET_MIN_BYTES = 8 }; /* shorter ones would tear holes into ordinary words */

static void
load(struct redactor *r)
{
    struct gather_request q = {
        .caller = GATHER_PULL, .org = r->call->org, .workspace = r->workspace};
    struct error e;

    if (r->loaded)
        return;
    r->loaded = true;
    r->failed = gather(r->call->api, &r->call->registry->set, &r->call->http->arena, &q,
                    &r->gathered, &e) != ERR_OK ||
        r->gathered.failure.code != ERR_OK;
}

/* Everything that is value becomes [NAME]. */
static struct str
replace(struct arena *arena, struct str text, struct str value, struct str name)
{
    const char *at = memmem(text.p, text.n, value.p, value.n);
    struct str head, tail;

    if (at == NULL)
        return text;
    head = str_slice(text, 0, (size_t)(at - text.p));
    tail = replace(arena, str_slice(text, head.n + value.n, text.n), value, name);
    return arena_printf(arena, "%.*s[%.*s]%.*s", STR_ARG(head), STR_ARG(name), STR_ARG(tail));
}

/* How many bytes from here on are a credential of our own form; 0: none. */
static size_t
token_at(struct str rest)
{
    enum token_kind kind;

    for (int k = 0; k < TOKEN_KIND_COUNT; k++) {
        size_t n = token_prefix((enum token_kind)k).n + TOKEN_TEXT_BYTES - 8;

        if (rest.n >= n && token_parse(str_slice(rest, 0, n), &kind))
            return n;
    }
    return 0;
}

static struct str
replace_tokens(struct arena *arena, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        size_t n = text.p[i] == 'p' ? token_at(str_slice(text, i, text.n)) : 0;

        if (n > 0)
            text = replace(arena, text, str_slice(text, i, i + n), STR("TOKEN"));
    }
    return text;
}

struct str
redact(struct redactor *r, struct str text)
{
    struct arena *arena = &r->call->http->arena;

    if (text.n == 0)
        return text;
    load(r);
    if (r->failed)
        return STR("[withheld: the workspace's secrets cannot be read]");
    for (size_t i = 0; i < r->gathered.secrets_n; i++) {
        struct str value = secret_expose(r->gathered.values[i]);

        if (value.n >= SECRET_MIN_BYTES && !r->gathered.secrets[i].value_blank)
            text = replace(arena, text, value, r->gathered.secrets[i].name);
    }
    return replace_tokens(arena, text);
}

void
redactor_done(struct redactor *r)
{
    gathered_done(&r->gathered);
}
