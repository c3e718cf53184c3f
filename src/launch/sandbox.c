#include "launch/sandbox.h"

#include <errno.h>
#include <unistd.h>

/* bubblewrap sets PWD; the agent's environment is the plan and nothing else. */
#define ENV_PROGRAM "/usr/bin/env"

void
sandbox_exec(const struct order *order, const char *program)
{
    const char *fixed[] = {order->sandbox, "--die-with-parent", "--unshare-pid", "--unshare-ipc",
        "--unshare-uts", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs",
        "/tmp", "--tmpfs", order->state_dir, "--tmpfs", order->run_dir, "--bind", order->home,
        order->home, "--bind", order->work_dir, order->work_dir, "--chdir", order->work_dir, "--",
        ENV_PROGRAM, "-u", "PWD", "--", program};
    enum { FIXED_N = sizeof(fixed) / sizeof(fixed[0]) };
    char *argv[FIXED_N + ORDER_MAX_ARGS + 1];
    size_t n = 0;

    for (size_t i = 0; i < FIXED_N; i++)
        argv[n++] = (char *)(uintptr_t)fixed[i];
    for (size_t i = 1; i < order->argv_n; i++)
        argv[n++] = order->argv[i];
    argv[n] = NULL;
    execve(order->sandbox, argv, order->envp);
}
