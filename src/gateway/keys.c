/* The platform's keys: fetched by the master, inherited by the workers, in locked memory. */

#include "gateway/ngx_http_purser.h"

#include <sys/mman.h>
#include <sys/un.h>

static void
ngx_http_purser_keys_wipe(void *data)
{
    ngx_http_purser_main_conf_t *mcf = data;

    if (mcf->keys.p != NULL) {
        ngx_explicit_memzero((void *)mcf->keys.p, KEYWIRE_MAX_BYTES);
        munmap((void *)mcf->keys.p, KEYWIRE_MAX_BYTES);
        mcf->keys = STR_NONE;
    }
}

/* Only the user we run as, or root, may hand us keys. */
static ngx_int_t
ngx_http_purser_peer_is_ours(int fd)
{
    struct ucred peer;
    socklen_t n = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == -1)
        return 0;
    return peer.uid == geteuid() || peer.uid == 0;
}

static ngx_int_t
ngx_http_purser_keys_connect(ngx_conf_t *cf, ngx_str_t *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = 10};
    int fd;

    if (path->len >= sizeof(address.sun_path)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "the path of purser_keys is too long");
        return -1;
    }
    ngx_memcpy(address.sun_path, path->data, path->len);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == -1 ||
        connect(fd, (struct sockaddr *)&address, sizeof(address)) == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
            "purserd does not answer at \"%V\", so there are no keys to work with", path);
        if (fd != -1)
            close(fd);
        return -1;
    }
    if (!ngx_http_purser_peer_is_ours(fd)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "\"%V\" belongs to another user", path);
        close(fd);
        return -1;
    }
    return fd;
}

ngx_int_t
ngx_http_purser_keys_fetch(ngx_conf_t *cf, ngx_http_purser_main_conf_t *mcf)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    size_t n = 0;
    ssize_t got = -1;
    char *p;
    int fd;

    if (cleanup == NULL)
        return NGX_ERROR;
    cleanup->data = mcf;
    cleanup->handler = ngx_http_purser_keys_wipe;
    fd = ngx_http_purser_keys_connect(cf, &mcf->keys_path);
    if (fd == -1)
        return NGX_ERROR;
    p = mmap(NULL, KEYWIRE_MAX_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        close(fd);
        return NGX_ERROR;
    }
    mcf->keys.p = p;
    (void)madvise(p, KEYWIRE_MAX_BYTES, MADV_DONTDUMP);
    while (n < KEYWIRE_MAX_BYTES) {
        got = read(fd, p + n, KEYWIRE_MAX_BYTES - n);
        if (got == -1 && ngx_errno == NGX_EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    close(fd);
    mcf->keys.n = n;
    if (got != 0 || !keywire_is_whole(mcf->keys)) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "purserd's answer at \"%V\" is not whole", &mcf->keys_path);
        return NGX_ERROR;
    }
    return NGX_OK;
}

/* Locks are not inherited by fork. Without the right to lock, the keys may reach swap: say so. */
ngx_int_t
ngx_http_purser_keys_lock(ngx_http_purser_main_conf_t *mcf, ngx_log_t *log)
{
    if (mcf->keys.n > 0 && mlock(mcf->keys.p, mcf->keys.n) == -1)
        ngx_log_error(
            NGX_LOG_WARN, log, ngx_errno, "the platform's keys could not be locked in memory");
    return NGX_OK;
}

static ngx_uint_t
ngx_http_purser_key_was_tried(const struct keywire_key *key, uint8_t tried[][16], uint32_t tried_n)
{
    for (uint32_t i = 0; i < tried_n; i++) {
        if (ngx_memcmp(tried[i], key->id, sizeof(key->id)) == 0)
            return 1;
    }
    return 0;
}

/* One pass: each key in turn takes the place of the one before with its share of the weights. */
ngx_int_t
ngx_http_purser_keys_pick(ngx_http_purser_main_conf_t *mcf, struct str provider,
    uint8_t tried[][16], uint32_t tried_n, struct keywire_key *ret)
{
    struct keywire_key key;
    uint64_t sum = 0;
    size_t offset = 0;
    uint32_t random;

    while (keywire_next(mcf->keys, &offset, &key)) {
        if (!str_equal(key.provider, provider) ||
            ngx_http_purser_key_was_tried(&key, tried, tried_n))
            continue;
        sum += key.weight;
        if (sum > key.weight)
            ngx_http_purser_random(&random, sizeof(random));
        if (sum == key.weight || random % sum < key.weight)
            *ret = key;
    }
    return sum > 0 ? NGX_OK : NGX_DECLINED;
}
