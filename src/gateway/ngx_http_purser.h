/*
 * The gateway module's own types. It may do five things: read configuration, call core, set
 * headers,
 * write down what it saw, log. What can be said without ngx_ belongs to core.
 */
#ifndef NGX_HTTP_PURSER_H
#define NGX_HTTP_PURSER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/admit.h"
#include "core/keywire.h"
#include "core/recorder.h"
#include "core/refusal.h"
#include "core/request.h"
#include "core/token.h"
#include "core/usage.h"

extern ngx_module_t ngx_http_purser_module;

enum { PURSER_LANES_MAX = 128 };

typedef struct {
    ngx_str_t policy_path;
    ngx_str_t recorder_path;
    ngx_str_t keys_path;
    ngx_fd_t recorder_fd; /* the master's: workers open it anew through /proc/self/fd */
    struct str keys;      /* the keywire message: locked, left out of core dumps */
} ngx_http_purser_main_conf_t;

typedef struct {
    ngx_uint_t role; /* NGX_HTTP_PURSER_NONE ... */
    ngx_uint_t dialect;
} ngx_http_purser_loc_conf_t;

enum {
    NGX_HTTP_PURSER_NONE,
    NGX_HTTP_PURSER_CALL,    /* a call to pass on */
    NGX_HTTP_PURSER_UNKNOWN, /* nothing here: 404, but HEAD is answered 200 for clients' probes */
    NGX_HTTP_PURSER_ERROR,   /* nginx's own errors, said in the dialect */
};

/* One attempt. Lives in the request's pool; found again through the pool's clean-up list. */
typedef struct {
    ngx_http_request_t *request;
    enum dialect dialect;
    ngx_uint_t http_version; /* the client's: an answer that is no HTTP makes nginx forget it */
    uint8_t digest[TOKEN_DIGEST_BYTES];
    uint8_t call_id[16];
    u_char call_id_text[36];
    unsigned body_read : 1;
    unsigned recording : 1; /* a slot is open */
    unsigned metering : 1;
    unsigned body_freed : 1;
    uint32_t slot;
    uint64_t text_written;
    struct recorder_progress progress;
    struct usage_meter meter;
    struct policy_endpoint endpoint;
    ngx_str_t key;
} ngx_http_purser_ctx_t;

/* What a worker maps; filled in init_process. */
typedef struct {
    struct policy policy;
    size_t policy_bytes;
    struct recorder recorder;
    ngx_fd_t recorder_fd;
    uint32_t lanes[PURSER_LANES_MAX];
    ngx_uint_t lanes_n;
    time_t lane_tried;
    u_char random[4096];
    size_t random_used;
} ngx_http_purser_worker_t;

extern ngx_http_purser_worker_t ngx_http_purser_worker;

/* keys.c */
ngx_int_t ngx_http_purser_keys_fetch(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf);
ngx_int_t ngx_http_purser_keys_lock(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log);
ngx_int_t ngx_http_purser_keys_find(
    ngx_http_purser_main_conf_t *mcf, struct str provider, struct keywire_key *ret);

/* shared.c: policy, recorder, lanes */
ngx_int_t ngx_http_purser_recorder_prepare(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf);
ngx_int_t ngx_http_purser_shared_open(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log);
struct policy *ngx_http_purser_policy(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log);
ngx_int_t ngx_http_purser_slot_take(ngx_log_t *log, uint32_t *ret);

/* access.c */
ngx_int_t ngx_http_purser_access_handler(ngx_http_request_t *r);
ngx_http_purser_ctx_t *ngx_http_purser_get_ctx(ngx_http_request_t *r);

/* answer.c */
ngx_int_t ngx_http_purser_refuse(
    ngx_http_request_t *r, enum dialect d, enum refusal refusal, struct str detail);
ngx_int_t ngx_http_purser_error_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_purser_unknown_handler(ngx_http_request_t *r);

/* splice.c */
ngx_int_t ngx_http_purser_splice(
    ngx_http_request_t *r, const struct request_scan *scan, struct str model);

/* meter.c */
ngx_int_t ngx_http_purser_meter_init(ngx_conf_t *cf);
ngx_int_t ngx_http_purser_log_handler(ngx_http_request_t *r);
void ngx_http_purser_close(ngx_http_purser_ctx_t *ctx);

static ngx_inline int64_t
ngx_http_purser_now_ms(void)
{
    ngx_time_t *tp = ngx_timeofday();

    return (int64_t)tp->sec * 1000 + (int64_t)tp->msec;
}

static ngx_inline struct str
ngx_http_purser_str(ngx_str_t s)
{
    return (struct str){(const char *)s.data, s.len};
}

#endif
