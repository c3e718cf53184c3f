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

/* It goes with the file description: with the last process that has it. */
static int
ngx_http_purser_lock(ngx_fd_t fd, off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &lock);
}

static int
ngx_http_purser_lane_lock(const ngx_http_purser_worker_t *w, uint32_t lane, short type)
{
    return ngx_http_purser_lock(w->recorder_fd, RECORDER_LOCK_OFF + (off_t)lane, type);
}

/*
 * The master opens the file: a worker may not be able to reach its directory. It says that the file
 * is in use for as long as anybody lives who inherits this from it. What a worker could not write to
 * is refused here, where the cycle before goes on.
 */
ngx_int_t
ngx_http_purser_recorder_prepare(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    struct recorder_header h;
    struct stat st;

    if (cleanup == NULL)
        return NGX_ERROR;
    cleanup->data = mcf;
    cleanup->handler = ngx_http_purser_recorder_close;
    mcf->recorder_fd = open((char *)mcf->recorder_path.data, O_RDWR | O_CLOEXEC);
    if (mcf->recorder_fd == NGX_INVALID_FILE ||
        ngx_http_purser_lock(mcf->recorder_fd, RECORDER_USE_OFF, F_RDLCK) == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "the recorder \"%V\" cannot be opened",
            &mcf->recorder_path);
        return NGX_ERROR;
    }
    if (pread(mcf->recorder_fd, &h, sizeof(h), 0) != sizeof(h) ||
        fstat(mcf->recorder_fd, &st) == -1 || recorder_header_bytes(&h) == 0 ||
        recorder_header_bytes(&h) > (size_t)st.st_size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
            "\"%V\" is not a recorder of this module's version: purserd and the module must be of "
            "one purser",
            &mcf->recorder_path);
        return NGX_ERROR;
    }
    mcf->recorder_bytes = recorder_map_bytes(&h);
    return NGX_OK;
}

/*
 * Gives back the lanes in which no call of ours is open any more, so that other workers find room
 * and the recorder can shrink: what ended there is purserd's, not ours.
 */
static void
ngx_http_purser_lanes_tend(ngx_event_t *ev)
{
    ngx_http_purser_worker_t *w = ev->data;
    ngx_uint_t kept = 0;

    for (ngx_uint_t i = 0; i < w->lanes_n; i++) {
        if (recorder_lane_has_none(&w->recorder, w->lanes[i], RECORDER_OPEN))
            (void)ngx_http_purser_lane_lock(w, w->lanes[i], F_UNLCK);
        else
            w->lanes[kept++] = w->lanes[i];
    }
    w->lanes_n = kept;
    if (kept > 0)
        ngx_add_timer(ev, PURSER_LANES_TEND_MS);
}

static ngx_uint_t
ngx_http_purser_lane_is_ours(const ngx_http_purser_worker_t *w, uint32_t lane)
{
    for (ngx_uint_t i = 0; i < w->lanes_n; i++) {
        if (w->lanes[i] == lane)
            return 1;
    }
    return 0;
}

/* Takes one more lane, if there is one with room that is nobody's. */
static ngx_int_t
ngx_http_purser_lane_take(ngx_http_purser_worker_t *w)
{
    uint32_t lanes = recorder_lanes(&w->recorder);

    for (uint32_t i = 0; i < lanes; i++) {
        uint32_t lane = ((uint32_t)ngx_worker + i) % lanes;

        if (recorder_lane_free_slot(&w->recorder, lane) == RECORDER_NO_SLOT ||
            ngx_http_purser_lane_is_ours(w, lane) ||
            ngx_http_purser_lane_lock(w, lane, F_WRLCK) == -1)
            continue;
        if (lane >= recorder_lanes(&w->recorder)) { /* the recorder shrank just then */
            (void)ngx_http_purser_lane_lock(w, lane, F_UNLCK);
            return NGX_DECLINED;
        }
        /*
         * Its owner died and nobody has looked yet: what it left open is for purserd, not for us.
         */
        (void)recorder_lane_reap(&w->recorder, lane);
        w->lanes[w->lanes_n++] = lane;
        if (!w->lanes_timer.timer_set)
            ngx_add_timer(&w->lanes_timer, PURSER_LANES_TEND_MS);
        return NGX_OK;
    }
    return NGX_DECLINED;
}

ngx_int_t
ngx_http_purser_shared_open(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    char path[32];
    void *memory;

    /*
     * A file description of our own: the lock must end with this process, and the master's
     * description, shared by every worker, would keep it.
     */
    ngx_snprintf((u_char *)path, sizeof(path), "/proc/self/fd/%d%Z", mcf->recorder_fd);
    w->recorder_fd = open(path, O_RDWR | O_CLOEXEC);
    if (w->recorder_fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno,
            "the recorder \"%V\" cannot be opened by a worker", &mcf->recorder_path);
        return NGX_ERROR;
    }
    /* With what it may grow into: the rest comes to be when the file grows. */
    memory = mmap(NULL, mcf->recorder_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, w->recorder_fd, 0);
    if (memory == MAP_FAILED || !recorder_attach(memory, mcf->recorder_bytes, &w->recorder)) {
        ngx_log_error(NGX_LOG_EMERG, log, ngx_errno, "the recorder \"%V\" cannot be mapped",
            &mcf->recorder_path);
        return NGX_ERROR;
    }
    w->lanes_timer.handler = ngx_http_purser_lanes_tend;
    w->lanes_timer.data = w;
    w->lanes_timer.log = log;
    w->lanes_timer.cancelable = 1; /* nobody waits for it to end */
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
 * next try is when the second is over.
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
            "the recorder has no room for this worker, which has %ui of its lanes: calls are "
            "refused",
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
