#include "launch/handover.h"

#include "base/cleanup.h"
#include "launch/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { HAND_OVER_MS = 30000 };

/* Nothing of ours goes along: no environment, no signal state, no descriptor but the socket. */
static int
set_up(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int socket_fd)
{
    sigset_t all, none;
    int error = 0;

    sigfillset(&all);
    sigemptyset(&none);
    for (int fd = 0; fd <= 2 && error == 0; fd++)
        error = posix_spawn_file_actions_addopen(actions, fd, "/dev/null", O_RDWR, 0);
    if (error == 0)
        error = posix_spawn_file_actions_adddup2(actions, socket_fd, SHIM_ORDER_FD);
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(actions, SHIM_ORDER_FD + 1);
    if (error == 0)
        error = posix_spawnattr_setflags(
            attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attributes, &none);
    return error;
}

/* The slim one where it can do the work: see slim.c. */
static const char *
shim_program(const struct launch_spec *spec, const struct launch_options *o)
{
    return spec->container == NULL && o->shim.n > 0 ? o->shim.p : o->program.p;
}

static enum err
spawn(const char *program, struct id workspace, int socket_fd, pid_t *ret_pid, struct error *e)
{
    char shim[] = "_shim", name[ID_TEXT_BYTES];
    char *argv[] = {(char *)program, shim, name, NULL}; /* the name is for people who look at ps */
    char *no_environment[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    pid_t pid;

    id_text(workspace, name);
    errno = posix_spawn_file_actions_init(&actions);
    if (errno != 0)
        return fail_errno(e, ERR_OUT_OF_MEMORY, "cannot prepare a shim");
    errno = posix_spawnattr_init(&attributes);
    if (errno == 0) {
        errno = set_up(&actions, &attributes, socket_fd);
        if (errno == 0)
            errno = posix_spawn(&pid, program, &actions, &attributes, argv, no_environment);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    if (errno != 0)
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot start the shim %s", program);
    *ret_pid = pid;
    return ERR_OK;
}

/* Waits until fd is ready for events or the deadline has passed. */
static bool
wait_for(int fd, short events, int64_t deadline_ms)
{
    struct pollfd poll_fd = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ms - clock_monotonic_ms();
        int n = poll(&poll_fd, 1, left > 0 ? (int)left : 0);

        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static bool
send_all(int fd, struct str bytes, int64_t deadline_ms)
{
    while (bytes.n > 0) {
        ssize_t n = send(fd, bytes.p, bytes.n, MSG_NOSIGNAL);

        if (n > 0)
            bytes = str_slice(bytes, (size_t)n, bytes.n);
        else if ((errno != EAGAIN && errno != EINTR) || !wait_for(fd, POLLOUT, deadline_ms))
            return false;
    }
    return true;
}

static bool
read_answer(int fd, int64_t deadline_ms, struct order_answer *ret)
{
    unsigned char bytes[ORDER_ANSWER_BYTES];
    size_t used = 0;

    while (used < sizeof(bytes)) {
        ssize_t n = recv(fd, bytes + used, sizeof(bytes) - used, 0);

        if (n > 0)
            used += (size_t)n;
        else if (n == 0 || (errno != EAGAIN && errno != EINTR) ||
            !wait_for(fd, POLLIN, deadline_ms))
            return false;
    }
    return order_answer_decode(bytes, ret);
}

static enum err
hand_over(int fd, const struct secret *order, struct error *e)
{
    int64_t deadline = clock_monotonic_ms() + HAND_OVER_MS;
    struct order_answer answer;

    /* A shim that refuses early answers without having read all: the answer says more than we know.
     */
    if (!send_all(fd, secret_expose(order), deadline) && errno == EAGAIN)
        return fail(e, ERR_LAUNCH_FAILED, "the shim does not take its order");
    if (!read_answer(fd, deadline, &answer))
        return fail(e, ERR_LAUNCH_FAILED, "the shim ended or hangs without an answer");
    if (answer.error.code != ERR_OK)
        *e = answer.error;
    return answer.error.code;
}

enum err
handover(const struct launch_spec *spec, const struct launch_options *o, pid_t *ret_shim,
    struct error *e)
{
    AUTO_SECRET struct secret *order = NULL;
    AUTO_CLOSE int ours = -1;
    int theirs, pair[2];
    pid_t pid;
    enum err result;

    if (order_encode(spec, o, &order, e) != ERR_OK)
        return e->code;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
        return fail_errno(e, ERR_IO, "cannot make the shim's socket");
    ours = pair[0];
    /* Above the numbers that the spawn overwrites; and blocking, on the shim's side. */
    theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, SHIM_ORDER_FD + 1);
    close(pair[1]);
    if (theirs < 0 || fcntl(theirs, F_SETFL, 0) != 0) {
        cleanup_close(&theirs);
        return fail_errno(e, ERR_IO, "cannot make the shim's socket");
    }
    result = spawn(shim_program(spec, o), spec->workspace, theirs, &pid, e);
    close(theirs);
    if (result != ERR_OK)
        return result;
    result = hand_over(ours, order, e);
    if (result != ERR_OK) {
        /* Our own child, not waited for yet: its pid is its own. It may have ended by itself. */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return result;
    }
    *ret_shim = pid;
    return ERR_OK;
}
