/*
 * HTTP over a Unix socket: the only file that knows libmicrohttpd. A request comes in whole (body
 * bounded before it is read), an answer goes out as JSON. Connections are served by threads of
 * their own, at most connections_max of them, so a slow handler holds up nobody else.
 *
 * Ownership: the request and everything in its arena live until the answer is sent. Request bodies
 * are wiped when the request ends: any of them may have carried a secret. So are answers.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "base/arena.h"
#include "base/buf.h"

#include <jansson.h>
#include <stdint.h>

enum http_method {
    HTTP_GET,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OTHER,
    HTTP_METHOD_COUNT
};

/* "GET" ...; "OTHER" for what we do not serve. */
const char *http_method_name(enum http_method m);

enum { HTTP_SEGMENTS_MAX = 8, HTTP_HEADERS_MAX = 8 };

struct http_header {
    const char *name;
    struct str value;
};

/*
 * Gives the next bytes of an answer that goes on: waits until there are some. HTTP_STREAM_END ends
 * it.
 */
typedef ssize_t http_stream_fn(void *ctx, char *room, size_t n);
enum { HTTP_STREAM_END = -1 };

struct http_request {
    struct arena arena;
    enum http_method method;
    struct str path;  /* as sent, without the query */
    struct str query; /* as sent, without '?' */
    /* The path's parts, percent-decoded. path_bad: it holds what no route can (NUL, too many
     * parts). */
    struct str segments[HTTP_SEGMENTS_MAX];
    size_t segments_n;
    bool path_bad;
    struct str body;  /* empty until the handler is called */
    void *connection; /* libmicrohttpd's, for http_header_get() */

    /* The answer. body NULL: none. */
    int status;
    json_t *answer;
    /* In the place of answer: a file to send as it is. http.c closes it. */
    struct http_file {
        bool there;
        int fd;
        uint64_t bytes;
        const char *type; /* Content-Type; static */
    } file;
    struct http_header headers[HTTP_HEADERS_MAX];
    size_t headers_n;
    /* An answer that goes on, instead of answer. */
    bool may_stream; /* the server it came to has streams */
    const char *stream_type;
    http_stream_fn *stream_next; /* NULL: none */
    void (*stream_done)(void *ctx);
    void *stream_ctx;
    void *user; /* the owner's state of this request, in the arena */
};

static inline bool
http_may_stream(const struct http_request *r)
{
    return r->may_stream;
}
/*
 * Answers 200 with what next gives, as it comes. done is called when the request is over, however
 * that came. type is static. Only where http_may_stream().
 */
void http_stream(struct http_request *r, const char *type, http_stream_fn *next,
    void (*done)(void *ctx), void *ctx);

/* Value of a request header, empty when absent. Lives as long as the request. */
struct str http_header_get(const struct http_request *r, const char *name);
/* Value of a query parameter, decoded; false when it is absent. "a" without '=' has an empty value.
 */
bool http_query_get(struct http_request *r, struct str name, struct str *ret);
/* The address of the client as nginx tells it (X-Real-IP); "-" without. For logs only. */
struct str http_client(const struct http_request *r);
/* Adds a header to the answer; the name is static, the value copied into the arena. */
void http_header_set(struct http_request *r, const char *name, struct str value);

struct http_options {
    struct str socket_path;
    uint32_t socket_mode; /* 0600, or 0660 with socket_gid = the group of nginx's workers */
    uint32_t socket_gid;  /* used when socket_mode lets the group in */
    unsigned connections_max;
    bool streams; /* answers may go on: a listener of its own, so that they hold up nobody */
    /*
     * Called when the request line and headers are there: sets *ret_max_body. Returning false means
     * that the answer stands already (r->status); the body is then thrown away unread.
     */
    bool (*begin)(void *ctx, struct http_request *r, size_t *ret_max_body);
    /* Called with the whole body; sets r->status and r->answer. */
    void (*handle)(void *ctx, struct http_request *r);
    /* The body is larger than *ret_max_body: sets the answer. */
    void (*too_large)(void *ctx, struct http_request *r, size_t max_body);
    void *ctx;
};

struct http_server;

enum err http_start(
    const struct http_options *o, struct http_server **ret, struct error *e) MUST_CHECK;
/* Takes no new connection, waits for the running ones, removes the socket. NULL is fine. */
void http_stop(struct http_server *s);

#endif
