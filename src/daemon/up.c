#include "daemon/up.h"

#include "base/cleanup.h"
#include "base/ids.h"
#include "base/log.h"
#include "core/num.h"
#include "daemon/child.h"
#include "daemon/isolation.h"
#include "daemon/probe.h"
#include "daemon/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    POLL_MS = 20,
    FREE_MS = 2000,   /* for the remains of a killed `up` to go */
    READY_MS = 60000, /* a migration of a large store may take its time */
    HEALTHY_MS = 15000,
    RETRY_MS = 1000,
    STOP_PURSERD_MS = 30000, /* beside the agents' grace */
    STOP_NGINX_MS = 10000,
    SERVE_ARGUMENTS_MAX = 100,
};

struct up {
    const struct up_options *o;
    struct paths paths;
    int signals;   /* signalfd */
    bool stopping; /* somebody asked us to stop */
    bool told;     /* purserd has printed itself why it did not start */
    pid_t orphans; /* group of the workers of an nginx master that died; 0: none */
    struct child purserd;
    struct child nginx;
    char url[LISTEN_URL_BYTES];
    const char *purserd_argv[SERVE_ARGUMENTS_MAX + 3];
    const char *nginx_argv[12];
    char ready_path[160];
    char conf_path[160];
};

const char *
up_url(const struct up *u)
{
    return u->url;
}

const struct paths *
up_paths(const struct up *u)
{
    return &u->paths;
}

static int
print_error(const struct error *e)
{
    fprintf(stderr, "purser: %s: %s\n", err_name(e->code), e->text);
    return err_exit_code(e->code);
}

/*
 * The state is nobody else's and the port is free; what a killed `up` left behind gets time to go.
 */
static enum err
check_free(const struct up *u, struct error *e)
{
    int64_t until = clock_monotonic_ms() + FREE_MS;
    enum err err;

    for (;;) {
        int fd = -1;

        err = paths_lock(&u->paths, &fd, e);
        cleanup_close(&fd);
        if (err == ERR_OK)
            err = listen_check_free(&u->o->settings->listen_address, e);
        if ((err != ERR_STATE_LOCKED && err != ERR_PORT_IN_USE) || clock_monotonic_ms() >= until)
            return err;
        poll(NULL, 0, POLL_MS);
    }
}

static int
open_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL); /* before any thread: all of them inherit it */
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void
prepare_children(struct up *u)
{
    const char *const *more = u->o->serve_arguments;
    size_t n = 0;

    u->purserd_argv[n++] = u->paths.program;
    u->purserd_argv[n++] = "serve";
    while (*more != NULL && n < SERVE_ARGUMENTS_MAX + 2)
        u->purserd_argv[n++] = *more++;
    ENSURE(*more == NULL);
    u->purserd = (struct child){.name = "purserd", .argv = u->purserd_argv};
    snprintf(u->ready_path, sizeof(u->ready_path), "%s/ready", u->paths.run);
    snprintf(u->conf_path, sizeof(u->conf_path), "%s/nginx.conf", u->paths.run);
    n = 0;
    u->nginx_argv[n++] = u->o->settings->nginx;
    u->nginx_argv[n++] = "-e";
    u->nginx_argv[n++] = "stderr";
    u->nginx_argv[n++] = "-p";
    u->nginx_argv[n++] = u->paths.run;
    u->nginx_argv[n++] = "-c";
    u->nginx_argv[n++] = u->conf_path;
    u->nginx_argv[n++] = "-g";
    u->nginx_argv[n++] = "daemon off;";
    u->nginx = (struct child){.name = "nginx", .argv = u->nginx_argv};
}

/* A master that died leaves workers which hold the port: they finish their calls and go. */
static void
end_orphans(struct up *u)
{
    struct error e;
    int64_t until = clock_monotonic_ms() + FREE_MS;

    if (u->orphans == 0 || kill(-u->orphans, SIGQUIT) != 0)
        return;
    while (listen_check_free(&u->o->settings->listen_address, &e) != ERR_OK &&
        clock_monotonic_ms() < until)
        poll(NULL, 0, POLL_MS);
}

/* Collects every process that ended; orphans of our children come to us, too (subreaper). */
static void
reap(struct up *u)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == u->purserd.pid) {
            child_ended(&u->purserd, status);
        } else if (pid == u->nginx.pid) {
            child_ended(&u->nginx, status);
            u->orphans = pid;
        }
    }
}

static void
take_signals(struct up *u)
{
    struct signalfd_siginfo info;

    while (read(u->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM)
            u->stopping = true;
        else if (info.ssi_signo == SIGHUP)
            child_signal(&u->purserd, SIGHUP);
    }
    reap(u);
}

/* Keeps a child alive: plans its restart when it ended, starts it when the pause is over. */
static void
keep_alive(struct up *u, struct child *c)
{
    struct error e;

    if (c->pid != 0)
        return;
    if (c->restart_ms == 0)
        child_plan_restart(c);
    if (clock_monotonic_ms() < c->restart_ms)
        return;
    if (c == &u->nginx)
        end_orphans(u);
    if (child_start(c, &e) == ERR_OK) {
        log_info("up", "%s is started again (pid %d)", c->name, (int)c->pid);
        return;
    }
    log_error("up", "%s", e.text);
    c->restart_ms = clock_monotonic_ms() + RETRY_MS;
}

/* One round of waiting for signals, at most ms. */
static void
wait_once(struct up *u, int ms)
{
    struct pollfd p = {.fd = u->signals, .events = POLLIN};

    poll(&p, 1, ms);
    take_signals(u);
}

bool
up_wait(struct up *u, int ms)
{
    int64_t until = clock_monotonic_ms() + ms;

    do {
        int64_t left = until - clock_monotonic_ms();

        wait_once(u, left < POLL_MS ? (left < 0 ? 0 : (int)left) : POLL_MS);
        if (u->stopping)
            return true;
        keep_alive(u, &u->purserd);
        keep_alive(u, &u->nginx);
    } while (clock_monotonic_ms() < until);
    return false;
}

/* Has this purserd, not an earlier one, written RUN/ready? */
static bool
is_ready(const struct up *u)
{
    AUTO_CLOSE int fd = open(u->ready_path, O_RDONLY | O_CLOEXEC);
    char text[24];
    uint64_t pid;
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

    return n > 0 && num_parse_u64(str_trim((struct str){text, (size_t)n}), &pid) &&
        pid == (uint64_t)u->purserd.pid;
}

static bool
is_healthy(const struct up *u)
{
    char url[LISTEN_URL_BYTES + 16];

    snprintf(url, sizeof(url), "%s/health", u->url);
    return probe_status(url, 2000) == 200;
}

/*
 * Starts a child and waits until done says that it works. A child that ends first is an error: it
 * has said why on stderr.
 */
static enum err
start_and_wait(struct up *u, struct child *c, bool (*done)(const struct up *), int64_t limit_ms,
    struct error *e)
{
    int64_t until = clock_monotonic_ms() + limit_ms;
    char text[64];
    enum err err = child_start(c, e);

    if (err != ERR_OK)
        return err;
    while (!u->stopping) {
        if (c->pid == 0) {
            child_status_text(c->exit_status, text);
            u->told = c == &u->purserd && WIFEXITED(c->exit_status);
            return fail(e, ERR_GATEWAY_UNUSABLE, "%s %s before it was ready: its reason is above",
                c->name, text);
        }
        if (done(u))
            return ERR_OK;
        if (clock_monotonic_ms() >= until)
            return fail(e, ERR_GATEWAY_UNUSABLE, "%s was not ready within %d s", c->name,
                (int)(limit_ms / 1000));
        wait_once(u, POLL_MS);
    }
    return ERR_OK;
}

/*
 * Ends a child: first politely, after limit_ms by force. Asking again (Ctrl-C) shortens the wait.
 */
static void
stop_child(struct up *u, struct child *c, int signal, int64_t limit_ms)
{
    int64_t until = clock_monotonic_ms() + limit_ms;

    if (c->pid == 0)
        return;
    if (kill(c->pid, signal) != 0)
        return;
    u->stopping = false;
    while (c->pid != 0 && clock_monotonic_ms() < until && !u->stopping)
        wait_once(u, POLL_MS);
    if (c->pid != 0) {
        log_warn("up", "%s (pid %d) does not end: it is killed", c->name, (int)c->pid);
        child_signal(c, SIGKILL);
        while (c->pid != 0)
            wait_once(u, POLL_MS);
    }
}

static enum err
start_all(struct up *u, struct error *e)
{
    enum err err = start_and_wait(u, &u->purserd, is_ready, READY_MS, e);

    if (err == ERR_OK && !u->stopping)
        err = start_and_wait(u, &u->nginx, is_healthy, HEALTHY_MS, e);
    return err;
}

/* Serves until somebody asks to stop, or what was to be done is done. */
static enum err
serve(struct up *u, struct error *e)
{
    bool stop = false;
    enum err err = start_all(u, e);

    if (err != ERR_OK || u->stopping)
        return err;
    log_info("up", "serving at %s (purserd %d, nginx %d)", u->url, (int)u->purserd.pid,
        (int)u->nginx.pid);
    if (isolation_of(u->o->settings) == API_ISOLATION_NONE)
        log_warn("up", "code=NO_ISOLATION: %s", ISOLATION_NONE_TEXT);
    if (u->o->serving != NULL)
        err = u->o->serving(u->o->serving_ctx, u, &stop, e);
    while (err == ERR_OK && !stop && !up_wait(u, 1000))
        continue;
    return err;
}

/*
 * Agents first: SIGINT has purserd take them with it. A RUN that nobody chose goes, too; the lock
 * keeps the next `up` from using it meanwhile.
 */
static void
stop_all(struct up *u)
{
    AUTO_CLOSE int lock = -1;
    struct error e;
    bool clean;

    stop_child(u, &u->purserd, SIGINT, STOP_PURSERD_MS + u->o->settings->stop_grace_ms);
    clean = u->purserd.started_ms != 0 && u->purserd.exit_status == 0 &&
        u->o->settings->run_dir[0] == '\0' && paths_lock(&u->paths, &lock, &e) == ERR_OK;
    stop_child(u, &u->nginx, SIGQUIT, STOP_NGINX_MS);
    if (u->orphans != 0)
        kill(-u->orphans, SIGKILL);
    if (clean)
        run_dir_remove(u->paths.run);
}

int
up_run(const struct up_options *o)
{
    struct up u = {.o = o};
    struct error e;
    enum err err = paths_open(o->settings, &u.paths, &e);

    if (err == ERR_OK)
        err = check_free(&u, &e);
    if (err != ERR_OK)
        return print_error(&e);
    u.signals = open_signals();
    if (u.signals < 0)
        return print_error((fail_errno(&e, ERR_INTERNAL, "signalfd"), &e));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    listen_url(&o->settings->listen_address, o->settings->tls_cert[0] != '\0', u.url);
    prepare_children(&u);
    err = serve(&u, &e);
    if (err != ERR_OK && !u.told)
        print_error(&e);
    stop_all(&u);
    close(u.signals);
    return err == ERR_OK ? 0 : 1;
}
