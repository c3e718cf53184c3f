#include "launch/control.h"

#include "base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const unsigned char magic[4] = {'P', 'R', 'C', '1'};

enum { BACKLOG = 16 };

void
control_encode(const struct control_request *r, unsigned char ret[static CONTROL_REQUEST_BYTES])
{
    memcpy(ret, magic, sizeof(magic));
    for (int i = 0; i < 4; i++)
        ret[4 + i] = (unsigned char)((uint32_t)r->command >> (8 * i));
    for (int i = 0; i < 8; i++)
        ret[8 + i] = (unsigned char)((uint64_t)r->argument >> (8 * i));
}

bool
control_decode(const unsigned char *bytes, size_t n, struct control_request *ret)
{
    uint32_t command = 0;
    uint64_t argument = 0;

    if (n != CONTROL_REQUEST_BYTES || memcmp(bytes, magic, sizeof(magic)) != 0)
        return false;
    for (int i = 0; i < 4; i++)
        command |= (uint32_t)bytes[4 + i] << (8 * i);
    for (int i = 0; i < 8; i++)
        argument |= (uint64_t)bytes[8 + i] << (8 * i);
    if ((command != CONTROL_STATUS && command != CONTROL_STOP) || argument > CONTROL_MAX_GRACE_MS)
        return false;
    *ret = (struct control_request){(enum control_command)command, (int64_t)argument};
    return true;
}

/* Through the folder's descriptor: a path of any length fits into 108 bytes. */
static void
set_address(int dir, struct id workspace, struct sockaddr_un *ret)
{
    char name[RECORD_NAME_BYTES];

    record_name(workspace, ".sock", name);
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/%s", dir, name);
}

enum err
control_listen(int dir, struct id workspace, int *ret_fd, struct error *e)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;
    mode_t mask;
    int bound;

    if (fd < 0)
        return fail_errno(e, ERR_IO, "cannot make the control socket");
    set_address(dir, workspace, &address);
    control_remove(dir, workspace);
    mask = umask(0177);
    bound = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(mask);
    if (bound != 0 || listen(fd, BACKLOG) != 0)
        return fail_errno(e, ERR_IO, "cannot bind the control socket");
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

void
control_remove(int dir, struct id workspace)
{
    char name[RECORD_NAME_BYTES];

    record_name(workspace, ".sock", name);
    unlinkat(dir, name, 0);
}

int
control_accept(int listen_fd)
{
    AUTO_CLOSE int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct ucred peer;
    socklen_t n = sizeof(peer);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0)
        return -1;
    if (peer.uid != geteuid() && peer.uid != 0)
        return -1;
    return TAKE_FD(fd);
}

int
control_connect(int dir, struct id workspace)
{
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un address;

    set_address(dir, workspace, &address);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        return -1;
    return TAKE_FD(fd);
}

bool
control_ask(int fd, const struct control_request *r, int timeout_ms, struct record *ret)
{
    unsigned char request[CONTROL_REQUEST_BYTES], answer[RECORD_BYTES + 1];
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    ssize_t n;

    control_encode(r, request);
    if (send(fd, request, sizeof(request), MSG_NOSIGNAL) != CONTROL_REQUEST_BYTES)
        return false;
    do {
        n = poll(&poll_fd, 1, timeout_ms);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return false;
    n = recv(fd, answer, sizeof(answer), 0);
    return n > 0 && record_decode(answer, (size_t)n, ret);
}
