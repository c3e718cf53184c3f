#include "launch/settle.h"

#include "base/cleanup.h"
#include "launch/container.h"
#include "launch/control.h"
#include "launch/process.h"

#include <poll.h>
#include <signal.h>

enum {
    TRIES = 200,
    TRY_MS = 10,
    KILL_MS = 5000,
};

/* The lock is ours: no shim is there. */
static enum settle_result
settle_locked(int file, const char *engine, struct record *r)
{
    struct error e;

    if (!record_read(file, r))
        return SETTLE_NONE;
    if (r->state == LAUNCH_EXITED)
        return SETTLE_ENDED;
    if (!process_kill_agent(r, KILL_MS))
        return SETTLE_RUNS;
    if (r->container && container_remove(engine, r->workspace, &e) != ERR_OK)
        return SETTLE_RUNS;
    r->state = LAUNCH_EXITED;
    r->exit_code = 128 + SIGKILL;
    r->ended_ms = clock_ms();
    /* Not written: whoever looks next comes to the same result. */
    if (record_write(file, r, &e) != ERR_OK)
        r->reported = false;
    return SETTLE_ENDED;
}

enum settle_result
settle(int shims, const char *engine, struct id workspace, struct record *ret, int *ret_fd)
{
    AUTO_CLOSE int file = record_open(shims, workspace, false);
    struct record r = {0};

    *ret_fd = -1;
    if (file < 0)
        return SETTLE_NONE;
    for (int i = 0; i < TRIES; i++) {
        if (record_lock(shims, workspace, file)) {
            enum settle_result result = settle_locked(file, engine, &r);

            record_unlock(file);
            *ret = r;
            return result;
        }
        /* A shim that is on its way: the socket comes after the lock, the pid after the socket. */
        if (*ret_fd < 0)
            *ret_fd = control_connect(shims, workspace);
        if (*ret_fd >= 0 && record_read(file, &r) && r.state == LAUNCH_RUNNING)
            break;
        poll(NULL, 0, TRY_MS);
    }
    *ret = r;
    return SETTLE_RUNS;
}

void
settle_mark_reported(int shims, struct id workspace, struct id start)
{
    AUTO_CLOSE int file = record_open(shims, workspace, false);
    struct record r;
    struct error e;

    if (file < 0 || !record_lock(shims, workspace, file))
        return;
    /* Not written: it is reported once more, as may happen anyway. */
    if (record_read(file, &r) && id_equal(r.start, start) && r.state == LAUNCH_EXITED) {
        r.reported = true;
        if (record_write(file, &r, &e) != ERR_OK)
            return;
    }
}
