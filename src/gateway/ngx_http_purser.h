/*
 * The gateway module's own types. It may do five things: read configuration, call core, set
 * headers, write down what it saw, log. What can be said without ngx_ belongs to core.
 */
#ifndef NGX_HTTP_PURSER_H
#define NGX_HTTP_PURSER_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/admit.h"
#include "core/counters.h"
#include "core/keywire.h"
#include "core/recorder.h"
#include "core/refusal.h"
#include "core/request.h"
#include "core/token.h"
#include "core/usage.h"

extern ngx_module_t ngx_http_purser_module;

enum { PURSER_LANES_TEND_MS = 1000, PURSER_ATTEMPTS_MAX = 6, PURSER_BREAKERS_MAX = 64 };

typedef struct {
    ngx_str_t policy_path;
    ngx_str_t counters_path;
    ngx_str_t recorder_path;
    ngx_str_t keys_path;
    ngx_fd_t recorder_fd;  /* the master's: workers open it anew through /proc/self/fd */
    size_t recorder_bytes; /* to map */
    struct str keys;       /* the keywire message: locked, left out of core dumps */
} ngx_http_purser_main_conf_t;

/* Of an upstream block that says purser_upstream. */
typedef struct {
    ngx_http_upstream_init_pt init_upstream;
    ngx_http_upstream_init_peer_pt init_peer;
} ngx_http_purser_srv_conf_t;

typedef struct {
    ngx_uint_t role; /* NGX_HTTP_PURSER_NONE ... */
    ngx_uint_t dialect;
    ngx_str_t path; /* of a call: what follows the vendor's base URL */
} ngx_http_purser_loc_conf_t;

enum {
    NGX_HTTP_PURSER_NONE,
    NGX_HTTP_PURSER_CALL,    /* a call to pass on */
    NGX_HTTP_PURSER_FREE,    /* the same, but the vendor takes nothing for it: no row */
    NGX_HTTP_PURSER_AGAIN,   /* an attempt failed before the client had a byte of an answer */
    NGX_HTTP_PURSER_MODELS,  /* what this token may call */
    NGX_HTTP_PURSER_UNKNOWN, /* nothing here: 404, but HEAD is answered 200 for clients' probes */
    NGX_HTTP_PURSER_FAILED,  /* a bad credential, counted against its address */
    NGX_HTTP_PURSER_ERROR,   /* nginx's own errors, said in the dialect */
};

/* Bytes of a stream that wait until it is known whether the client gets them. */
typedef struct {
    u_char *held;
    size_t held_n, room;
    unsigned let_go : 1; /* some of the event that is being read has passed */
    ngx_chain_t *free, *busy;
} ngx_http_purser_withheld_t;

/*
 * One call and the attempt under way. Lives in the request's pool; found again through the pool's
 * clean-up list.
 */
typedef struct {
    ngx_http_request_t *request;
    enum dialect dialect;
    ngx_str_t path;
    ngx_uint_t http_version; /* the client's: an answer that is no HTTP makes nginx forget it */
    uint8_t digest[TOKEN_DIGEST_BYTES];
    uint8_t call_id[16];
    u_char call_id_text[36];
    unsigned is_free : 1; /* no bound, no row */
    unsigned body_read : 1;
    unsigned padded : 1;    /* something follows the body's JSON */
    unsigned passing : 1;   /* an attempt is prepared or under way */
    unsigned prepared : 1;  /* the next one is, while nginx still ends the one before */
    unsigned recording : 1; /* its slot is open */
    unsigned metering : 1;
    unsigned asks_usage : 1; /* we asked for a chunk that the client did not ask for */
    unsigned is_stream : 1;  /* of events */
    unsigned withholding : 1;
    unsigned body_freed : 1;
    unsigned client_left : 1; /* and the vendor's answer is read to its end all the same */
    struct request_scan scan;
    ngx_chain_t *body; /* as the client sent it: each attempt is spliced from it */
    size_t body_bytes;
    size_t upload_bytes;      /* counted in the worker's */
    size_t unannounced_bytes; /* came so far, where nobody said how many will */

    /* The attempt. */
    uint32_t attempt; /* 1, 2 ...; 0: none yet */
    uint32_t target;  /* of the route's */
    uint32_t tried_n; /* keys of this target that were tried */
    uint8_t tried[PURSER_ATTEMPTS_MAX][16];
    struct policy_endpoint endpoint;
    ngx_str_t key;
    ngx_event_get_peer_pt get_peer; /* nginx's way to a connection */
    ngx_http_upstream_conf_t *conf; /* this attempt's own, with the target's time-outs */
    uint32_t connect_ms, first_byte_ms, idle_ms, drain_ms;
    int64_t drain_nano_usd;
    int64_t drain_until_ms;
    uint32_t slot;
    uint64_t text_written;
    struct recorder_progress progress;
    struct usage_meter meter;
    ngx_http_purser_withheld_t withheld;
    u_char *stream_buffer; /* instead of nginx's, which is the pool's */
    /* Why it is refused. */
    enum refusal failed; /* the credential */
    struct str detail;
    int64_t retry_after_ms; /* 0: as usual */
} ngx_http_purser_ctx_t;

/* Consecutive failures of one upstream block, as this worker saw them. */
typedef struct {
    char upstream[POLICY_NAME_MAX + 1];
    ngx_uint_t failures;
    int64_t open_until_ms;
} ngx_http_purser_breaker_t;

/* What a worker maps; filled in init_process. */
typedef struct {
    struct policy policy;
    size_t policy_bytes;
    struct counters counters;
    size_t counters_bytes;
    struct recorder recorder;
    ngx_fd_t recorder_fd;
    uint32_t lanes[RECORDER_LANES_MAX]; /* ours, in the order in which they were taken */
    ngx_uint_t lanes_n;
    time_t lane_tried;
    ngx_event_t lanes_timer; /* set while there are any */
    size_t upload_bytes;     /* of large bodies */
    u_char random[4096];
    size_t random_used;
    ngx_http_purser_breaker_t breakers[PURSER_BREAKERS_MAX];
    ngx_uint_t breakers_n;
} ngx_http_purser_worker_t;

extern ngx_http_purser_worker_t ngx_http_purser_worker;

/* keys.c */
ngx_int_t ngx_http_purser_keys_fetch(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf);
ngx_int_t ngx_http_purser_keys_lock(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log);
/* One of the provider's keys that is not among the n tried ones, by weight. */
ngx_int_t ngx_http_purser_keys_pick(ngx_http_purser_main_conf_t *mcf, struct str provider,
    uint8_t tried[][16], uint32_t tried_n, struct keywire_key *ret);

/* shared.c: policy, recorder, lanes */
ngx_int_t ngx_http_purser_recorder_prepare(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf);
ngx_int_t ngx_http_purser_shared_open(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log);
struct policy *ngx_http_purser_policy(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log);
ngx_int_t ngx_http_purser_slot_take(ngx_log_t *log, uint32_t *ret);
/* n random bytes from a store that is refilled now and then. */
void ngx_http_purser_random(void *to, size_t n);

/* access.c */
ngx_int_t ngx_http_purser_access_handler(ngx_http_request_t *r);
ngx_http_purser_ctx_t *ngx_http_purser_get_ctx(ngx_http_request_t *r);
ngx_http_purser_ctx_t *ngx_http_purser_new_ctx(
    ngx_http_request_t *r, const ngx_http_purser_loc_conf_t *lcf);
/* The token, found and live; its digest goes into ctx. What can be said from the head alone. */
enum refusal ngx_http_purser_authenticate(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx,
    struct policy **ret_policy, struct policy_token *ret_token);
/* A live token right now. Asked before the body is read and for each attempt: uploads take time. */
enum refusal ngx_http_purser_check_token(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx,
    struct policy **ret_policy, struct policy_token *ret_token);

/* attempt.c: which target, which key; a slot for each attempt */
/*
 * Prepares the next attempt: target, key, slot, spliced body. REFUSAL_NONE: it may go upstream.
 */
enum refusal ngx_http_purser_attempt_open(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx);
/*
 * The vendor answered with this status (0: not at all). NGX_OK: that was no success, it is booked,
 * and another attempt is prepared.
 */
ngx_int_t ngx_http_purser_attempt_next(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_uint_t status);

/* budget.c */
/* Notes in open what the attempt counts against. */
enum refusal ngx_http_purser_budget_name(ngx_http_request_t *r, const struct policy *policy,
    const struct policy_token *token, struct recorder_open *open);
/* The slot is open. On a refusal nothing is reserved, and ctx->detail tells why. */
enum refusal ngx_http_purser_budget_reserve(ngx_http_purser_ctx_t *ctx);
/*
 * Usage was seen: ctx->progress is made to hold less, which must be in the slot before budget_free()
 * gives it to others. Returns by how much.
 */
int64_t ngx_http_purser_budget_shrink(ngx_http_purser_ctx_t *ctx);
void ngx_http_purser_budget_free(ngx_http_purser_ctx_t *ctx, int64_t freed);
/* The attempt ended, as ctx->progress says. */
void ngx_http_purser_budget_settle(ngx_http_purser_ctx_t *ctx);

/* breaker.c */
ngx_uint_t ngx_http_purser_breaker_is_open(const char *upstream);
void ngx_http_purser_breaker_note(const char *upstream, ngx_uint_t failed);

/* upstream.c: the target's time-outs, what happens when the client leaves */
char *ngx_http_purser_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
/* The first byte came: from now on the vendor may pause for idle_ms. */
void ngx_http_purser_upstream_began(ngx_http_purser_ctx_t *ctx);
/*
 * Could the vendor have served the attempt? Not before all of it was sent: of a body that lacks its
 * end nothing is served. Who reads no further than the JSON goes does not wait for what follows it.
 */
ngx_uint_t ngx_http_purser_upstream_has_call(const ngx_http_purser_ctx_t *ctx);
/* rc of the next filter: NGX_OK when the client left and the vendor's answer is read on. */
ngx_int_t ngx_http_purser_drain(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_chain_t *in, ngx_int_t rc);

/* kept.c: connections that carry the next call */
/* Said once its peer is known and before it is asked for a connection. */
void ngx_http_purser_kept_watch(ngx_http_upstream_t *u, ngx_http_purser_ctx_t *ctx);
/* Its answer is not for the client: the connection may carry another call all the same. */
void ngx_http_purser_kept_give_back(ngx_http_upstream_t *u);

/* answer.c */
ngx_int_t ngx_http_purser_refuse(
    ngx_http_request_t *r, enum dialect d, enum refusal refusal, struct str detail);
/*
 * Refuses what the head alone tells. A bad credential is counted against its address first.
 */
ngx_int_t ngx_http_purser_turn_away(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, enum refusal refusal);
ngx_int_t ngx_http_purser_failed_handler(ngx_http_request_t *r);
/* The call's own id, by both names that clients look for. */
ngx_int_t ngx_http_purser_add_id(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx);
/* Sends a JSON body of ours, with the call's id. */
ngx_int_t ngx_http_purser_send_json(ngx_http_request_t *r, ngx_uint_t status, ngx_buf_t *b);
ngx_int_t ngx_http_purser_add_header(ngx_http_request_t *r, struct str key, struct str value);
ngx_int_t ngx_http_purser_error_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_purser_unknown_handler(ngx_http_request_t *r);

/* models.c */
ngx_int_t ngx_http_purser_models_handler(ngx_http_request_t *r);

/* head.c: what of a vendor's answer the client does not see */
ngx_int_t ngx_http_purser_clean_answer(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx);

/* splice.c */
ngx_int_t ngx_http_purser_splice(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, struct str model);

/* withhold.c */
/* Meters in, and gives what of it the client gets: without the chunk that is ours. */
ngx_int_t ngx_http_purser_withhold(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_chain_t *in, ngx_chain_t **ret);
/* After that was passed on: its buffers may be used again once they are empty. */
void ngx_http_purser_withhold_sent(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_chain_t *passed);

/* meter.c */
ngx_int_t ngx_http_purser_meter_init(ngx_conf_t *cf);
ngx_int_t ngx_http_purser_log_handler(ngx_http_request_t *r);
/* Settles the attempt, once. */
void ngx_http_purser_close(ngx_http_purser_ctx_t *ctx);

/* upload.c: how much of bodies there may be */
void ngx_http_purser_upload_init(void);
/* Before the body is read. */
enum refusal ngx_http_purser_upload_begin(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx);
/* The body is gone. May be said twice. */
void ngx_http_purser_upload_end(ngx_http_purser_ctx_t *ctx);

/* stream.c: memory that is not needed while an answer comes */
void ngx_http_purser_body_free(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx);
/* After a piece of the stream went through the filters. */
void ngx_http_purser_stream_fit(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx);
/* The request has ended. */
void ngx_http_purser_stream_done(ngx_http_purser_ctx_t *ctx);

/* heap.c */
void ngx_http_purser_heap_init(ngx_cycle_t *cycle);

/* variables.c */
ngx_int_t ngx_http_purser_add_variables(ngx_conf_t *cf);

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
