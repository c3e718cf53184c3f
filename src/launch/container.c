#include "launch/container.h"

#include "base/cleanup.h"
#include "init/initwire.h"
#include "launch/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

_Static_assert((int)INITWIRE_WORK_DIR == (int)CHILD_STEP_WORK_DIR &&
        (int)INITWIRE_EXEC == (int)CHILD_STEP_EXEC &&
        sizeof(struct initwire_failure) == sizeof(struct child_failure),
    "purser-init reports as a child does");

#define SOCKET_NAME "sock" /* the end of INITWIRE_SOCKET */

enum {
    CONNECT_MS = 20000,
    ENDING_TRIES = 500, /* the engine learns of an end a little after we do */
    ENDING_TRY_MS = 10,
};

void
container_name(struct id workspace, char ret[static CONTAINER_NAME_BYTES])
{
    memcpy(ret, "purser-", 7);
    id_text(workspace, ret + 7);
}

enum err
container_remove(const char *engine, struct id workspace, struct error *e)
{
    char name[CONTAINER_NAME_BYTES];

    container_name(workspace, name);
    return engine_remove(engine, str_from_cstr(name), e);
}

/* RUN/containers/<workspace>/sock: the folder is what the container gets to see. */
struct meeting {
    char folder[ORDER_MAX_PATH_BYTES];
    int dir;
    int listen;
};

static void
meeting_done(struct meeting *m)
{
    cleanup_close(&m->listen);
    if (m->dir >= 0) {
        unlinkat(m->dir, SOCKET_NAME, 0);
        rmdir(m->folder);
        close(m->dir);
    }
}

static enum err
meeting_make(struct meeting *m, const struct order *order, struct error *e)
{
    char workspace[ID_TEXT_BYTES];
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    id_text(order->workspace, workspace);
    snprintf(m->folder, sizeof(m->folder), "%s/containers", order->run_dir);
    if (mkdir(m->folder, 0700) != 0 && errno != EEXIST)
        return fail_errno(e, ERR_IO, "cannot make %.200s", m->folder);
    snprintf(m->folder, sizeof(m->folder), "%s/containers/%s", order->run_dir, workspace);
    if (mkdir(m->folder, 0711) != 0 && errno != EEXIST)
        return fail_errno(e, ERR_IO, "cannot make %.200s", m->folder);
    m->dir = open(m->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    m->listen = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (m->dir < 0 || m->listen < 0)
        return fail_errno(e, ERR_IO, "cannot make the container's socket");
    /* Through the folder's descriptor: a path of any length fits into 108 bytes. */
    snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/" SOCKET_NAME, m->dir);
    unlinkat(m->dir, SOCKET_NAME, 0);
    if (fchmod(m->dir, 0711) != 0 ||
        bind(m->listen, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        fchmodat(m->dir, SOCKET_NAME, 0600, 0) != 0 ||
        (order->uid != 0 && fchownat(m->dir, SOCKET_NAME, order->uid, order->gid, 0) != 0) ||
        listen(m->listen, 1) != 0)
        return fail_errno(e, ERR_IO, "cannot make the container's socket");
    return ERR_OK;
}

static enum err
make_container(
    const struct order *order, const char *name, const struct meeting *m, struct error *e)
{
    struct str home = str_from_cstr(order->home), work_dir = str_from_cstr(order->work_dir);
    struct engine_mount mounts[4] = {
        {str_from_cstr(order->container.init), STR(INITWIRE_PROGRAM), true},
        {str_from_cstr(m->folder), STR(INITWIRE_SOCKETS), true},
        {home, home, false},
        {work_dir, work_dir, false},
    };
    struct engine_container c = {
        .name = str_from_cstr(name),
        .image = str_from_cstr(order->container.image),
        .program = STR(INITWIRE_PROGRAM),
        .network = str_from_cstr(order->container.network),
        .workspace = order->workspace,
        .start = order->start,
        .uid = order->uid,
        .gid = order->gid,
        .memory_bytes = order->limits.memory_bytes,
        .cpu_millis = order->limits.cpu_millis,
        .processes = order->limits.processes,
        .mounts = mounts,
        .mounts_n = str_starts_with(work_dir, home) ? 3 : 4,
    };

    for (size_t i = 0; i < c.mounts_n; i++) {
        if (str_find_char(mounts[i].from, ':') < mounts[i].from.n)
            return fail(e, ERR_LAUNCH_FAILED,
                "%.200s cannot be mounted into a container: its name has a colon",
                mounts[i].from.p);
    }
    /* What an earlier life left behind. Its shim is gone: we hold the workspace's lock. */
    if (engine_remove(order->container.engine, c.name, e) != ERR_OK ||
        engine_create(order->container.engine, &c, e) != ERR_OK)
        return e->code;
    return engine_start(order->container.engine, c.name, e);
}

/* The container's first process and nobody else is given the order. */
static enum err
meet(const struct meeting *m, int pid, int pidfd, int *ret_fd, struct error *e)
{
    struct pollfd fds[] = {{.fd = m->listen, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    AUTO_CLOSE int fd = -1;
    struct ucred peer = {0};
    socklen_t n = sizeof(peer);

    if (poll(fds, 2, CONNECT_MS) <= 0)
        return fail(e, ERR_LAUNCH_FAILED, "purser-init did not come up in the container");
    if ((fds[0].revents & POLLIN) == 0)
        return fail(e, ERR_LAUNCH_FAILED,
            "the container ended at once: does purser-init (a program for this processor) run in "
            "the image, and may uid and folders be used there?");
    fd = accept4(m->listen, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) != 0 || peer.pid != pid)
        return fail(e, ERR_LAUNCH_FAILED, "somebody else than the container asked for its order");
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

static bool
send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool
send_header(int fd, const struct initwire_header *header, const struct child_pipes *pipes)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * INITWIRE_FDS)];
        struct cmsghdr align;
    } control = {0};
    struct iovec io = {(void *)(uintptr_t)header, sizeof(*header)};
    struct msghdr message = {.msg_iov = &io,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    int fds[INITWIRE_FDS] = {pipes->output, pipes->report};

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)sizeof(*header);
}

static bool
send_string(int fd, const char *s)
{
    return send_all(fd, s, strlen(s) + 1);
}

static bool
send_order(int fd, const struct order *order, const struct child_pipes *pipes)
{
    struct initwire_header header = {.magic = INITWIRE_MAGIC,
        .argv_n = (uint32_t)order->argv_n,
        .env_n = (uint32_t)order->env_n};
    size_t n = strlen(order->work_dir) + 1;

    for (size_t i = 0; i < order->argv_n; i++)
        n += strlen(order->argv[i]) + 1;
    for (size_t i = 0; i < order->env_n; i++)
        n += strlen(order->envp[i]) + 1;
    header.body_bytes = (uint32_t)n;
    if (!send_header(fd, &header, pipes) || !send_string(fd, order->work_dir))
        return false;
    for (size_t i = 0; i < order->argv_n; i++) {
        if (!send_string(fd, order->argv[i]))
            return false;
    }
    for (size_t i = 0; i < order->env_n; i++) {
        if (!send_string(fd, order->envp[i]))
            return false;
    }
    return true;
}

/* Returns a descriptor that tells the end of the container's first process. */
static enum err
bring_up(const struct order *order, const char *name, const struct child_pipes *pipes,
    int *ret_pidfd, struct error *e)
{
    AUTO(meeting_done) struct meeting m = {.dir = -1, .listen = -1};
    AUTO_CLOSE int pidfd = -1, fd = -1;
    struct engine_state state = {0};

    if (meeting_make(&m, order, e) != ERR_OK || make_container(order, name, &m, e) != ERR_OK ||
        engine_inspect(order->container.engine, str_from_cstr(name), &state, e) != ERR_OK)
        return e->code;
    if (state.running)
        pidfd = pidfd_open(state.pid, 0);
    if (pidfd < 0)
        return fail(e, ERR_LAUNCH_FAILED,
            "the container ended at once (exit code %d), or its engine is not on this machine",
            state.exit_code);
    if (meet(&m, state.pid, pidfd, &fd, e) != ERR_OK)
        return e->code;
    if (!send_order(fd, order, pipes))
        return fail_errno(e, ERR_LAUNCH_FAILED, "purser-init does not take its order");
    *ret_pidfd = TAKE_FD(pidfd);
    return ERR_OK;
}

/* Passes SIGTERM on until the container's first process is gone. */
static void
wait_for_end(int pidfd, int signals)
{
    struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};

    while (poll(fds, 2, -1) < 0 || (fds[0].revents & POLLIN) == 0) {
        struct signalfd_siginfo info;

        if ((fds[1].revents & POLLIN) != 0 && read(signals, &info, sizeof(info)) > 0)
            pidfd_send_signal(pidfd, SIGTERM, NULL, 0);
    }
}

static int
exit_code_of(const struct order *order, const char *name)
{
    struct engine_state state;
    struct error e;

    for (int i = 0; i < ENDING_TRIES; i++) {
        if (engine_inspect(order->container.engine, str_from_cstr(name), &state, &e) != ERR_OK ||
            !state.exists)
            break;
        if (!state.running)
            return state.exit_code;
        poll(NULL, 0, ENDING_TRY_MS);
    }
    return 128 + SIGKILL;
}

static int
watch_sigterm(void)
{
    sigset_t term;

    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    return signalfd(-1, &term, SFD_CLOEXEC);
}

/* The shim's lock and sockets must end with the shim, and no program of ours closes them by exec. */
static void
close_all_but(int a, int b)
{
    unsigned low = (unsigned)(a < b ? a : b), high = (unsigned)(a < b ? b : a);

    close_range(STDERR_FILENO + 1, low - 1, 0);
    close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0U, 0);
}

_Noreturn void
container_run(const struct order *order, const struct child_pipes *pipes, struct secret *memory)
{
    char name[CONTAINER_NAME_BYTES], engine[ORDER_MAX_PATH_BYTES];
    struct order kept = {.workspace = order->workspace};
    struct {
        struct child_failure failure;
        char text[CHILD_TEXT_BYTES];
    } report = {.failure = {CHILD_STEP_CONTAINER, 0}};
    AUTO_CLOSE int pidfd = -1;
    int signals;
    struct error e;

    close_all_but(pipes->report, pipes->output);
    signals = watch_sigterm();
    container_name(order->workspace, name);
    if (bring_up(order, name, pipes, &pidfd, &e) != ERR_OK) {
        snprintf(report.text, sizeof(report.text), "%s", e.text);
        /* Below PIPE_BUF: whole or not at all. The reader takes a missing one for a dead child. */
        if (write(pipes->report, &report, sizeof(report)) < 0)
            _exit(126);
        _exit(127);
    }
    snprintf(engine, sizeof(engine), "%s", order->container.engine);
    kept.container.engine = engine;
    secret_free(memory);
    close(pipes->output);
    close(pipes->report);
    wait_for_end(pidfd, signals);
    _exit(exit_code_of(&kept, name));
}
