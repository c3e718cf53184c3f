/*
 * Budgets and rate limits of an attempt: reserved behind the intent in its recorder slot, shrunk
 * when the vendor tells what the prompt was, settled at the close. The slot says at each instant
 * how far it got, so that whatever dies, purserd knows what stands in the counters.
 */

#include "gateway/ngx_http_purser.h"

#include <sys/mman.h>

static ngx_int_t
ngx_http_purser_counters_map(ngx_http_purser_main_conf_t *mcf, ngx_http_purser_worker_t *w)
{
    struct counters fresh;
    struct stat st;
    void *memory;
    int fd = open((char *)mcf->counters_path.data, O_RDWR | O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1 || st.st_size <= 0) {
        if (fd != -1)
            close(fd);
        return NGX_ERROR;
    }
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return NGX_ERROR;
    if (!counters_attach(memory, (size_t)st.st_size, &fresh)) {
        munmap(memory, (size_t)st.st_size);
        return NGX_ERROR;
    }
    if (w->counters.header != NULL)
        munmap(w->counters.header, w->counters_bytes);
    w->counters = fresh;
    w->counters_bytes = (size_t)st.st_size;
    return NGX_OK;
}

/* The counters in which the policy's places are, NULL when they are not there. */
static struct counters *
ngx_http_purser_counters(ngx_http_request_t *r, uint64_t generation)
{
    ngx_http_purser_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_purser_module);
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;

    if (w->counters.header != NULL && w->counters.header->generation == generation)
        return &w->counters;
    if (ngx_http_purser_counters_map(mcf, w) != NGX_OK ||
        w->counters.header->generation != generation) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, ngx_errno,
            "the counters \"%V\" are not those of the policy", &mcf->counters_path);
        return NULL;
    }
    return &w->counters;
}

static ngx_uint_t
ngx_http_purser_counts_nothing(const struct recorder_open *open)
{
    return open->budgets_n == 0 && open->limits[0] == LIMIT_NONE && open->limits[1] == LIMIT_NONE;
}

enum refusal
ngx_http_purser_budget_name(ngx_http_request_t *r, const struct policy *policy,
    const struct policy_token *token, struct recorder_open *open)
{
    struct counters *c;
    uint64_t generation = policy->header->counters_generation;

    if (token->budgets_n > BUDGETS_PER_CALL_MAX)
        return REFUSAL_NO_POLICY;
    ngx_memcpy(open->limits, token->limits, sizeof(open->limits));
    open->budgets_n = (uint8_t)token->budgets_n;
    open->counters_generation = generation;
    if (ngx_http_purser_counts_nothing(open))
        return REFUSAL_NONE;
    c = ngx_http_purser_counters(r, generation);
    if (c == NULL)
        return REFUSAL_NO_POLICY;
    for (ngx_uint_t i = 0; i < token->budgets_n; i++) {
        if (token->budgets[i] >= c->header->budgets_n)
            return REFUSAL_NO_POLICY;
    }
    for (ngx_uint_t i = 0; i < LIMITS_PER_CALL; i++) {
        if (token->limits[i] != LIMIT_NONE && token->limits[i] >= c->header->limits_n)
            return REFUSAL_NO_POLICY;
    }
    budget_refs(c->budgets, token->budgets, token->budgets_n, open->budgets);
    return REFUSAL_NONE;
}

static enum refusal
ngx_http_purser_limit_refusal(ngx_http_purser_ctx_t *ctx, const struct limit_answer *a)
{
    static const enum refusal refusals[] = {
        [LIMIT_FITS] = REFUSAL_NONE,
        [LIMIT_REQUESTS] = REFUSAL_REQUESTS_LIMITED,
        [LIMIT_TOKENS] = REFUSAL_TOKENS_LIMITED,
        [LIMIT_CONCURRENT] = REFUSAL_TOO_MANY_CALLS,
    };
    ngx_http_request_t *r = ctx->request;
    u_char *text = ngx_pnalloc(r->pool, 64);

    ctx->retry_after_ms = a->retry_after_ms;
    if (text != NULL) {
        ctx->detail.p = (char *)text;
        ctx->detail.n = (size_t)(ngx_snprintf(text, 64, "the limit is %uD", a->limit) - text);
    }
    return refusals[a->verdict];
}

static enum refusal
ngx_http_purser_budget_refusal(ngx_http_purser_ctx_t *ctx, const struct counters *c,
    const struct budget_answer *a, int64_t bound_nano)
{
    char *text = ngx_pnalloc(ctx->request->pool, BUDGET_SENTENCE_MAX);

    if (text != NULL)
        ctx->detail =
            (struct str){text, budget_sentence(&c->budgets[a->slot], a, bound_nano, text)};
    if (a->verdict == BUDGET_EXHAUSTED)
        return REFUSAL_BUDGET_EXHAUSTED;
    /* Calls take seconds; those that are refused now should not all come back at once. */
    ctx->retry_after_ms = 1000;
    return REFUSAL_BUDGET_BUSY;
}

enum refusal
ngx_http_purser_budget_reserve(ngx_http_purser_ctx_t *ctx)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    const struct recorder_open *open = &recorder_slot_at(&w->recorder, ctx->slot)->open;
    int64_t bound = open->bound_nano_usd, now = open->opened_ms;
    struct limit_answer limited;
    struct budget_answer a;

    if (!ngx_http_purser_counts_nothing(open)) {
        limited =
            limit_enter(w->counters.limits, open->limits, LIMITS_PER_CALL, open->attempt > 1, now);
        if (limited.verdict != LIMIT_FITS)
            return ngx_http_purser_limit_refusal(ctx, &limited);
        a = budget_reserve(w->counters.budgets, open->budgets, open->budgets_n, bound, now,
            ctx->progress.budget_tags);
        if (a.verdict != BUDGET_FITS) {
            limit_cancel(w->counters.limits, open->limits, LIMITS_PER_CALL, open->attempt > 1);
            return ngx_http_purser_budget_refusal(ctx, &w->counters, &a, bound);
        }
    }
    ctx->progress.counted = RECORDER_RESERVED;
    ctx->progress.reserved_nano = bound;
    recorder_slot_progress(&w->recorder, ctx->slot, &ctx->progress);
    return REFUSAL_NONE;
}

/* Does the attempt stand in the counters that are mapped now? */
static ngx_uint_t
ngx_http_purser_counts_here(const struct recorder_open *open)
{
    const struct counters_header *h = ngx_http_purser_worker.counters.header;

    return !ngx_http_purser_counts_nothing(open) && h != NULL &&
        h->generation == open->counters_generation;
}

int64_t
ngx_http_purser_budget_shrink(ngx_http_purser_ctx_t *ctx)
{
    const struct recorder_open *open =
        &recorder_slot_at(&ngx_http_purser_worker.recorder, ctx->slot)->open;
    int64_t rest, freed;

    if (open->budgets_n == 0 || ctx->progress.reserved_nano != open->bound_nano_usd)
        return 0;
    rest = recorder_remaining_bound(open, &ctx->progress.counts, ctx->progress.flags);
    freed = ctx->progress.reserved_nano - rest;
    ctx->progress.reserved_nano = rest;
    return freed;
}

void
ngx_http_purser_budget_free(ngx_http_purser_ctx_t *ctx, int64_t freed)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    const struct recorder_open *open = &recorder_slot_at(&w->recorder, ctx->slot)->open;

    if (freed > 0 && ngx_http_purser_counts_here(open))
        budget_change(
            w->counters.budgets, open->budgets, ctx->progress.budget_tags, open->budgets_n, -freed);
}

void
ngx_http_purser_budget_settle(ngx_http_purser_ctx_t *ctx)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    const struct recorder_open *open = &recorder_slot_at(&w->recorder, ctx->slot)->open;
    struct recorder_progress *p = &ctx->progress;

    /* Of counters that were replaced nothing is known here: purserd adds them up anew. */
    if (!ngx_http_purser_counts_nothing(open) && !ngx_http_purser_counts_here(open))
        return;
    if (!ngx_http_purser_counts_nothing(open)) {
        p->counted = RECORDER_SETTLING;
        recorder_slot_progress(&w->recorder, ctx->slot, p);
        budget_settle(w->counters.budgets, open->budgets, p->budget_tags, open->budgets_n,
            p->reserved_nano, recorder_cost(open, p));
        limit_leave(w->counters.limits, open->limits, LIMITS_PER_CALL, p->closed_ms,
            usage_prompt_tokens(&p->counts) + p->counts.output);
    }
    p->counted = RECORDER_SETTLED;
}
