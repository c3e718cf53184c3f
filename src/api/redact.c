#include "api/redact.h"

enum {
    SECRET_MIN_BYTES = 8,    /* shorter ones would tear holes into ordinary words */
    OUT_MAX_BYTES = 8 << 20, /* a body's bytes, each eighth of them a name */
};

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

/* How many bytes from here on are a secret, and what it is called; 0: none. The longest one. */
static size_t
secret_at(const struct redactor *r, struct str rest, struct str *ret_name)
{
    size_t n = rest.p[0] == 'p' ? token_at(rest) : 0;

    if (n > 0)
        *ret_name = STR("TOKEN");
    for (size_t i = 0; i < r->gathered.secrets_n; i++) {
        struct str value = secret_expose(r->gathered.values[i]);

        if (value.n >= SECRET_MIN_BYTES && value.n > n && !r->gathered.secrets[i].value_blank &&
            str_starts_with(rest, value)) {
            n = value.n;
            *ret_name = r->gathered.secrets[i].name;
        }
    }
    return n;
}

/* One way through, and never over what stands in a secret's place: who sends the text chooses the
 * secrets and their names, too. */
struct str
redact(struct redactor *r, struct str text)
{
    AUTO_BUF struct buf out;
    size_t done = 0;
    struct str name;

    buf_init(&out, OUT_MAX_BYTES);
    if (text.n == 0)
        return text;
    load(r);
    if (r->failed)
        return STR("[withheld: the workspace's secrets cannot be read]");
    for (size_t i = 0, n; i < text.n; i += n == 0 ? 1 : n) {
        n = secret_at(r, str_slice(text, i, text.n), &name);
        if (n == 0)
            continue;
        buf_add(&out, str_slice(text, done, i));
        buf_addf(&out, "[%.*s]", STR_ARG(name));
        done = i + n;
    }
    if (done == 0)
        return text;
    buf_add(&out, str_slice(text, done, text.n));
    return arena_dup(&r->call->http->arena, buf_str(&out));
}

json_t *
redact_json(struct redactor *r, json_t *value)
{
    json_t *out, *member;
    const char *key;
    size_t i;

    if (json_is_array(value)) {
        out = json_array();
        json_array_foreach(value, i, member) json_array_append_new(out, redact_json(r, member));
        return out;
    }
    if (json_is_string(value)) {
        return json_str(
            redact(r, (struct str){json_string_value(value), json_string_length(value)}));
    }
    if (!json_is_object(value))
        return json_incref(value);
    out = json_object();
    json_object_foreach(value, key, member)
    {
        struct str name = redact(r, str_from_cstr(key));

        json_object_set_new(out, arena_cstr(&r->call->http->arena, name), redact_json(r, member));
    }
    return out;
}

void
redactor_done(struct redactor *r)
{
    gathered_done(&r->gathered);
}
