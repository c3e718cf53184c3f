#include "launch/engine.h"

#include "base/buf.h"
#include "launch/pull.h"

#include <curl/curl.h>
#include <jansson.h>
#include <sys/resource.h>

#define API "http://engine/v1.41"

enum {
    ANSWER_MAX_BYTES = 1 << 20,
    CALL_TIMEOUT_S = 60,
    PULL_TIMEOUT_S = 1800,
    MAX_FILES_SOFT = 8192,
    MAX_FILES_HARD = 65536,
    MAX_PROCESSES = 4096,
};

struct call {
    const char *socket;
    const char *method;
    const char *url;
    const char *body; /* NULL: none */
    long timeout_s;
    curl_write_callback write;
    void *write_ctx;
    long status;
};

static void
cleanup_curl(CURL **h)
{
    curl_easy_cleanup(*h);
}

static void
cleanup_json(json_t **j)
{
    json_decref(*j);
}

static void
cleanup_headers(struct curl_slist **l)
{
    curl_slist_free_all(*l);
}

static size_t
collect(char *bytes, size_t size, size_t n, void *into)
{
    struct buf *b = into;

    buf_add(b, (struct str){bytes, size * n});
    return buf_ok(b) ? size * n : 0;
}

static enum err
perform(struct call *c, struct error *e)
{
    AUTO(cleanup_curl) CURL *h = curl_easy_init();
    AUTO(cleanup_headers) struct curl_slist *headers = NULL;
    CURLcode result;

    headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (h == NULL || headers == NULL)
        return fail(e, ERR_OUT_OF_MEMORY, "no memory to call the container engine");
    curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, c->socket);
    curl_easy_setopt(h, CURLOPT_URL, c->url);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, c->method);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    if (strcmp(c->method, "GET") != 0)
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, c->body != NULL ? c->body : "");
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_TIMEOUT, c->timeout_s);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, c->write);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, c->write_ctx);
    result = curl_easy_perform(h);
    if (result == CURLE_COULDNT_CONNECT)
        return fail(e, ERR_LAUNCH_FAILED,
            "no container engine answers at %s: start it (podman system service, dockerd) or set "
            "container_engine",
            c->socket);
    if (result != CURLE_OK)
        return fail(e, ERR_LAUNCH_FAILED, "the container engine at %s: %s", c->socket,
            curl_easy_strerror(result));
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &c->status);
    return ERR_OK;
}

/* An error's body is {"message": ...}. */
static enum err
refused(const struct call *c, const struct buf *answer, const char *doing, struct error *e)
{
    AUTO(cleanup_json) json_t *body = json_loadb(buf_cstr(answer), answer->n, 0, NULL);
    const char *message = json_string_value(json_object_get(body, "message"));

    return fail(e, ERR_LAUNCH_FAILED, "the container engine refused (%ld) %s: %.250s", c->status,
        doing, message != NULL ? message : "it did not say why");
}

static enum err
call_engine(struct call *c, struct buf *answer, struct error *e)
{
    buf_init(answer, ANSWER_MAX_BYTES);
    c->write = collect;
    c->write_ctx = answer;
    if (c->timeout_s == 0)
        c->timeout_s = CALL_TIMEOUT_S;
    return perform(c, e);
}

/* API, the path before, what is named (escaped) and the path behind. */
static enum err
make_url(struct buf *url, const char *before, struct str name, const char *behind, struct error *e)
{
    char *escaped = curl_easy_escape(NULL, name.p, (int)name.n);

    buf_init(url, 4096);
    buf_addf(url, API "%s%s%s", before, escaped != NULL ? escaped : "", behind);
    curl_free(escaped);
    if (escaped == NULL || !buf_ok(url))
        return fail(e, ERR_LAUNCH_FAILED, "the name of an image or container is too long");
    return ERR_OK;
}

enum err
engine_has_image(const char *socket, struct str image, bool *ret, struct error *e)
{
    AUTO_BUF struct buf url = {0}, answer = {0};
    struct call c = {.socket = socket, .method = "GET"};

    if (make_url(&url, "/images/", image, "/json", e) != ERR_OK)
        return e->code;
    c.url = buf_cstr(&url);
    if (call_engine(&c, &answer, e) != ERR_OK)
        return e->code;
    if (c.status != 200 && c.status != 404)
        return refused(&c, &answer, "to look for the image", e);
    *ret = c.status == 200;
    return ERR_OK;
}

static size_t
pull_bytes(char *bytes, size_t size, size_t n, void *pull)
{
    return pull_feed(pull, (struct str){bytes, size * n}) ? size * n : 0;
}

enum err
engine_pull(
    const char *socket, struct str image, engine_progress_fn *progress, void *ctx, struct error *e)
{
    AUTO_BUF struct buf url = {0};
    AUTO(pull_done) struct pull p;
    struct call c = {.socket = socket,
        .method = "POST",
        .timeout_s = PULL_TIMEOUT_S,
        .write = pull_bytes,
        .write_ctx = &p};

    pull_init(&p, progress, ctx);
    if (make_url(&url, "/images/create?fromImage=", image, "", e) != ERR_OK)
        return e->code;
    c.url = buf_cstr(&url);
    if (perform(&c, e) != ERR_OK)
        return e->code;
    pull_end(&p);
    if (c.status != 200 || p.problem[0] != '\0')
        return fail(e, ERR_LAUNCH_FAILED, "cannot fetch image %.*s: %s", STR_ARG(image),
            p.problem[0] != '\0' ? p.problem : "the engine did not say why");
    return ERR_OK;
}

static json_t *
text(struct str s)
{
    return json_stringn(s.p == NULL ? "" : s.p, s.n);
}

static json_t *
binds(const struct engine_container *c)
{
    json_t *list = json_array();

    for (size_t i = 0; i < c->mounts_n; i++) {
        const struct engine_mount *m = &c->mounts[i];

        json_array_append_new(list,
            json_sprintf(
                "%.*s:%.*s%s", STR_ARG(m->from), STR_ARG(m->to), m->read_only ? ":ro" : ""));
    }
    return list;
}

/* Never more than we have ourselves: the engine may not be able to raise it. */
static json_t *
limit(const char *name, __rlimit_resource_t resource, rlim_t soft, rlim_t hard)
{
    struct rlimit now;

    if (getrlimit(resource, &now) == 0 && now.rlim_max < hard)
        hard = now.rlim_max;
    return json_pack("{s:s, s:I, s:I}", "Name", name, "Soft",
        (json_int_t)(soft < hard ? soft : hard), "Hard", (json_int_t)hard);
}

/* Said for each container: an engine's own defaults may be above what this machine allows. */
static json_t *
limits(void)
{
    return json_pack("[o, o]", limit("nofile", RLIMIT_NOFILE, MAX_FILES_SOFT, MAX_FILES_HARD),
        limit("nproc", RLIMIT_NPROC, MAX_PROCESSES, MAX_PROCESSES));
}

static json_t *
host_config(const struct engine_container *c)
{
    json_t *o = json_pack("{s:o, s:{s:s}, s:[s], s:[s], s:o, s:b}", "Binds", binds(c), "LogConfig",
        "Type", "none", "CapDrop", "ALL", "SecurityOpt", "no-new-privileges", "Ulimits", limits(),
        "Privileged", 0);

    if (c->network.n > 0)
        json_object_set_new(o, "NetworkMode", text(c->network));
    if (c->memory_bytes > 0)
        json_object_set_new(o, "Memory", json_integer(c->memory_bytes));
    if (c->cpu_millis > 0)
        json_object_set_new(o, "NanoCpus", json_integer(c->cpu_millis * 1000000));
    if (c->processes > 0)
        json_object_set_new(o, "PidsLimit", json_integer(c->processes));
    return o;
}

enum err
engine_create(const char *socket, const struct engine_container *c, struct error *e)
{
    AUTO_BUF struct buf url = {0}, answer = {0};
    AUTO(cleanup_json) json_t *body = NULL;
    AUTO_FREE char *dump = NULL;
    char workspace[ID_TEXT_BYTES], start[ID_TEXT_BYTES];
    struct call call = {.socket = socket, .method = "POST"};

    id_text(c->workspace, workspace);
    id_text(c->start, start);
    body = json_pack("{s:o, s:[o], s:[], s:[], s:s, s:{s:s, s:s}, s:o}", "Image", text(c->image),
        "Entrypoint", text(c->program), "Cmd", "Env", "WorkingDir", "/", "Labels",
        "purser.workspace", workspace, "purser.start", start, "HostConfig", host_config(c));
    if (c->uid != 0)
        json_object_set_new(body, "User", json_sprintf("%u:%u", c->uid, c->gid));
    dump = json_dumps(body, JSON_COMPACT);
    if (dump == NULL)
        return fail(e, ERR_INVALID_REQUEST, "the container's image or folders are no plain text");
    if (make_url(&url, "/containers/create?name=", c->name, "", e) != ERR_OK)
        return e->code;
    call.url = buf_cstr(&url);
    call.body = dump;
    if (call_engine(&call, &answer, e) != ERR_OK)
        return e->code;
    return call.status == 201 ? ERR_OK : refused(&call, &answer, "to make the container", e);
}

enum err
engine_start(const char *socket, struct str name, struct error *e)
{
    AUTO_BUF struct buf url = {0}, answer = {0};
    struct call c = {.socket = socket, .method = "POST"};

    if (make_url(&url, "/containers/", name, "/start", e) != ERR_OK)
        return e->code;
    c.url = buf_cstr(&url);
    if (call_engine(&c, &answer, e) != ERR_OK)
        return e->code;
    return c.status == 204 ? ERR_OK : refused(&c, &answer, "to start the container", e);
}

enum err
engine_inspect(const char *socket, struct str name, struct engine_state *ret, struct error *e)
{
    AUTO_BUF struct buf url = {0}, answer = {0};
    AUTO(cleanup_json) json_t *body = NULL;
    struct call c = {.socket = socket, .method = "GET"};
    const json_t *state;

    if (make_url(&url, "/containers/", name, "/json", e) != ERR_OK)
        return e->code;
    c.url = buf_cstr(&url);
    if (call_engine(&c, &answer, e) != ERR_OK)
        return e->code;
    if (c.status == 404) {
        *ret = (struct engine_state){0};
        return ERR_OK;
    }
    body = json_loadb(buf_cstr(&answer), answer.n, 0, NULL);
    state = json_object_get(body, "State");
    if (c.status != 200 || !json_is_object(state))
        return refused(&c, &answer, "to tell of the container", e);
    *ret = (struct engine_state){
        .exists = true,
        .running = json_is_true(json_object_get(state, "Running")),
        .pid = (int)json_integer_value(json_object_get(state, "Pid")),
        .exit_code = (int)json_integer_value(json_object_get(state, "ExitCode")),
    };
    return ERR_OK;
}

enum err
engine_remove(const char *socket, struct str name, struct error *e)
{
    AUTO_BUF struct buf url = {0}, answer = {0};
    struct call c = {.socket = socket, .method = "DELETE"};

    if (make_url(&url, "/containers/", name, "?force=true&v=true", e) != ERR_OK)
        return e->code;
    c.url = buf_cstr(&url);
    if (call_engine(&c, &answer, e) != ERR_OK)
        return e->code;
    if (c.status != 204 && c.status != 200 && c.status != 404)
        return refused(&c, &answer, "to take the container away", e);
    return ERR_OK;
}
