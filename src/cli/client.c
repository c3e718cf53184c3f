#include "cli/client_impl.h"

#include "api/json.h"
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum {
    BODY_MAX = 4 << 20,
    TOKEN_FILE_MAX = 4096,
    URL_BYTES = 2048,
};

static const char *
first_set(const char *option, const char *variable, const char *otherwise)
{
    const char *env;

    if (option != NULL)
        return option;
    env = getenv(variable);
    return env != NULL && env[0] != '\0' ? env : otherwise;
}

static enum err
read_token_file(const char *path, struct secret **ret, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[TOKEN_FILE_MAX];
    ssize_t n;
    enum err err;

    if (fd < 0)
        return fail_errno(e, ERR_USAGE, "the token file %s cannot be read", path);
    n = read(fd, text, sizeof(text));
    if (n < 0)
        return fail_errno(e, ERR_USAGE, "the token file %s cannot be read", path);
    err = secret_new(str_trim((struct str){text, (size_t)n}), ret, e);
    explicit_bzero(text, sizeof(text));
    return err;
}

static enum err
find_token(const struct client_options *o, struct secret **ret, struct error *e)
{
    static const char *const defaults[] = {"./var/admin-token", "/var/lib/purser/admin-token"};
    const char *env = getenv("PURSER_TOKEN");

    if (o->token_file != NULL)
        return read_token_file(o->token_file, ret, e);
    if (env != NULL && env[0] != '\0')
        return secret_new(str_trim(str_from_cstr(env)), ret, e);
    for (size_t i = 0; i < sizeof(defaults) / sizeof(defaults[0]); i++) {
        if (access(defaults[i], F_OK) == 0)
            return read_token_file(defaults[i], ret, e);
    }
    return fail(e, ERR_UNAUTHORIZED,
        "no token: give --token-file FILE or PURSER_TOKEN (tried ./var/admin-token and "
        "/var/lib/purser/admin-token); it is in the file admin-token of the server's state "
        "directory, which \"make run\" prints");
}

static char *
copy(const char *text)
{
    char *p = text == NULL ? NULL : strdup(text);

    ENSURE(text == NULL || p != NULL);
    return p;
}

enum err
client_open(const struct client_options *o, struct client **ret, struct error *e)
{
    AUTO_SECRET struct secret *token = NULL;
    const char *org = first_set(o->org, "PURSER_ORG", NULL);
    struct client *c;
    size_t n;
    enum err err;

    if (org != NULL && strpbrk(org, "\r\n") != NULL)
        return fail(e, ERR_USAGE, "the org's name has a line end in it");
    err = find_token(o, &token, e);
    if (err != ERR_OK)
        return err;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    c = calloc(1, sizeof(*c));
    ENSURE(c != NULL);
    client_disconnect(c);
    c->server = copy(first_set(o->server, "PURSER_SERVER", "http://127.0.0.1:8080"));
    n = strlen(c->server);
    while (n > 0 && c->server[n - 1] == '/')
        c->server[--n] = '\0';
    c->org = copy(org);
    c->token = TAKE(token);
    *ret = c;
    return ERR_OK;
}

void
client_disconnect(struct client *c)
{
    curl_easy_cleanup(c->curl);
    c->curl = curl_easy_init();
    ENSURE(c->curl != NULL);
}

void
client_close(struct client *c)
{
    if (c == NULL)
        return;
    curl_easy_cleanup(c->curl);
    secret_free(c->token);
    free(c->server);
    free(c->org);
    free(c->header);
    free(c);
}

/* Where an answer goes. */
struct sink {
    CURL *curl;
    struct buf *answer;
    FILE *out; /* NULL: all of it to answer; otherwise only what is a refusal */
};

static size_t
take_answer(char *p, size_t size, size_t n, void *ctx)
{
    struct sink *sink = ctx;
    long status = 0;

    curl_easy_getinfo(sink->curl, CURLINFO_RESPONSE_CODE, &status);
    if (sink->out != NULL && status >= 200 && status <= 299)
        return fwrite(p, 1, size * n, sink->out);
    buf_add(sink->answer, (struct str){p, size * n});
    return buf_ok(sink->answer) ? size * n : 0;
}

/* The list is curl's copy of the token: wiped before it is freed. */
void
client_headers_free(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

struct curl_slist *
client_headers(const struct client *c)
{
    struct curl_slist *headers = NULL;
    char line[TOKEN_FILE_MAX + 64];

    snprintf(line, sizeof(line), "Authorization: Bearer %.*s", STR_ARG(secret_expose(c->token)));
    headers = curl_slist_append(headers, line);
    explicit_bzero(line, sizeof(line));
    headers = curl_slist_append(headers, "Content-Type: application/json");
    headers = curl_slist_append(headers, "Expect:");
    if (c->org != NULL) {
        snprintf(line, sizeof(line), "X-Molecule-Org-Id: %s", c->org);
        headers = curl_slist_append(headers, line);
    }
    if (c->header != NULL)
        headers = curl_slist_append(headers, c->header);
    ENSURE(headers != NULL);
    return headers;
}

enum err
client_no_answer(const struct client *c, CURLcode code, const char *detail, struct error *e)
{
    if (code == CURLE_COULDNT_CONNECT)
        return fail(e, ERR_SERVER_UNREACHABLE,
            "nothing answers at %s: is purser running there? (--server, PURSER_SERVER)", c->server);
    if (code == CURLE_SSL_CONNECT_ERROR && strstr(detail, "wrong version number") != NULL)
        return fail(e, ERR_SERVER_UNREACHABLE, "%s does not speak TLS: is it http://?", c->server);
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL ||
        (code == CURLE_COULDNT_RESOLVE_HOST && strstr(c->server, "://") == NULL))
        return fail(e, ERR_SERVER_UNREACHABLE,
            "\"%s\" is no server: write http://HOST:PORT (--server, PURSER_SERVER)", c->server);
    return fail(e, ERR_SERVER_UNREACHABLE, "%s: %s", c->server,
        detail[0] == '\0' ? curl_easy_strerror(code) : detail);
}

void
client_set_up(struct client *c, const char *path, struct curl_slist *headers,
    char detail[static CURL_ERROR_SIZE])
{
    char url[URL_BYTES];

    snprintf(url, sizeof(url), "%s%s", c->server, path);
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, detail);
}

static enum err
send_request(struct client *c, const char *method, const char *path, struct str body,
    long *ret_status, struct buf *answer, FILE *out, struct error *e)
{
    struct curl_slist *headers = client_headers(c);
    struct sink sink = {c->curl, answer, out};
    char detail[CURL_ERROR_SIZE] = "";
    CURLcode code;

    client_set_up(c, path, headers, detail);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, out == NULL ? 120L : 24 * 3600L);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &sink);
    if (body.p != NULL) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE, (long)body.n);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body.p);
    }
    code = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, ret_status);
    client_headers_free(headers);
    return code == CURLE_OK ? ERR_OK : client_no_answer(c, code, detail, e);
}

enum err
client_refusal(long status, const json_t *answer, struct error *e)
{
    const char *code = json_string_value(json_object_get(answer, "code"));
    const char *text = json_string_value(json_object_get(answer, "error"));
    enum err known = err_from_name(str_from_cstr(code));

    if (text == NULL)
        return fail(e, ERR_SERVER_UNREACHABLE, "the server answered %ld without a reason", status);
    if (known == ERR_UNAUTHORIZED) {
        return fail(e, known,
            "%s; it was the first there is of --token-file, PURSER_TOKEN, ./var/admin-token and "
            "/var/lib/purser/admin-token",
            text);
    }
    if (known != ERR_OK)
        return fail(e, known, "%s", text);
    return fail(e, status == 404 ? ERR_NOT_FOUND : ERR_INVALID_REQUEST, "%s%s%s",
        code == NULL ? "" : code, code == NULL ? "" : ": ", text);
}

static enum err
call_once(struct client *c, const char *method, const char *path, struct str body, FILE *out,
    json_t **ret, struct error *e)
{
    AUTO_BUF struct buf answer;
    AUTO_JSON json_t *json = NULL;
    long status = 0;
    enum err err;

    buf_init(&answer, CLIENT_ANSWER_MAX);
    err = send_request(c, method, path, body, &status, &answer, out, e);
    if (err != ERR_OK)
        return err;
    if (answer.n > 0)
        json = json_loadb(answer.p, answer.n, JSON_DECODE_ANY, NULL);
    buf_wipe(&answer); /* a new credential's text may have been in it */
    if (status < 200 || status > 299)
        return client_refusal(status, json, e);
    if (ret != NULL)
        *ret = json == NULL ? json_null() : json_incref(json);
    return ERR_OK;
}

enum err
client_choose_only_org(struct client *c, struct error *e)
{
    AUTO_JSON json_t *answer = NULL;
    const json_t *orgs;
    enum err err = call_once(c, "GET", "/admin/orgs", STR_NONE, NULL, &answer, e);

    if (err != ERR_OK)
        return wrap(e, "looking up the org");
    orgs = client_rows(answer);
    if (json_array_size(orgs) == 0)
        return fail(e, ERR_ORG_REQUIRED, "the server has no org yet: purser org create SLUG");
    if (json_array_size(orgs) != 1)
        return fail(e, ERR_ORG_REQUIRED,
            "the server has %zu orgs: name one with --org or PURSER_ORG (purser org list)",
            json_array_size(orgs));
    c->org = copy(json_string_value(json_object_get(json_array_get(orgs, 0), "id")));
    return ERR_OK;
}

static enum err
call(struct client *c, const char *method, const char *path, struct str body, json_t **ret,
    struct error *e)
{
    enum err err = call_once(c, method, path, body, NULL, ret, e);

    if (err != ERR_ORG_REQUIRED || c->org != NULL)
        return err;
    err = client_choose_only_org(c, e);
    return err != ERR_OK ? err : call_once(c, method, path, body, NULL, ret, e);
}

enum err
client_call(struct client *c, const char *method, const char *path, const json_t *body,
    json_t **ret, struct error *e)
{
    AUTO_FREE char *text = NULL;
    size_t n;
    enum err err;

    if (body == NULL)
        return call(c, method, path, STR_NONE, ret, e);
    n = json_dumpb(body, NULL, 0, JSON_COMPACT);
    if (n > BODY_MAX)
        return fail(e, ERR_PAYLOAD_TOO_LARGE, "the request would have %zu bytes", n);
    text = calloc(1, n + 1);
    ENSURE(text != NULL);
    json_dumpb(body, text, n, JSON_COMPACT);
    err = call(c, method, path, (struct str){text, n}, ret, e);
    explicit_bzero(text, n);
    return err;
}

enum err
client_download(struct client *c, const char *path, FILE *out, struct error *e)
{
    return call_once(c, "GET", path, STR_NONE, out, NULL, e);
}

void
client_set_header(struct client *c, const char *line)
{
    free(c->header);
    c->header = copy(line);
}

const json_t *
client_rows(const json_t *answer)
{
    const char *key;
    json_t *value;

    if (!json_is_object(answer))
        return answer;
    json_object_foreach((json_t *)answer, key, value)
    {
        if (json_is_array(value))
            return value;
    }
    return NULL;
}

static void
add_encoded(struct buf *b, struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        unsigned char c = (unsigned char)value.p[i];

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
            strchr("-._~", c) != NULL)
            buf_add_char(b, (char)c);
        else
            buf_addf(b, "%%%02X", c);
    }
}

enum err
client_path(char *ret, size_t ret_bytes, struct error *e, const char *format, ...)
{
    AUTO_BUF struct buf path;
    va_list values;

    buf_init(&path, ret_bytes - 1);
    va_start(values, format);
    for (const char *p = format; *p != '\0'; p++) {
        if (p[0] == '%' && p[1] == 's') {
            add_encoded(&path, str_from_cstr(va_arg(values, const char *)));
            p++;
        } else {
            buf_add_char(&path, *p);
        }
    }
    va_end(values);
    if (!buf_ok(&path))
        return fail(e, ERR_USAGE, "a name on the command line is too long");
    memcpy(ret, buf_cstr(&path), path.n + 1);
    return ERR_OK;
}
