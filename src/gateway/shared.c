/* The two shared memories, as a worker sees them: the policy it reads, the recorder it writes. */

#include "gateway/ngx_http_purser.h"

#include <sodium/randombytes.h>
#include <sys/mman.h>

ngx_http_purser_worker_t ngx_http_purser_worker;

static void
ngx_http_purser_recorder_close(void *data)
{
    ngx_http_purser_main_conf_t *mcf = data;

    if (mcf->recorder_fd != NGX_INVALID_FILE)
        close(mcf->recorder_fd);
    mcf->recorder_fd = NGX_INVALID_FILE;
}

/* The master opens the file: a worker may not be able to reach its directory. */
ngx_int_t
ngx_http_purser_recorder_prepare(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(cf->pool, 0);

    if (cleanup == NULL)
        return NGX_ERROR;
    cleanup->data = mcf;
    cleanup->handler = ngx_http_purser_recorder_close;
    mcf->recorder_fd = open((char *)mcf->recorder_path.data, O_RDWR | O_CLOEXEC);
    if (mcf->recorder_fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "the recorder \"%V\" cannot be opened",
            &mcf->recorder_path);
        return NGX_ERROR;
    }
    return NGX_OK;
}

/* Takes the lock of one more lane. It goes with the file description, so with this process. */
static ngx_int_t
ngx_http_purser_lane_take(ngx_http_purser_worker_t *w)
{
    uint32_t lanes = w->recorder.header->lanes;

    if (w->lanes_n == PURSER_LANES_MAX)
        return NGX_DECLINED;
    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t lane = ((uint32_t)ngx_worker + i) % lanes;
        struct flock lock = {.l_type = F_WRLCK,
            .l_whence = SEEK_SET,
            .l_start = RECORDER_LOCK_OFF + lane,
            .l_len = 1};
        ngx_uint_t k = 0;

        while (k < w->lanes_n && w->lanes[k] != lane)
            k++;
        if (k < w->lanes_n || fcntl(w->recorder_fd, F_OFD_SETLK, &lock) == -1)
            continue;
        /*
         * Its owner died and nobody has looked yet: what it left open is for purserd, not for us.
         */
        (void)recorder_lane_reap(&w->recorder, lane);
        w->lanes[w->lanes_n++] = lane;
        return NGX_OK;
    }
    return NGX_DECLINED;
}

ngx_int_t
ngx_http_purser_shared_open(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    char path[32];
    struct stat st;
    void *memory;

    /*
     * A file description of our own: the lock must end with this process, and the master's
     * description, shared by every worker, would keep it.
     */
    ngx_snprintf((u_char *)path, sizeof(path), "/proc/self/fd/%d%Z", mcf->recorder_fd);
    w->recorder_fd = open(path, O_RDWR | O_CLOEXEC);
    if (w->recorder_fd == -1 || fstat(w->recorder_fd, &st) == -1) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
            "the recorder \"%V\" cannot be opened by a worker", &mcf->recorder_path);
        return NGX_ERROR;
    }
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, w->recorder_fd, 0);
    if (memory == MAP_FAILED || !recorder_attach(memory, (size_t)st.st_size, &w->recorder)) {
        ngx_log_error(
            NGX_LOG_EMERG, log, 0, "\"%V\" is not a recorder of this version", &mcf->recorder_path);
        return NGX_ERROR;
    }
    if (ngx_http_purser_lane_take(w) != NGX_OK)
        ngx_log_error(
            NGX_LOG_ERR, log, 0, "no lane of the recorder is free: calls are refused until one is");
    w->random_used = sizeof(w->random);
    return NGX_OK;
}

static ngx_int_t
ngx_http_purser_policy_open(ngx_http_purser_main_conf_t *mcf, struct policy *ret, size_t *ret_bytes)
{
    struct stat st;
    void *memory;
    int fd = open((char *)mcf->policy_path.data, O_RDONLY | O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1 || st.st_size <= 0) {
        if (fd != -1)
            close(fd);
        return NGX_ERROR;
    }
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (memory == MAP_FAILED)
        return NGX_ERROR;
    if (!policy_attach(memory, (size_t)st.st_size, ret)) {
        munmap(memory, (size_t)st.st_size);
        return NGX_ERROR;
    }
    *ret_bytes = (size_t)st.st_size;
    return NGX_OK;
}

/*
 * The policy in force. Nobody keeps pointers into it beyond one look, so a superseded one is let go
 * of at once. NULL when there is none: every call is refused.
 */
struct policy *
ngx_http_purser_policy(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    struct policy fresh;
    size_t bytes;

    if (w->policy.header != NULL && policy_is_live(&w->policy))
        return &w->policy;
    if (w->policy.header != NULL)
        munmap(w->policy.header, w->policy_bytes);
    w->policy.header = NULL;
    if (ngx_http_purser_policy_open(mcf, &fresh, &bytes) != NGX_OK) {
        ngx_log_error(
            NGX_LOG_ERR, log, ngx_errno, "the policy \"%V\" cannot be read", &mcf->policy_path);
        return NULL;
    }
    w->policy = fresh;
    w->policy_bytes = bytes;
    return &w->policy;
}

static ngx_int_t
ngx_http_purser_slot_search(ngx_http_purser_worker_t *w, uint32_t *ret)
{
    for (ngx_uint_t i = 0; i < w->lanes_n; i++) {
        uint32_t slot = recorder_lane_free_slot(&w->recorder, w->lanes[i]);

        if (slot != RECORDER_NO_SLOT) {
            *ret = slot;
            return NGX_OK;
        }
    }
    return NGX_DECLINED;
}

/*
 * A free slot of our own lanes. When they are full, another lane is taken; when there is none, the
 * next try is a second later.
 */
ngx_int_t
ngx_http_purser_slot_take(ngx_log_t *log, uint32_t *ret)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;

    if (ngx_http_purser_slot_search(w, ret) == NGX_OK)
        return NGX_OK;
    if (w->lane_tried == ngx_time())
        return NGX_DECLINED;
    if (ngx_http_purser_lane_take(w) != NGX_OK) {
        w->lane_tried = ngx_time();
        ngx_log_error(NGX_LOG_WARN, log, 0,
            "%ui lanes of the recorder are full and no other is free: calls are refused",
            w->lanes_n);
        return NGX_DECLINED;
    }
    return ngx_http_purser_slot_search(w, ret);
}

void
ngx_http_purser_random(void *to, size_t n)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;

    if (w->random_used + n > sizeof(w->random)) {
        randombytes_buf(w->random, sizeof(w->random));
        w->random_used = 0;
    }
    ngx_memcpy(to, w->random + w->random_used, n);
    w->random_used += n;
}
