#include "sim/truth.h"

#include "base/ids.h"

#include <jansson.h>
#include <sodium.h>
#include <strings.h>

enum { KEYS_MAX = 4096, ROWS_MAX = 16384, HEADERS_MAX = 4096, PATH_SHOWN_MAX = 512 };

struct key_line {
    uint8_t digest[crypto_hash_sha256_BYTES];
    char name[64];
    char last4[5];
};

/* The sums of one key and one model. */
struct row {
    int key;
    char model[SIM_MODEL_MAX + 1];
    int64_t calls, outcomes[SIM_REFUSED + 1], free_calls;
    struct sim_tokens tokens;
    int64_t generated_output;
    uint64_t bytes;
};

struct sim_truth {
    bool accept_any;
    struct key_line keys[KEYS_MAX];
    size_t keys_n;
    struct row *rows;
    size_t rows_n, rows_room;
    struct sim_call *calls; /* a ring of the last calls that ended */
    size_t calls_room;
    uint64_t calls_ended, last_id, unauthorized;
};

static const char *const kind_names[] = {
    [SIM_OTHER] = "other",
    [SIM_HELLO] = "hello",
    [SIM_STATS] = "stats",
    [SIM_RESET] = "reset",
    [SIM_MODELS] = "models",
    [SIM_COUNT_TOKENS] = "count_tokens",
    [SIM_MESSAGES] = "messages",
    [SIM_CHAT] = "chat",
    [SIM_RESPONSES] = "responses",
    [SIM_EMBEDDINGS] = "embeddings",
};
static const char *const outcome_names[] = {
    [SIM_OPEN] = "open",
    [SIM_COMPLETED] = "completed",
    [SIM_ABORTED] = "aborted_by_client",
    [SIM_DIED] = "died_on_demand",
    [SIM_REFUSED] = "error",
};

/* ---- keys ---- */

static int
add_key(struct sim_truth *t, struct str key, const char *name)
{
    struct key_line *k;

    if (t->keys_n == KEYS_MAX)
        return -1;
    k = &t->keys[t->keys_n];
    crypto_hash_sha256(k->digest, (const unsigned char *)key.p, key.n);
    snprintf(k->name, sizeof(k->name), "%s", name);
    if (key.n >= 12) /* of a shorter one four characters would tell too much */
        snprintf(k->last4, sizeof(k->last4), "%.4s", key.p + key.n - 4);
    return (int)t->keys_n++;
}

int
sim_truth_key(struct sim_truth *t, struct str key)
{
    uint8_t digest[crypto_hash_sha256_BYTES];

    if (key.n == 0)
        return -1;
    crypto_hash_sha256(digest, (const unsigned char *)key.p, key.n);
    for (size_t i = 0; i < t->keys_n; i++) {
        if (memcmp(t->keys[i].digest, digest, sizeof(digest)) == 0)
            return (int)i;
    }
    return t->accept_any ? add_key(t, key, "any") : -1;
}

/* ---- life of a call ---- */

struct sim_truth *
sim_truth_new(const struct sim_options *o)
{
    struct sim_truth *t = calloc(1, sizeof(*t));

    ENSURE(t != NULL);
    t->accept_any = o->accept_any_key;
    t->calls_room = o->calls_kept == 0 ? 10000 : o->calls_kept;
    t->calls = calloc(t->calls_room, sizeof(*t->calls));
    ENSURE(t->calls != NULL);
    for (size_t i = 0; i < o->keys_n; i++)
        add_key(t, str_from_cstr(o->keys[i].key), o->keys[i].name);
    return t;
}

static void
call_done(struct sim_call *c)
{
    free(c->path);
    free(c->headers);
    *c = (struct sim_call){.key = -1};
}

void
sim_truth_reset(struct sim_truth *t)
{
    for (size_t i = 0; i < t->calls_room; i++)
        call_done(&t->calls[i]);
    t->calls_ended = 0;
    t->unauthorized = 0;
    t->rows_n = 0;
}

void
sim_truth_free(struct sim_truth *t)
{
    sim_truth_reset(t);
    free(t->calls);
    free(t->rows);
    free(t);
}

/* A printable copy: what people and JSON can take. */
static char *
printable(struct str s, size_t max)
{
    size_t n = s.n < max ? s.n : max;
    char *copy = malloc(n + 1);

    ENSURE(copy != NULL);
    for (size_t i = 0; i < n; i++)
        copy[i] = (s.p[i] >= 0x20 && s.p[i] < 0x7f) || s.p[i] == '\n' ? s.p[i] : '?';
    copy[n] = '\0';
    return copy;
}

static bool
is_credential(struct str name)
{
    static const char *const names[] = {
        "x-api-key", "authorization", "cookie", "proxy-authorization"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (name.n == strlen(names[i]) && strncasecmp(name.p, names[i], name.n) == 0)
            return true;
    }
    return false;
}

static char *
shown_headers(struct str headers)
{
    AUTO_BUF struct buf b;

    buf_init(&b, HEADERS_MAX);
    while (headers.n > 0) {
        size_t eol = str_find_char(headers, '\r');
        struct str line = str_slice(headers, 0, eol);
        size_t colon = str_find_char(line, ':');

        if (is_credential(str_slice(line, 0, colon))) {
            buf_add(&b, str_slice(line, 0, colon));
            buf_add(&b, STR(": (hidden)\n"));
        } else {
            buf_add(&b, line);
            buf_add_char(&b, '\n');
        }
        headers = str_slice(headers, eol + 2 > headers.n ? headers.n : eol + 2, headers.n);
    }
    return printable(buf_str(&b), HEADERS_MAX);
}

void
sim_truth_begin(struct sim_truth *t, struct sim_call *c, const struct sim_head *h,
    const struct sim_ask *a, int key, size_t request_bytes)
{
    AUTO_FREE char *model = printable(str_from_cstr(a->model), SIM_MODEL_MAX);

    *c = (struct sim_call){.id = ++t->last_id,
        .began_ms = clock_ms(),
        .kind = a->kind,
        .key = key,
        .stream = a->stream,
        .request_bytes = request_bytes,
        .bytes_acked = -1};
    snprintf(c->model, sizeof(c->model), "%s", model);
    c->path = printable(h->target, PATH_SHOWN_MAX);
    c->headers = shown_headers(h->headers);
}

static struct row *
find_row(struct sim_truth *t, int key, const char *model)
{
    struct row *r;

    for (size_t i = 0; i < t->rows_n; i++) {
        if (t->rows[i].key == key && strcmp(t->rows[i].model, model) == 0)
            return &t->rows[i];
    }
    if (t->rows_n == ROWS_MAX)
        return &t->rows[ROWS_MAX - 1];
    if (t->rows_n == t->rows_room) {
        t->rows_room = t->rows_room == 0 ? 64 : t->rows_room * 2;
        t->rows = reallocarray(t->rows, t->rows_room, sizeof(*t->rows));
        ENSURE(t->rows != NULL);
    }
    r = &t->rows[t->rows_n++];
    *r = (struct row){.key = key};
    snprintf(r->model, sizeof(r->model), "%s", model);
    return r;
}

void
sim_truth_end(struct sim_truth *t, struct sim_call *c, enum sim_outcome outcome)
{
    struct sim_call *kept = &t->calls[t->calls_ended++ % t->calls_room];

    c->outcome = outcome;
    c->ended_ms = clock_ms();
    if (c->key < 0) {
        t->unauthorized++;
    } else {
        struct row *r = find_row(t, c->key, c->model);

        if (c->kind < SIM_MESSAGES) {
            r->free_calls++;
        } else {
            r->calls++;
            r->outcomes[outcome]++;
            r->tokens.input += c->usage.input;
            r->tokens.output += c->usage.output;
            r->tokens.cache_read += c->usage.cache_read;
            r->tokens.cache_write_5m += c->usage.cache_write_5m;
            r->tokens.cache_write_1h += c->usage.cache_write_1h;
            r->tokens.reasoning += c->usage.reasoning;
            r->generated_output += c->generated_output;
            r->bytes += c->bytes_sent;
        }
    }
    call_done(kept);
    *kept = *c;
    *c = (struct sim_call){.key = -1};
}

/* ---- telling ---- */

static json_t *
tokens_json(const struct sim_tokens *u)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "input", (json_int_t)u->input, "output",
        (json_int_t)u->output, "cache_read", (json_int_t)u->cache_read, "cache_write_5m",
        (json_int_t)u->cache_write_5m, "cache_write_1h", (json_int_t)u->cache_write_1h, "reasoning",
        (json_int_t)u->reasoning);
}

/* Name, last characters and fingerprint: enough to tell keys apart, nothing to use. */
static json_t *
key_json(const struct sim_truth *t, int key)
{
    char hex[13];

    if (key < 0)
        return json_null();
    sodium_bin2hex(hex, sizeof(hex), t->keys[key].digest, 6);
    return json_pack(
        "{s:s, s:s, s:s}", "name", t->keys[key].name, "last4", t->keys[key].last4, "sha256", hex);
}

static json_t *
row_json(const struct sim_truth *t, const struct row *r)
{
    return json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I}", "key",
        key_json(t, r->key), "model", r->model, "calls", (json_int_t)r->calls, "completed",
        (json_int_t)r->outcomes[SIM_COMPLETED], "aborted_by_client",
        (json_int_t)r->outcomes[SIM_ABORTED], "died_on_demand", (json_int_t)r->outcomes[SIM_DIED],
        "errors", (json_int_t)r->outcomes[SIM_REFUSED], "free_calls", (json_int_t)r->free_calls,
        "tokens", tokens_json(&r->tokens), "generated_output", (json_int_t)r->generated_output,
        "bytes", (json_int_t)r->bytes);
}

static json_t *
headers_json(const char *lines)
{
    json_t *o = json_object();
    struct str rest = str_from_cstr(lines);

    while (rest.n > 0) {
        size_t eol = str_find_char(rest, '\n');
        struct str line = str_slice(rest, 0, eol), value;
        size_t colon = str_find_char(line, ':');
        char name[128];

        snprintf(name, sizeof(name), "%.*s", (int)colon, line.p);
        for (char *p = name; *p != '\0'; p++)
            *p = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
        value = colon < line.n ? str_trim(str_slice(line, colon + 1, line.n)) : STR("");
        json_object_set_new(o, name, json_stringn(value.p, value.n));
        rest = str_slice(rest, eol < rest.n ? eol + 1 : eol, rest.n);
    }
    return o;
}

static json_t *
call_json(const struct sim_truth *t, const struct sim_call *c)
{
    json_t *o = json_pack("{s:I, s:s, s:s, s:i, s:b, s:s, s:s, s:o}", "id", (json_int_t)c->id,
        "kind", kind_names[c->kind], "outcome", outcome_names[c->outcome], "status", c->status,
        "stream", c->stream, "model", c->model, "path", c->path, "key", key_json(t, c->key));

    json_object_set_new(o, "usage", tokens_json(&c->usage));
    json_object_set_new(o, "head_delivered", json_boolean(c->head_delivered));
    json_object_set_new(o, "usage_delivered", json_boolean(c->usage_delivered));
    json_object_set_new(o, "generated_output", json_integer(c->generated_output));
    json_object_set_new(o, "events", json_integer(c->events));
    json_object_set_new(o, "request_bytes", json_integer((json_int_t)c->request_bytes));
    json_object_set_new(o, "bytes_sent", json_integer((json_int_t)c->bytes_sent));
    json_object_set_new(
        o, "bytes_acked", c->bytes_acked < 0 ? json_null() : json_integer(c->bytes_acked));
    json_object_set_new(o, "began_ms", json_integer(c->began_ms));
    json_object_set_new(o, "ended_ms", json_integer(c->ended_ms));
    json_object_set_new(o, "headers", headers_json(c->headers));
    return o;
}

void
sim_truth_stats(struct sim_truth *t, struct sim_call *const *open, size_t open_n, struct buf *ret)
{
    json_t *root = json_object(), *rows = json_array(), *calls = json_array();
    uint64_t kept = t->calls_ended < t->calls_room ? t->calls_ended : t->calls_room;
    AUTO_FREE char *text = NULL;

    for (size_t i = 0; i < t->rows_n; i++)
        json_array_append_new(rows, row_json(t, &t->rows[i]));
    for (uint64_t i = t->calls_ended - kept; i < t->calls_ended; i++)
        json_array_append_new(calls, call_json(t, &t->calls[i % t->calls_room]));
    for (size_t i = 0; i < open_n; i++)
        json_array_append_new(calls, call_json(t, open[i]));
    json_object_set_new(root, "keys", rows);
    json_object_set_new(root, "unauthorized", json_integer((json_int_t)t->unauthorized));
    json_object_set_new(root, "calls_ended", json_integer((json_int_t)t->calls_ended));
    json_object_set_new(root, "calls", calls);
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    buf_add(ret, str_from_cstr(text));
}
