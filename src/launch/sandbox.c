#include "launch/sandbox.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* bubblewrap sets PWD; the agent's environment is the plan and nothing else. */
#define ENV_PROGRAM "/usr/bin/env"
/* Counts the sandbox's own processes: outside, all that run with purser's uid would count. */
#define LIMIT_PROGRAM "/usr/bin/prlimit"

enum { MAX_WORDS = 80, MAX_PROCESSES = 4096 };

struct words {
    const char *v[MAX_WORDS + ORDER_MAX_ARGS];
    size_t n;
};

static void
add(struct words *w, const char *a)
{
    w->v[w->n++] = a;
}

static void
add_pair(struct words *w, const char *option, const char *path)
{
    add(w, option);
    add(w, path);
}

static void
add_bind(struct words *w, const char *option, const char *path)
{
    add_pair(w, option, path);
    add(w, path);
}

/* The folder that all HOMEs are in; empty when it is the root. */
static void
folder_of(const char *home, char ret[static ORDER_MAX_PATH_BYTES])
{
    snprintf(ret, ORDER_MAX_PATH_BYTES, "%s", home);
    *strrchr(ret, '/') = '\0';
}

/*
 * Later words cover what earlier ones show: whatever the working directory is, or a link on the way
 * to it leads to, state, run directory and the HOMEs of others are hidden after it.
 */
static void
add_files(struct words *w, const struct order *order, const char *homes)
{
    add_bind(w, "--ro-bind", "/");
    add_pair(w, "--dev", "/dev");
    add_pair(w, "--proc", "/proc");
    add_pair(w, "--tmpfs", "/tmp");
    /* Sockets work on a read-only file system: those of the user's session, or of an engine. */
    add_pair(w, "--tmpfs", "/run");
    add_bind(w, "--ro-bind-try", "/run/systemd/resolve");
    if (strcmp(order->work_dir, "/") != 0)
        add_bind(w, "--bind", order->work_dir);
    add_pair(w, "--tmpfs", order->state_dir);
    add_pair(w, "--tmpfs", order->run_dir);
    if (homes[0] != '\0')
        add_pair(w, "--tmpfs", homes);
    add_bind(w, "--bind", order->home);
    add_pair(w, "--chdir", order->work_dir);
}

/* A uid that only this workspace has was limited by child.c. */
static void
add_limit(struct words *w, const struct order *order, char *text, size_t room)
{
    rlim_t processes =
        order->limits.processes > 0 ? (rlim_t)order->limits.processes : MAX_PROCESSES;
    struct rlimit now;

    if (launch_uid_is_private(order->uid))
        return;
    if (getrlimit(RLIMIT_NPROC, &now) == 0 && now.rlim_max < processes)
        processes = now.rlim_max;
    snprintf(text, room, "--nproc=%llu:%llu", (unsigned long long)processes,
        (unsigned long long)processes);
    add_pair(w, LIMIT_PROGRAM, text);
}

void
sandbox_exec(const struct order *order, const char *program)
{
    char homes[ORDER_MAX_PATH_BYTES], limit[64];
    struct words w = {0};

    folder_of(order->home, homes);
    add(&w, order->sandbox);
    add(&w, "--die-with-parent");
    add(&w, "--unshare-pid");
    add(&w, "--unshare-ipc");
    add(&w, "--unshare-uts");
    add_files(&w, order, homes);
    add(&w, "--");
    add_limit(&w, order, limit, sizeof(limit));
    add_pair(&w, ENV_PROGRAM, "-u");
    add_pair(&w, "PWD", "--");
    add(&w, program);
    for (size_t i = 1; i < order->argv_n; i++)
        add(&w, order->argv[i]);
    add(&w, NULL);
    execve(order->sandbox, (char *const *)(uintptr_t)w.v, order->envp);
}
