#include "api/http.h"

#include "api/json.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <sodium.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum {
    CONNECTION_TIMEOUT_S = 120,
    CONNECTION_MEMORY_BYTES = 64 * 1024,
    THREAD_STACK_BYTES = 1024 * 1024,
    STREAM_BLOCK_BYTES = 16 * 1024,
    /* A body behind an answer that stands already is read and dropped up to here, then cut off. */
    DISCARD_MAX_BYTES = 4 * 1024 * 1024,
};

struct http_server {
    struct http_options options;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
    struct MHD_Daemon *daemon;
};

/* One request's state on our side of libmicrohttpd. */
struct exchange {
    struct http_request request;
    struct buf body;
    size_t max_body;
    size_t discarded;
    bool begun;
    bool answered; /* the answer stands; the rest of the body is dropped */
};

const char *
http_method_name(enum http_method m)
{
    static const char *const names[HTTP_METHOD_COUNT] = {
        "GET", "POST", "PUT", "PATCH", "DELETE", "OTHER"};

    return names[m];
}

static enum http_method
method_from_name(const char *name)
{
    for (int m = 0; m < HTTP_OTHER; m++) {
        if (strcmp(name, http_method_name(m)) == 0)
            return m;
    }
    return strcmp(name, "HEAD") == 0 ? HTTP_GET : HTTP_OTHER;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False on a cut or bad escape and on NUL. */
static bool
percent_decode(struct arena *a, struct str s, bool plus_is_space, struct str *ret)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];

        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
            int low = i + 2 < s.n ? hex_digit(s.p[i + 2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return false;
        out[n++] = c;
    }
    *ret = (struct str){out, n};
    return true;
}

static void
split_target(struct http_request *r, struct str target)
{
    size_t mark = str_find_char(target, '?');
    struct str rest;

    r->path = str_slice(target, 0, mark);
    r->query = mark < target.n ? str_slice(target, mark + 1, target.n) : STR_NONE;
    if (r->path.n == 0 || r->path.p[0] != '/') {
        r->path_bad = true;
        return;
    }
    rest = str_slice(r->path, 1, r->path.n);
    for (;;) {
        size_t slash = str_find_char(rest, '/');

        if (r->segments_n == HTTP_SEGMENTS_MAX ||
            !percent_decode(
                &r->arena, str_slice(rest, 0, slash), false, &r->segments[r->segments_n])) {
            r->path_bad = true;
            return;
        }
        r->segments_n++;
        if (slash == rest.n)
            return;
        rest = str_slice(rest, slash + 1, rest.n);
    }
}

static void *
on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (x == NULL)
        return NULL;
    arena_init(&x->request.arena);
    x->request.connection = connection;
    split_target(&x->request, arena_dup(&x->request.arena, str_from_cstr(uri)));
    return x;
}

static void
on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
    enum MHD_RequestTerminationCode code)
{
    struct exchange *x = *con_cls;

    if (x == NULL)
        return;
    *con_cls = NULL;
    if (x->request.stream_done != NULL)
        x->request.stream_done(x->request.stream_ctx);
    json_decref(x->request.answer);
    if (x->request.file.there)
        close(x->request.file.fd);
    if (x->begun) {
        buf_wipe(&x->body);
        buf_done(&x->body);
    }
    arena_done(&x->request.arena);
    free(x);
}

struct str
http_header_get(const struct http_request *r, const char *name)
{
    if (r->connection == NULL)
        return STR_NONE;
    return str_from_cstr(MHD_lookup_connection_value(r->connection, MHD_HEADER_KIND, name));
}

bool
http_query_get(struct http_request *r, struct str name, struct str *ret)
{
    struct str rest = r->query;

    while (rest.n > 0) {
        size_t end = str_find_char(rest, '&');
        struct str pair = str_slice(rest, 0, end);
        size_t equals = str_find_char(pair, '=');

        if (str_equal(str_slice(pair, 0, equals), name)) {
            struct str value = equals < pair.n ? str_slice(pair, equals + 1, pair.n) : STR("");

            return percent_decode(&r->arena, value, true, ret);
        }
        rest = end < rest.n ? str_slice(rest, end + 1, rest.n) : STR_NONE;
    }
    return false;
}

struct str
http_client(const struct http_request *r)
{
    struct str address = http_header_get(r, "X-Real-IP");

    return address.n == 0 || address.n > 64 ? STR("-") : address;
}

void
http_header_set(struct http_request *r, const char *name, struct str value)
{
    ENSURE(r->headers_n < HTTP_HEADERS_MAX);
    r->headers[r->headers_n++] = (struct http_header){name, arena_dup(&r->arena, value)};
}

void
http_stream(struct http_request *r, const char *type, http_stream_fn *next, void (*done)(void *ctx),
    void *ctx)
{
    ENSURE(r->may_stream);
    r->status = 200;
    r->stream_type = type;
    r->stream_next = next;
    r->stream_done = done;
    r->stream_ctx = ctx;
}

static ssize_t
read_stream(void *cls, uint64_t pos, char *room, size_t n)
{
    struct http_request *r = cls;
    ssize_t got = r->stream_next(r->stream_ctx, room, n);

    return got == HTTP_STREAM_END ? MHD_CONTENT_READER_END_OF_STREAM : got;
}

static struct MHD_Response *
make_response(struct http_request *r)
{
    struct MHD_Response *response;
    char *text;

    if (r->file.there) {
        r->file.there = false; /* libmicrohttpd closes it from here on */
        response = MHD_create_response_from_fd64(r->file.bytes, r->file.fd);
        if (response == NULL)
            close(r->file.fd);
        return response;
    }
    if (r->stream_next != NULL)
        return MHD_create_response_from_callback(
            MHD_SIZE_UNKNOWN, STREAM_BLOCK_BYTES, read_stream, r, NULL);
    text = r->answer == NULL ? NULL : json_dumps(r->answer, JSON_COMPACT);
    if (text == NULL)
        return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    /* The text comes from jansson's wiping allocator and goes back there. */
    response =
        MHD_create_response_from_buffer_with_free_callback(strlen(text), text, json_wiping_free);
    if (response == NULL)
        json_wiping_free(text);
    return response;
}

static enum MHD_Result
send_answer(struct MHD_Connection *connection, struct exchange *x, bool cut_off)
{
    struct http_request *r = &x->request;
    struct MHD_Response *response = make_response(r);
    enum MHD_Result sent;

    if (response == NULL)
        return MHD_NO;
    if (r->stream_next != NULL)
        MHD_add_response_header(response, "Content-Type", r->stream_type);
    else if (r->file.type != NULL)
        MHD_add_response_header(response, "Content-Type", r->file.type);
    else if (r->answer != NULL)
        MHD_add_response_header(response, "Content-Type", "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (cut_off)
        MHD_add_response_header(response, "Connection", "close");
    for (size_t i = 0; i < r->headers_n; i++)
        MHD_add_response_header(response, r->headers[i].name, r->headers[i].value.p);
    sent = MHD_queue_response(connection, r->status == 0 ? 500 : (unsigned)r->status, response);
    MHD_destroy_response(response);
    return sent;
}

/* The headers are there. Sends at once only what must not wait for the body. */
static enum MHD_Result
begin(struct http_server *s, struct exchange *x, struct MHD_Connection *connection)
{
    struct str length_text = http_header_get(&x->request, "Content-Length");
    char *end = NULL;
    unsigned long long length = length_text.n == 0 ? 0 : strtoull(length_text.p, &end, 10);

    x->begun = true;
    x->answered = !s->options.begin(s->options.ctx, &x->request, &x->max_body);
    buf_init(&x->body, x->max_body + 1);
    if (!x->answered && length > x->max_body) {
        s->options.too_large(s->options.ctx, &x->request, x->max_body);
        x->answered = true;
    }
    if (x->answered && length > DISCARD_MAX_BYTES)
        return send_answer(connection, x, true);
    /* All the room at once: growing would leave copies behind that nobody wipes. */
    if (!x->answered && (length > 0 || http_header_get(&x->request, "Transfer-Encoding").n > 0))
        (void)buf_reserve(&x->body, length > 0 ? (size_t)length : x->max_body);
    return MHD_YES;
}

static enum MHD_Result
take_body(struct http_server *s, struct exchange *x, const char *data, size_t *n)
{
    struct str piece = {data, *n};

    if (x->answered) {
        x->discarded += piece.n;
        if (x->discarded > DISCARD_MAX_BYTES)
            return MHD_NO;
    } else if (piece.n > x->max_body - x->body.n) {
        s->options.too_large(s->options.ctx, &x->request, x->max_body);
        x->answered = true;
    } else {
        buf_add(&x->body, piece);
    }
    /* The piece lies in the connection's own read buffer, which nothing else wipes. */
    sodium_memzero((char *)(uintptr_t)data, piece.n);
    *n = 0;
    return MHD_YES;
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *upload_data, size_t *upload_data_size, void **con_cls)
{
    struct http_server *s = cls;
    struct exchange *x = *con_cls;

    if (x == NULL)
        return MHD_NO;
    if (!x->begun) {
        x->request.method = method_from_name(method);
        x->request.may_stream = s->options.streams;
        return begin(s, x, connection);
    }
    if (*upload_data_size > 0)
        return take_body(s, x, upload_data, upload_data_size);
    if (!x->answered) {
        x->request.body = buf_str(&x->body);
        s->options.handle(s->options.ctx, &x->request);
        buf_wipe(&x->body);
        x->request.body = STR_NONE;
    }
    return send_answer(connection, x, false);
}

/* A bound, listening, close-on-exec socket, with its mode set before anybody can connect. */
static enum err
listen_unix(const struct http_options *o, struct http_server *s, int *ret, struct error *e)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t mode = o->socket_mode == 0 ? 0600 : o->socket_mode;

    if (fd < 0)
        return fail_errno(e, ERR_IO, "making the API's socket");
    if (o->socket_path.n == 0 || o->socket_path.n >= sizeof(address.sun_path)) {
        return fail(e, ERR_SETTINGS_INVALID, "the socket path %.*s has %zu bytes, at most %zu fit",
            STR_ARG(o->socket_path), o->socket_path.n, sizeof(address.sun_path) - 1);
    }
    memcpy(address.sun_path, o->socket_path.p, o->socket_path.n);
    memcpy(s->path, address.sun_path, sizeof(s->path));
    /* The daemon holds the state directory's lock, so a socket that is there is a left-over. */
    if (unlink(s->path) != 0 && errno != ENOENT)
        return fail_errno(e, ERR_IO, "removing the old socket %s", s->path);
    /* fchmod before bind() keeps every other user out from the start on Linux. */
    if (fchmod(fd, mode) != 0)
        return fail_errno(e, ERR_IO, "setting the mode of %s", s->path);
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        return fail_errno(e, ERR_IO, "binding %s", s->path);
    if ((mode & 0070) != 0 && chown(s->path, (uid_t)-1, o->socket_gid) != 0)
        return fail_errno(e, ERR_IO, "giving %s to group %u", s->path, o->socket_gid);
    if (chmod(s->path, mode) != 0)
        return fail_errno(e, ERR_IO, "setting the mode of %s", s->path);
    if (listen(fd, 128) != 0)
        return fail_errno(e, ERR_IO, "listening on %s", s->path);
    *ret = TAKE_FD(fd);
    return ERR_OK;
}

enum err
http_start(const struct http_options *o, struct http_server **ret, struct error *e)
{
    AUTO_FREE struct http_server *s = calloc(1, sizeof(*s));
    AUTO_CLOSE int fd = -1;
    enum err code;

    ENSURE(s != NULL);
    s->options = *o;
    code = listen_unix(o, s, &fd, e);
    if (code != ERR_OK)
        return code;
    /*
     * A thread per connection, not a pool: starting and stopping agents may take seconds, and a
     * pool thread would hold up the other keep-alive connections it owns meanwhile.
     */
    s->daemon = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL,
        NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_URI_LOG_CALLBACK, on_uri, s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_CONNECTION_LIMIT,
        o->connections_max == 0 ? 64U : o->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK_BYTES,
        MHD_OPTION_END);
    if (s->daemon == NULL)
        return fail(e, ERR_INTERNAL, "the HTTP server did not start on %s", s->path);
    (void)TAKE_FD(fd); /* libmicrohttpd closes it */
    *ret = TAKE(s);
    return ERR_OK;
}

void
http_stop(struct http_server *s)
{
    if (s == NULL)
        return;
    MHD_stop_daemon(s->daemon);
    unlink(s->path);
    free(s);
}
