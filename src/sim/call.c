/* The demo client: what an agent does, in its smallest form. Reads nothing but its environment. */
#include "sim/sim.h"

#include "base/buf.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <jansson.h>
#include <sodium.h>

enum { LINE_MAX_BYTES = 4 * 1024 * 1024, WHOLE_MAX_BYTES = 1024 * 1024 };

struct call {
    bool openai;
    const char *base, *key, *model, *prompt;
    CURL *curl;
    struct buf line;  /* the line of the stream that is coming in */
    struct buf other; /* the body of an answer that is no stream: an error */
    struct buf error; /* the vendor's sentence */
    bool complete, printed;
    json_int_t input, output, cache_read, cache_write;
};

static const char *
first_of(const char *const *names)
{
    for (; *names != NULL; names++) {
        const char *value = getenv(*names);

        if (value != NULL && !str_is_blank(str_from_cstr(value)))
            return value;
    }
    return NULL;
}

static bool
read_environment(struct call *c)
{
    static const char *const models[] = {"ANTHROPIC_MODEL", "MOLECULE_MODEL", "MODEL", NULL};

    c->base = getenv("ANTHROPIC_BASE_URL");
    c->key = getenv("ANTHROPIC_API_KEY");
    if (c->base == NULL || c->key == NULL) {
        c->openai = true;
        c->base = getenv("OPENAI_BASE_URL");
        c->key = getenv("OPENAI_API_KEY");
    }
    c->model = first_of(models);
    if (c->base == NULL || c->key == NULL || c->model == NULL) {
        fputs("purser sim call: the environment has no base URL and key (ANTHROPIC_BASE_URL and\n"
              "ANTHROPIC_API_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY), or no model (MODEL)\n",
            stderr);
        return false;
    }
    return true;
}

/* ---- the stream ---- */

static void
take_number(json_t *o, const char *name, json_int_t *to)
{
    json_t *n = json_object_get(o, name);

    if (json_is_integer(n))
        *to = json_integer_value(n);
}

static void
take_usage(struct call *c, json_t *usage)
{
    take_number(usage, "input_tokens", &c->input);
    take_number(usage, "output_tokens", &c->output);
    take_number(usage, "cache_read_input_tokens", &c->cache_read);
    take_number(usage, "cache_creation_input_tokens", &c->cache_write);
    take_number(usage, "prompt_tokens", &c->input);
    take_number(usage, "completion_tokens", &c->output);
}

static void
print_text(struct call *c, json_t *text)
{
    const char *s = json_string_value(text);

    if (s == NULL || *s == '\0')
        return;
    fputs(s, stdout);
    fflush(stdout);
    c->printed = true;
}

static void
take_error(struct call *c, json_t *root)
{
    const char *message =
        json_string_value(json_object_get(json_object_get(root, "error"), "message"));

    if (message != NULL && c->error.n == 0)
        buf_add(&c->error, str_from_cstr(message));
}

/* One event of either dialect. */
static void
take_event(struct call *c, struct str data)
{
    json_t *root, *choice;
    const char *type;

    if (str_equal(data, STR("[DONE]"))) {
        c->complete = true;
        return;
    }
    root = json_loadb(data.p, data.n, 0, NULL);
    type = json_string_value(json_object_get(root, "type"));
    c->complete |= type != NULL && strcmp(type, "message_stop") == 0;
    take_error(c, root);
    take_usage(c, json_object_get(json_object_get(root, "message"), "usage"));
    take_usage(c, json_object_get(root, "usage"));
    print_text(c, json_object_get(json_object_get(root, "delta"), "text"));
    choice = json_array_get(json_object_get(root, "choices"), 0);
    print_text(c, json_object_get(json_object_get(choice, "delta"), "content"));
    json_decref(root);
}

static void
take_line(struct call *c)
{
    struct str line = str_trim(buf_str(&c->line));

    if (str_starts_with(line, STR("data:")))
        take_event(c, str_trim(str_slice(line, 5, line.n)));
    buf_clear(&c->line);
}

static size_t
take_bytes(char *p, size_t size, size_t n, void *arg)
{
    struct call *c = arg;
    struct str rest = {p, size * n};
    long status = 0;

    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        buf_add(&c->other, rest);
        return size * n;
    }
    while (rest.n > 0) {
        size_t eol = str_find_char(rest, '\n');

        buf_add(&c->line, str_slice(rest, 0, eol));
        if (!buf_ok(&c->line))
            return 0;
        if (eol == rest.n)
            break;
        take_line(c);
        rest = str_slice(rest, eol + 1, rest.n);
    }
    return size * n;
}

/* ---- the request ---- */

static char *
request_body(const struct call *c)
{
    json_t *root = json_pack("{s:s, s:i, s:b, s:[{s:s, s:s}]}", "model", c->model, "max_tokens",
        1024, "stream", 1, "messages", "role", "user", "content", c->prompt);
    char *text;

    if (root == NULL)
        return NULL; /* not UTF-8 */
    if (c->openai)
        json_object_set_new(root, "stream_options", json_pack("{s:b}", "include_usage", 1));
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static struct curl_slist *
request_headers(const struct call *c)
{
    struct curl_slist *list = NULL;
    AUTO_BUF struct buf b;

    buf_init(&b, 8192);
    buf_addf(&b, c->openai ? "authorization: Bearer %s" : "x-api-key: %s", c->key);
    list = curl_slist_append(list, buf_cstr(&b));
    buf_wipe(&b);
    list = curl_slist_append(list, "content-type: application/json");
    return c->openai ? list : curl_slist_append(list, "anthropic-version: 2023-06-01");
}

static void
wipe_headers(struct curl_slist *list)
{
    for (struct curl_slist *l = list; l != NULL; l = l->next)
        sodium_memzero(l->data, strlen(l->data));
    curl_slist_free_all(list);
}

static CURLcode
perform(struct call *c, const char *body)
{
    struct curl_slist *headers = request_headers(c);
    AUTO_BUF struct buf url;
    CURLcode code;

    buf_init(&url, 8192);
    buf_addf(&url, "%s%s", c->base, c->openai ? "/chat/completions" : "/v1/messages");
    curl_easy_setopt(c->curl, CURLOPT_URL, buf_cstr(&url));
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_bytes);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    code = curl_easy_perform(c->curl);
    wipe_headers(headers);
    return code;
}

/* Says how it went; returns the exit code. */
static int
conclude(struct call *c, CURLcode code)
{
    long status = 0;
    json_t *root;

    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (c->printed)
        putchar('\n');
    fflush(stdout);
    if (status != 0 && status != 200) {
        root = json_loadb(buf_str(&c->other).p, c->other.n, 0, NULL);
        take_error(c, root);
        json_decref(root);
        fprintf(stderr, "purser sim call: %ld: %s\n", status,
            c->error.n > 0 ? buf_cstr(&c->error) : "an answer without a sentence");
        return 1;
    }
    if (c->error.n > 0 || code != CURLE_OK || !c->complete) {
        fprintf(stderr, "purser sim call: %s\n",
            c->error.n > 0         ? buf_cstr(&c->error)
                : code != CURLE_OK ? curl_easy_strerror(code)
                                   : "the answer broke off");
        return 1;
    }
    fprintf(stderr,
        "usage: model=%s input=%" JSON_INTEGER_FORMAT " output=%" JSON_INTEGER_FORMAT
        " cache_read=%" JSON_INTEGER_FORMAT " cache_write=%" JSON_INTEGER_FORMAT "\n",
        c->model, c->input, c->output, c->cache_read, c->cache_write);
    return 0;
}

int
sim_call_main(int argc, char **argv)
{
    struct call c = {.prompt = argc > 1 ? argv[1] : "Say hello."};
    AUTO_FREE char *body = NULL;
    int code;

    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts(
            "usage: purser sim call [PROMPT]\n\nOne streamed call, told by the environment alone.");
        return 0;
    }
    if (!read_environment(&c))
        return 2;
    body = request_body(&c);
    if (body == NULL) {
        fputs("purser sim call: model and prompt must be UTF-8\n", stderr);
        return 2;
    }
    buf_init(&c.line, LINE_MAX_BYTES);
    buf_init(&c.other, WHOLE_MAX_BYTES);
    buf_init(&c.error, WHOLE_MAX_BYTES);
    c.curl = curl_easy_init();
    ENSURE(c.curl != NULL);
    code = conclude(&c, perform(&c, body));
    curl_easy_cleanup(c.curl);
    buf_done(&c.line);
    buf_done(&c.other);
    buf_done(&c.error);
    return code;
}
