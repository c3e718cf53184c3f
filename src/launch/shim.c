#include "launch/shim.h"

#include "launch/child.h"
#include "launch/container.h"
#include "launch/control.h"
#include "launch/folder.h"
#include "launch/guard.h"
#include "launch/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

enum {
    ORDER_TIMEOUT_S = 30,
    NEVER_RAN = 127,
};

static void
harden(void)
{
    struct rlimit no_core = {1, 1}; /* see child.c */
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    close_range(SHIM_ORDER_FD + 1, ~0U, 0);
    umask(0077);
    setsid();
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGHUP, &ignore, NULL);
    sigaction(SIGINT, &ignore, NULL);
    sigaction(SIGQUIT, &ignore, NULL);
    if (chdir("/") != 0)
        _exit(1);
}

static bool
read_full(int fd, char *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        p += got;
        n -= (size_t)got;
    }
    return true;
}

static enum err
take_order(struct order *order, struct secret **ret_memory, struct error *e)
{
    AUTO_SECRET struct secret *memory = NULL;
    struct timeval limit = {.tv_sec = ORDER_TIMEOUT_S};
    char header[ORDER_HEADER_BYTES];
    size_t n;

    if (setsockopt(SHIM_ORDER_FD, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
        fcntl(SHIM_ORDER_FD, F_SETFD, FD_CLOEXEC) != 0)
        return fail_errno(e, ERR_USAGE, "the shim is started by purserd only");
    if (!read_full(SHIM_ORDER_FD, header, sizeof(header)) || !order_decode_header(header, &n))
        return fail(e, ERR_LAUNCH_FAILED, "the shim got no order");
    if (secret_new_room(n > 0 ? n : 1, &memory, e) != ERR_OK)
        return e->code;
    if (!read_full(SHIM_ORDER_FD, secret_room(memory), n) ||
        !order_decode(secret_room(memory), n, order))
        return fail(e, ERR_LAUNCH_FAILED, "the shim got half an order");
    *ret_memory = TAKE(memory);
    return ERR_OK;
}

static bool
orderer_is_there(void)
{
    struct pollfd fd = {.fd = SHIM_ORDER_FD, .events = POLLRDHUP};

    return poll(&fd, 1, 0) == 0;
}

/* From here on nobody else starts this workspace, and a new purserd finds us. */
static enum err
claim(struct guard *g, const struct order *order, struct error *e)
{
    struct record before;

    if (folder_open_shims(order->run_dir, &g->shims, e) != ERR_OK)
        return e->code;
    g->file = record_claim(g->shims, order->workspace, true);
    if (g->file < 0 && errno == EAGAIN)
        return fail(e, ERR_CONFLICT, "the workspace's agent is running already");
    if (g->file < 0)
        return fail_errno(e, ERR_IO, "cannot open the workspace's run file");
    if (record_read(g->file, &before) && before.state != LAUNCH_EXITED && process_is_alive(&before))
        return fail(e, ERR_CONFLICT, "an agent of this workspace runs without its shim: pid %d",
            before.pid);
    /* A purserd that died before we had the lock cannot have been followed by one that saw us. */
    if (!orderer_is_there())
        return fail(e, ERR_LAUNCH_FAILED, "purserd went away");
    if (order_is_container(order))
        g->engine = strdup(order->container.engine);
    if (order_is_container(order) && g->engine == NULL)
        return fail(e, ERR_OUT_OF_MEMORY, "no memory for the shim");
    if (control_listen(g->shims, order->workspace, &g->listen, e) != ERR_OK)
        return e->code;
    g->record = (struct record){
        .state = LAUNCH_STARTING,
        .workspace = order->workspace,
        .start = order->start,
        .boot = process_boot(),
        .uid = order->uid,
        .container = order_is_container(order),
        .started_ms = clock_ms(),
    };
    return record_write(g->file, &g->record, e);
}

static enum err
make_scrub(struct guard *g, const struct order *order, struct error *e)
{
    struct scrub_word words[ORDER_MAX_ENV + HOMEFILES_MAX];
    size_t n = 0;

    for (size_t i = 0; i < order->env_n; i++) {
        if (order->env[i].secret)
            words[n++] = (struct scrub_word){order_env_name(order, i), order_env_value(order, i)};
    }
    for (size_t i = 0; i < order->files_n; i++) {
        const struct homefile *file = &order->files[i];

        if (file->secret)
            words[n++] = (struct scrub_word){str_from_cstr(file->path), file->content};
    }
    return scrub_new(words, n, &g->scrub, e);
}

/* HOME as the plan has it: what is noted of its files lies beside the log, out of the agent's reach. */
static enum err
prepare_home(const struct order *order, struct error *e)
{
    struct homefile_place place = {.home = order->home, .uid = order->uid, .gid = order->gid};
    AUTO_CLOSE int dir = -1;

    if (folder_make_home(order->home, order->uid, order->gid, e) != ERR_OK ||
        folder_open_agent(order->state_dir, order->workspace, true, order->uid, &dir, e) != ERR_OK)
        return e->code;
    place.notes = dir;
    return homefile_sync(&place, order->files, order->files_n, e);
}

static enum err
prepare(struct guard *g, const struct order *order, struct error *e)
{
    sigset_t watched, blocked;
    int dir;

    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    blocked = watched;
    g->signals = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    if (g->signals < 0 || sigprocmask(SIG_BLOCK, &blocked, NULL) != 0)
        return fail_errno(e, ERR_IO, "cannot watch signals");
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0)
        return fail_errno(e, ERR_IO, "cannot become the reaper of the agent's processes");
    if (make_scrub(g, order, e) != ERR_OK)
        return e->code;
    if (folder_open_agent(order->state_dir, order->workspace, true, order->uid, &dir, e) !=
            ERR_OK ||
        agentlog_open(dir, &g->log, e) != ERR_OK)
        return e->code;
    return prepare_home(order, e);
}

struct pipes {
    int go[2];
    int report[2];
    int output[2];
};

static void
pipes_done(struct pipes *p)
{
    for (int i = 0; i < 2; i++) {
        cleanup_close(&p->go[i]);
        cleanup_close(&p->report[i]);
        cleanup_close(&p->output[i]);
    }
}

static void
pipe_end_close(int *fd)
{
    close(*fd);
    *fd = -1;
}

/* The child runs on only when this start, with its pid, is on record. */
static enum err
release(struct guard *g, pid_t pid, int go, struct error *e)
{
    struct process child;

    if (!process_look(pid, &child))
        return fail(e, ERR_LAUNCH_FAILED, "the agent's process died before it ran");
    g->record.pid = pid;
    g->record.pid_ticks = child.ticks;
    g->record.state = LAUNCH_RUNNING;
    g->record.started_ms = clock_ms();
    if (record_write(g->file, &g->record, e) != ERR_OK)
        return e->code;
    if (write(go, "", 1) != 1)
        return fail_errno(e, ERR_LAUNCH_FAILED, "the agent's process died before it ran");
    return ERR_OK;
}

static enum err
start(struct guard *g, const struct order *order, struct secret *memory, struct error *e)
{
    char text[CHILD_TEXT_BYTES] = "";
    AUTO(pipes_done) struct pipes p = {{-1, -1}, {-1, -1}, {-1, -1}};
    struct child_failure failure;
    pid_t pid;

    if (pipe2(p.go, O_CLOEXEC) != 0 || pipe2(p.report, O_CLOEXEC) != 0 ||
        pipe2(p.output, O_CLOEXEC) != 0 || fcntl(p.output[0], F_SETFL, O_NONBLOCK) != 0)
        return fail_errno(e, ERR_IO, "cannot make the agent's pipes");
    pid = fork();
    if (pid < 0)
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot fork");
    if (pid == 0) {
        close(p.go[1]);
        child_run(order, &(struct child_pipes){p.go[0], p.report[1], p.output[1]}, memory);
    }
    pipe_end_close(&p.report[1]);
    pipe_end_close(&p.output[1]);
    if (release(g, pid, p.go[1], e) != ERR_OK) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return e->code;
    }
    if (read_full(p.report[0], (char *)&failure, sizeof(failure))) {
        if (failure.step == CHILD_STEP_CONTAINER && !read_full(p.report[0], text, sizeof(text)))
            text[0] = '\0';
        waitpid(pid, NULL, 0);
        text[sizeof(text) - 1] = '\0';
        return child_explain(order, &failure, text, e);
    }
    g->output = TAKE_FD(p.output[0]);
    return ERR_OK;
}

static void
answer(const struct guard *g, const struct error *e)
{
    struct order_answer a = {.error = *e, .record = g->record};
    unsigned char bytes[ORDER_ANSWER_BYTES];

    order_answer_encode(&a, bytes);
    /* Nobody there to hear it: the agent runs all the same, and is found by who comes next. */
    if (send(SHIM_ORDER_FD, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0)
        return;
}

/* Values live no longer than this function, but for the scrubber's copies. */
static enum err
take_order_and_start(struct guard *g, struct error *e)
{
    AUTO_SECRET struct secret *memory = NULL;
    struct error ignored;
    struct order order;

    if (take_order(&order, &memory, e) != ERR_OK || claim(g, &order, e) != ERR_OK)
        return e->code;
    if (prepare(g, &order, e) == ERR_OK && start(g, &order, memory, e) == ERR_OK)
        return ERR_OK;
    /* Should its engine be away: the next start takes away what is left of this one. */
    if (g->record.container && container_remove(g->engine, order.workspace, &ignored) != ERR_OK)
        g->record.exit_code = NEVER_RAN;
    guard_end(g, NEVER_RAN);
    return e->code;
}

int
shim_main(int argc, char **argv)
{
    struct error e = {0};
    struct guard g;
    enum err result;

    harden();
    guard_init(&g);
    if (sodium_init() < 0)
        return 1;
    result = take_order_and_start(&g, &e);
    answer(&g, &e);
    close(SHIM_ORDER_FD);
    if (result == ERR_OK)
        guard_run(&g);
    guard_done(&g);
    return err_exit_code(result);
}
