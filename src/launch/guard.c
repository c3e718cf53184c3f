#include "launch/guard.h"

#include "launch/container.h"
#include "launch/control.h"
#include "launch/process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
    READ_BYTES = 16 * 1024,
    KILL_ROUND_MS = 10,
    ROUNDS_TO_UID_KILL = 50, /* after half a second something forks faster than we kill */
    SIGTERM_GRACE_MS = 5000,
    MAX_REST_BYTES = 1024 * 1024,
    ENGINE_RETRY_MS = 1000,
};

void
guard_init(struct guard *g)
{
    *g = (struct guard){.shims = -1, .file = -1, .listen = -1, .signals = -1, .output = -1};
    g->log.dir = g->log.file = -1;
    for (int i = 0; i < GUARD_MAX_CONNECTIONS; i++)
        g->connections[i] = -1;
}

void
guard_done(struct guard *g)
{
    cleanup_close(&g->file);
    cleanup_close(&g->listen);
    for (int i = 0; i < GUARD_MAX_CONNECTIONS; i++)
        cleanup_close(&g->connections[i]);
    cleanup_close(&g->shims);
    cleanup_close(&g->signals);
    cleanup_close(&g->output);
    agentlog_done(&g->log);
    scrub_free(g->scrub);
    free(g->engine);
    guard_init(g);
}

static void
log_piece(void *ctx, struct str piece)
{
    agentlog_write(ctx, piece);
}

/* Reads what is there, at most once; false when there is nothing (more). */
static bool
read_output(struct guard *g)
{
    char bytes[READ_BYTES];
    ssize_t n;

    if (g->output < 0)
        return false;
    n = read(g->output, bytes, sizeof(bytes));
    if (n > 0) {
        scrub_feed(g->scrub, (struct str){bytes, (size_t)n}, log_piece, &g->log);
        explicit_bzero(bytes, (size_t)n);
        return true;
    }
    if (n == 0) {
        cleanup_close(&g->output);
        g->output = -1;
    }
    return false;
}

/* Collects whoever ended. False when no child is left at all. */
static bool
reap(struct guard *g)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid != g->record.pid)
            continue;
        g->record.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        g->record.ended_ms = clock_ms();
        g->ending = true;
    }
    return pid == 0 || errno != ECHILD;
}

static void
stop(struct guard *g, int64_t grace_ms)
{
    int64_t at = clock_monotonic_ms() + grace_ms;

    if (g->ending)
        return;
    /* Not reaped yet: the group is still the agent's. A stopped one must wake to see it. */
    kill(-g->record.pid, SIGTERM);
    kill(-g->record.pid, SIGCONT);
    if (g->kill_at_ms == 0 || at < g->kill_at_ms)
        g->kill_at_ms = at;
}

static void
read_signals(struct guard *g)
{
    struct signalfd_siginfo info;

    while (read(g->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        if (info.ssi_signo == SIGTERM)
            stop(g, SIGTERM_GRACE_MS);
    }
}

static void
add_connection(struct guard *g)
{
    int fd = control_accept(g->listen);

    for (int i = 0; i < GUARD_MAX_CONNECTIONS && fd >= 0; i++) {
        if (g->connections[i] < 0) {
            g->connections[i] = fd;
            return;
        }
    }
    cleanup_close(&fd);
}

/* False when the connection is to be closed. */
static bool
answer(struct guard *g, int fd)
{
    unsigned char bytes[CONTROL_REQUEST_BYTES + 1], record[RECORD_BYTES];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    struct control_request request;

    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (!control_decode(bytes, (size_t)n, &request))
        return false;
    if (request.command == CONTROL_STOP)
        stop(g, request.argument);
    record_encode(&g->record, record);
    return send(fd, record, sizeof(record), MSG_NOSIGNAL) == RECORD_BYTES;
}

static int
wait_ms(const struct guard *g)
{
    int64_t left;

    if (g->ending)
        return KILL_ROUND_MS;
    if (g->kill_at_ms == 0)
        return -1;
    left = g->kill_at_ms - clock_monotonic_ms();
    return left > 0 ? (int)left : 0;
}

static void
wait_and_serve(struct guard *g, int timeout_ms)
{
    enum { SIGNALS, LISTEN, OUTPUT, FIRST };
    struct pollfd fds[FIRST + GUARD_MAX_CONNECTIONS] = {
        [SIGNALS] = {.fd = g->signals, .events = POLLIN},
        [LISTEN] = {.fd = g->listen, .events = POLLIN},
        [OUTPUT] = {.fd = g->output, .events = POLLIN},
    };

    for (int i = 0; i < GUARD_MAX_CONNECTIONS; i++)
        fds[FIRST + i] = (struct pollfd){.fd = g->connections[i], .events = POLLIN};
    if (poll(fds, FIRST + GUARD_MAX_CONNECTIONS, timeout_ms) < 0)
        return;
    if (fds[SIGNALS].revents != 0)
        read_signals(g);
    if (fds[OUTPUT].revents != 0)
        read_output(g);
    for (int i = 0; i < GUARD_MAX_CONNECTIONS; i++) {
        if (fds[FIRST + i].revents != 0 && !answer(g, g->connections[i])) {
            close(g->connections[i]);
            g->connections[i] = -1;
        }
    }
    if (fds[LISTEN].revents != 0)
        add_connection(g);
}

/* Until it is gone, however long its engine is away: the workspace must not start beside it. */
static void
remove_container(struct guard *g)
{
    struct error e;

    while (g->record.container && container_remove(g->engine, g->record.workspace, &e) != ERR_OK)
        wait_and_serve(g, ENGINE_RETRY_MS);
}

void
guard_run(struct guard *g)
{
    int rounds = 0;

    for (;;) {
        bool some_left;

        wait_and_serve(g, wait_ms(g));
        if (g->kill_at_ms != 0 && clock_monotonic_ms() >= g->kill_at_ms)
            g->ending = true;
        some_left = reap(g);
        if (!some_left)
            break;
        if (!g->ending)
            continue;
        /* Orphans come to us, so that this ends with nobody left. */
        process_kill_children();
        if (++rounds % ROUNDS_TO_UID_KILL == 0)
            process_kill_uid(g->record.uid);
    }
    remove_container(g);
    for (size_t n = 0; n < MAX_REST_BYTES && read_output(g); n += READ_BYTES)
        continue;
    scrub_end(g->scrub, log_piece, &g->log);
    guard_end(g, g->record.exit_code);
}

void
guard_end(struct guard *g, int exit_code)
{
    struct error e;

    g->record.state = LAUNCH_EXITED;
    g->record.exit_code = exit_code;
    if (g->record.ended_ms == 0)
        g->record.ended_ms = clock_ms();
    /* Not written: the launcher finds a running agent without a shim, and says it was killed. */
    if (record_write(g->file, &g->record, &e) != ERR_OK)
        g->record.ended_ms = 0;
    control_remove(g->shims, g->record.workspace);
}
