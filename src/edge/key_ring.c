#include "edge/key_ring.h"

#include "base/cleanup.h"
#include "core/keywire.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum err
key_ring_new(struct edge_keys *ret, struct error *e)
{
    struct edge_keys k = {.n = sizeof(struct keywire_header)};
    enum err err = secret_new_room(KEYWIRE_MAX_BYTES, &k.message, e);

    if (err == ERR_OK)
        *ret = k;
    return err;
}

void
key_ring_done(struct edge_keys *k)
{
    secret_free(k->message);
    *k = (struct edge_keys){0};
}

enum err
edge_keys_add(struct edge_keys *into, struct id key, struct str provider, int64_t weight,
    const struct secret *value, struct error *e)
{
    struct keywire_key_header h = {.weight = weight < 1 ? 1 : (uint32_t)weight,
        .provider_n = (uint32_t)provider.n,
        .value_n = (uint32_t)secret_bytes(value)};
    char *room = secret_room(into->message);
    size_t bytes = sizeof(h) + provider.n + secret_bytes(value);

    if (provider.n > 255 || secret_bytes(value) > 65536 || bytes > KEYWIRE_MAX_BYTES - into->n)
        return fail(e, ERR_INVALID_REQUEST, "the platform has more keys than the gateway can hold");
    memcpy(h.id, key.b, sizeof(h.id));
    memcpy(room + into->n, &h, sizeof(h));
    memcpy(room + into->n + sizeof(h), provider.p, provider.n);
    memcpy(room + into->n + sizeof(h) + provider.n, secret_expose(value).p, secret_bytes(value));
    into->n += bytes;
    into->keys_n++;
    return ERR_OK;
}

void
key_ring_seal(struct edge_keys *k)
{
    struct keywire_header h = {KEYWIRE_MAGIC, k->keys_n, (uint32_t)k->n};

    memcpy(secret_room(k->message), &h, sizeof(h));
}

/* The next key of the message; false at its end, and when there is no message. */
static bool
next_key(const struct edge_keys *k, size_t *offset, struct keywire_key *ret)
{
    return k->message != NULL &&
        keywire_next(str_slice(secret_expose(k->message), 0, k->n), offset, ret);
}

bool
key_ring_has(const struct edge_keys *k, struct str provider)
{
    struct keywire_key key;
    size_t offset = 0;
    bool found = false;

    while (!found && next_key(k, &offset, &key))
        found = str_equal(key.provider, provider);
    return found;
}

bool
key_ring_has_id(const struct edge_keys *k, struct id id)
{
    struct keywire_key key;
    size_t offset = 0;
    bool found = false;

    while (!found && next_key(k, &offset, &key))
        found = memcmp(key.id, id.b, sizeof(id.b)) == 0;
    return found;
}

enum err
key_ring_listen(const char *path, int *ret_fd, struct error *e)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = -1;

    if (strlen(path) >= sizeof(address.sun_path))
        return fail(e, ERR_SETTINGS_INVALID,
            "the path %s is too long for a socket: set run_dir to a shorter one", path);
    memcpy(address.sun_path, path, strlen(path));
    unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd == -1 || bind(fd, (struct sockaddr *)&address, sizeof(address)) == -1 ||
        chmod(path, 0600) == -1 || listen(fd, 16) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "listening on %s", path);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

/* Sends all of it to a peer that may be slow to read, but not forever. */
static bool
send_all(int fd, struct str message)
{
    while (message.n > 0) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        ssize_t sent = send(fd, message.p, message.n, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent > 0)
            message = str_slice(message, (size_t)sent, message.n);
        else if (sent == -1 && errno == EINTR)
            continue;
        else if (sent != -1 || errno != EAGAIN || poll(&p, 1, 5000) != 1)
            return false;
    }
    return true;
}

bool
key_ring_serve(int listen_fd, const struct edge_keys *k)
{
    AUTO_CLOSE int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    struct ucred peer;
    socklen_t n = sizeof(peer);

    if (fd == -1 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) == -1)
        return false;
    if (peer.uid != 0 && peer.uid != geteuid())
        return false;
    return send_all(fd, str_slice(secret_expose(k->message), 0, k->n));
}
