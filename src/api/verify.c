#include "api/verify.h"

#include "base/buf.h"

#include <curl/curl.h>
#include <sodium.h>

enum {
    CONNECT_MS = 2000,
    WHOLE_MS = 5000,
    CACHE_N = 512,
    KEY_BYTES = 32,
    GOOD_FOR_MS = 3600 * 1000,
    BAD_FOR_MS = 60 * 1000,
    UNKNOWN_FOR_MS = 30 * 1000,
};

struct kept {
    uint8_t key[KEY_BYTES]; /* of the value's fingerprint and the URL that was asked */
    enum verify_result result;
    int64_t until_ms; /* monotonic */
};

struct verifier {
    pthread_mutex_t lock;
    struct kept kept[CACHE_N];
};

const char *
verify_result_name(enum verify_result r)
{
    static const char *const names[VERIFY_RESULT_COUNT] = {"not asked", "good", "bad", "unknown"};

    return names[r];
}

struct verifier *
verifier_new(void)
{
    struct verifier *v = calloc(1, sizeof(*v));

    ENSURE(v != NULL);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    pthread_mutex_init(&v->lock, NULL);
    return v;
}

void
verifier_free(struct verifier *v)
{
    if (v == NULL)
        return;
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* --- what is known --------------------------------------------------------------------------- */

static struct kept *
slot_of(struct verifier *v, const uint8_t key[static KEY_BYTES])
{
    return &v->kept[(key[0] | key[1] << 8) % CACHE_N];
}

static bool
recall(struct verifier *v, const uint8_t key[static KEY_BYTES], enum verify_result *ret)
{
    struct kept *k = slot_of(v, key);
    bool found;

    pthread_mutex_lock(&v->lock);
    found = k->until_ms > clock_monotonic_ms() && memcmp(k->key, key, KEY_BYTES) == 0;
    if (found)
        *ret = k->result;
    pthread_mutex_unlock(&v->lock);
    return found;
}

static void
remember(struct verifier *v, const uint8_t key[static KEY_BYTES], enum verify_result result)
{
    int64_t good_for = result == VERIFY_GOOD ? GOOD_FOR_MS
        : result == VERIFY_BAD               ? BAD_FOR_MS
                                             : UNKNOWN_FOR_MS;
    struct kept *k = slot_of(v, key);

    pthread_mutex_lock(&v->lock);
    memcpy(k->key, key, KEY_BYTES);
    k->result = result;
    k->until_ms = clock_monotonic_ms() + good_for;
    pthread_mutex_unlock(&v->lock);
}

/* --- the call -------------------------------------------------------------------------------- */

/* The registry's own URL, or (demos and tests) the same path at the vendors' stand-in. */
static struct str
url_of(const struct api *a, struct arena *arena, const struct registry *r,
    const struct registry_provider *p)
{
    struct str base = registry_str(r, p->endpoint[p->verify.dialect].base_url);
    struct str path = registry_str(r, p->verify.path);
    struct str over = a->o.vendor_override_url, behind_host;

    if (over.n == 0)
        return arena_printf(arena, "%.*s%.*s", STR_ARG(base), STR_ARG(path));
    while (str_ends_with(over, STR("/")))
        over.n--;
    behind_host = str_slice(base, str_find_char(base, ':') + 3, base.n); /* https:// */
    behind_host = str_slice(behind_host, str_find_char(behind_host, '/'), behind_host.n);
    return arena_printf(arena, "%.*s%.*s%.*s", STR_ARG(over), STR_ARG(behind_host), STR_ARG(path));
}

static size_t
ignore_body(char *p, size_t size, size_t n, void *ctx)
{
    return size * n;
}

static const char *
header_prefix(enum auth_header header)
{
    switch (header) {
    case AUTH_HEADER_X_API_KEY:
        return "x-api-key: ";
    case AUTH_HEADER_API_KEY:
        return "api-key: ";
    case AUTH_HEADER_X_GOOG:
        return "x-goog-api-key: ";
    case AUTH_HEADER_BEARER:
    case AUTH_HEADER_OAUTH_BEARER:
        return "authorization: Bearer ";
    default:
        return NULL;
    }
}

static void
headers_free(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h != NULL; h = h->next)
        sodium_memzero(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

/* NULL: a value that cannot stand in a header, which is none that a vendor gave out. */
static struct curl_slist *
headers_make(enum auth_header header, enum dialect dialect, struct str value)
{
    struct curl_slist *headers = NULL;
    AUTO_BUF struct buf line = {0};

    for (size_t i = 0; i < value.n; i++) {
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f)
            return NULL;
    }
    buf_init(&line, value.n + 64);
    buf_addf(&line, "%s%.*s", header_prefix(header), STR_ARG(value));
    headers = curl_slist_append(headers, buf_cstr(&line));
    buf_wipe(&line);
    if (dialect == DIALECT_ANTHROPIC)
        headers = curl_slist_append(headers, "anthropic-version: 2023-06-01");
    if (header == AUTH_HEADER_OAUTH_BEARER)
        headers = curl_slist_append(headers, "anthropic-beta: oauth-2025-04-20");
    ENSURE(headers != NULL);
    return headers;
}

/* The status, or 0 when there was none in time. */
static long
ask(struct str url, struct curl_slist *headers)
{
    CURL *curl = curl_easy_init();
    long status = 0;

    ENSURE(curl != NULL);
    curl_easy_setopt(curl, CURLOPT_URL, url.p);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    /* Nothing of the server's own environment takes part. */
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)WHOLE_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore_body);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "purser/" PURSER_VERSION);
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    return status;
}

static enum verify_result
call(struct str url, enum auth_header header, enum dialect dialect, struct str value)
{
    struct curl_slist *headers = headers_make(header, dialect, value);
    long status;

    if (headers == NULL)
        return VERIFY_BAD;
    status = ask(url, headers);
    headers_free(headers);
    if (status == 401 || status == 403)
        return VERIFY_BAD;
    return status >= 200 && status < 300 ? VERIFY_GOOD : VERIFY_UNKNOWN;
}

static enum verify_result
check(struct api *a, const struct registry *r, const struct registry_provider *p, struct str value)
{
    AUTO_ARENA struct arena arena = {0};
    enum dialect dialect = (enum dialect)p->verify.dialect;
    enum auth_header header = (enum auth_header)p->endpoint[dialect].header;
    struct str url = url_of(a, &arena, r, p);
    uint8_t print[VAULT_FINGERPRINT_BYTES], key[KEY_BYTES];
    enum verify_result result;

    vault_fingerprint(a->o.vault, value, print);
    crypto_generichash(key, sizeof(key), (const unsigned char *)url.p, url.n, print, sizeof(print));
    if (recall(a->verifier, key, &result))
        return result;
    result = call(url, header, dialect, str_trim(value));
    remember(a->verifier, key, result);
    return result;
}

/* --- which credential ------------------------------------------------------------------------ */

/* Calls that go to a URL of the workspace's own say nothing of the provider, nor is that URL asked. */
static bool
is_redirected(const struct registry *r, const struct registry_provider *p, const struct gathered *g)
{
    for (size_t i = 0; i < g->secrets_n; i++) {
        const struct env_secret *s = &g->secrets[i];

        /* An inherited one is stripped and redirects nothing. */
        if (s->scope == ENV_SCOPE_WORKSPACE && !s->value_blank &&
            registry_list_has_name(r, p->base_url_env, s->name))
            return true;
    }
    return false;
}

struct verify_outcome
verify_value(struct api *a, const struct registry *r, const struct gathered *g, struct str name,
    struct str value)
{
    const struct registry_provider *p = g->decision.provider;
    struct verify_outcome out = {.result = VERIFY_NOT_ASKED, .name = name};

    if (a->o.verify_credentials == VERIFY_OFF || g->decision.mode != BILLING_BYOK || p == NULL ||
        !p->verify.present || !registry_list_has_name(r, p->auth_env, name) ||
        str_is_blank(value) || is_redirected(r, p, g) ||
        header_prefix((enum auth_header)p->endpoint[p->verify.dialect].header) == NULL)
        return out;
    out.result = check(a, r, p, value);
    if (out.result != VERIFY_BAD)
        return out;
    (void)!fail(&out.problem, ERR_INVALID_BYOK_CREDENTIAL,
        "provider %.*s does not accept the value of %.*s; store a valid one (purser secret set), "
        "or "
        "choose a model of another provider",
        STR_ARG(registry_str(r, p->name)), STR_ARG(name));
    return out;
}

struct verify_outcome
verify_plan(struct api *a, const struct registry *r, const struct gathered *g, const struct plan *p)
{
    for (size_t i = 0; i < g->secrets_n; i++) {
        if (str_equal(g->secrets[i].name, p->env.credential) && g->values[i] != NULL)
            return verify_value(a, r, g, g->secrets[i].name, secret_expose(g->values[i]));
    }
    return (struct verify_outcome){.result = VERIFY_NOT_ASKED};
}

enum err
verify_refusal(const struct api *a, const struct verify_outcome *o, struct error *e)
{
    if (o->result != VERIFY_BAD || a->o.verify_credentials != VERIFY_REFUSE)
        return ERR_OK;
    *e = o->problem;
    return e->code;
}

json_t *
verify_warning(const struct api *a, const struct verify_outcome *o)
{
    if (o->result != VERIFY_BAD || a->o.verify_credentials == VERIFY_REFUSE)
        return NULL;
    return json_pack("{s:s, s:o}", "code", err_name(o->problem.code), "text",
        json_str(str_from_cstr(o->problem.text)));
}
