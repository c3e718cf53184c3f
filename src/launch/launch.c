#include "launch/launch.h"

#include "launch/agentlog.h"
#include "launch/container.h"
#include "launch/engine.h"
#include "launch/control.h"
#include "launch/folder.h"
#include "launch/handover.h"
#include "launch/homefile.h"
#include "launch/launcher.h"

#include <errno.h>
#include <sys/wait.h>

enum {
    ASK_MS = 5000,
    DYING_MS = 15000, /* how long killed processes may take to be gone */
};

enum err
launch_prepare(struct launcher *l, const struct launch_container *c, launch_progress_fn *progress,
    void *ctx, struct error *e)
{
    bool there = false;

    if (l->engine[0] == '\0')
        return ERR_OK; /* launch_start() says so */
    if (engine_has_image(l->engine, c->image, &there, e) != ERR_OK)
        return e->code;
    return there ? ERR_OK : engine_pull(l->engine, c->image, progress, ctx, e);
}

enum err
launch_start(struct launcher *l, const struct launch_spec *spec, struct error *e)
{
    struct entry *entry;
    struct record r = {0};
    enum settle_result found;
    enum err result;
    pid_t shim = 0;
    int fd;

    launcher_lock(l);
    entry = launcher_find_or_add(l, spec->workspace);
    if (entry_is_active(entry)) {
        launcher_unlock(l);
        return fail(e, ERR_CONFLICT, "the workspace's agent is running already");
    }
    entry->status = (struct launch_status){.state = LAUNCH_STARTING, .start = spec->start};
    launcher_unlock(l);

    result = handover(spec, &l->options, &shim, e);
    found = settle(l->shims, l->engine, spec->workspace, &r, &fd);
    if (result != ERR_OK && found == SETTLE_ENDED && id_equal(r.start, spec->start)) {
        /* The caller hears of it from us. */
        settle_mark_reported(l->shims, spec->workspace, spec->start);
        r.reported = true;
    }

    launcher_lock(l);
    if (found == SETTLE_RUNS)
        entry->shim = shim;
    launcher_adopt(l, entry, found, &r, fd);
    launcher_unlock(l);
    if (found != SETTLE_RUNS && shim > 0)
        waitpid(shim, NULL, 0);
    return result;
}

/* Waits, locked, until this start of the workspace is no more; false at the deadline. */
static bool
wait_for_end(struct launcher *l, struct id workspace, struct id start, int64_t deadline_ms)
{
    struct timespec until = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000};

    for (;;) {
        struct entry *entry = launcher_find(l, workspace);

        if (!entry_is_active(entry) || !id_equal(entry->status.start, start))
            return true;
        if (pthread_cond_timedwait(&l->changed, &l->mutex, &until) != 0)
            return false;
    }
}

/* Waits, locked, for a start that is under way, so that there is a shim to talk to. */
static bool
wait_for_start(struct launcher *l, struct id workspace, struct id *ret_start)
{
    struct entry *entry;

    while ((entry = launcher_find(l, workspace)) != NULL && entry->status.state == LAUNCH_STARTING)
        pthread_cond_wait(&l->changed, &l->mutex);
    if (!entry_is_active(entry))
        return false;
    *ret_start = entry->status.start;
    return true;
}

enum err
launch_stop(struct launcher *l, struct id workspace, int64_t grace_ms, struct error *e)
{
    struct control_request request = {CONTROL_STOP, grace_ms};
    AUTO_CLOSE int fd = -1;
    struct record r;
    struct id start;
    bool runs, ended;

    if (grace_ms < 0 || grace_ms > CONTROL_MAX_GRACE_MS)
        return fail(e, ERR_INVALID_REQUEST, "a grace of %lld ms is not between 0 and a day",
            (long long)grace_ms);
    launcher_lock(l);
    runs = wait_for_start(l, workspace, &start);
    launcher_unlock(l);
    if (!runs)
        return ERR_OK;
    /* It may end by itself between any two lines; then nobody answers, and its end is on the way.
     */
    fd = control_connect(l->shims, workspace);
    if (fd >= 0)
        control_ask(fd, &request, ASK_MS, &r);
    launcher_lock(l);
    ended = wait_for_end(l, workspace, start, clock_monotonic_ms() + grace_ms + DYING_MS);
    launcher_unlock(l);
    if (!ended)
        return fail(e, ERR_LAUNCH_FAILED,
            "the agent's processes do not end yet; they are ended as soon as that is possible (of "
            "a "
            "container: when its engine answers again)");
    return ERR_OK;
}

struct launch_status
launch_status(struct launcher *l, struct id workspace)
{
    struct launch_status status = {0};
    struct entry *entry;

    launcher_lock(l);
    entry = launcher_find(l, workspace);
    if (entry != NULL)
        status = entry->status;
    launcher_unlock(l);
    return status;
}

size_t
launch_list(struct launcher *l, struct id *ret_workspaces, size_t max)
{
    size_t n = 0;

    launcher_lock(l);
    for (size_t i = 0; i < l->entries_n; i++) {
        if (!entry_is_active(l->entries[i]))
            continue;
        if (n < max)
            ret_workspaces[n] = l->entries[i]->workspace;
        n++;
    }
    launcher_unlock(l);
    return n;
}

enum err
launch_log(
    struct launcher *l, struct id workspace, size_t max_bytes, struct buf *out, struct error *e)
{
    AUTO_CLOSE int dir = -1;

    if (folder_open_agent(l->state_dir, workspace, false, 0, &dir, e) != ERR_OK)
        return e->code == ERR_NOT_FOUND ? ERR_OK : e->code;
    return agentlog_tail(dir, max_bytes, out, e);
}

/* Drops the entry unless it is active; false then. */
static bool
drop(struct launcher *l, struct id workspace)
{
    bool active = false;

    launcher_lock(l);
    for (size_t i = 0; i < l->entries_n; i++) {
        struct entry *entry = l->entries[i];

        if (!id_equal(entry->workspace, workspace))
            continue;
        active = entry_is_active(entry);
        if (!active) {
            l->entries[i] = l->entries[--l->entries_n];
            free(entry);
        }
        break;
    }
    launcher_unlock(l);
    return !active;
}

enum err
launch_forget(struct launcher *l, struct id workspace, struct error *e)
{
    AUTO_CLOSE int file = -1;
    AUTO_CLOSE int dir = -1;
    char name[RECORD_NAME_BYTES];
    struct record r;

    if (!drop(l, workspace))
        return fail(e, ERR_CONFLICT, "the workspace's agent is running");
    file = record_claim(l->shims, workspace, false);
    /* Held by a shim nobody told us of: it is still somebody's. */
    if (file < 0 && errno == EAGAIN)
        return fail(e, ERR_CONFLICT, "the workspace's agent is running");
    if (file >= 0 && record_read(file, &r) && r.container &&
        container_remove(l->engine, workspace, e) != ERR_OK)
        return e->code;
    record_name(workspace, ".run", name);
    if (file >= 0 && unlinkat(l->shims, name, 0) != 0)
        return fail_errno(e, ERR_IO, "cannot remove the workspace's run file");
    if (folder_open_agent(l->state_dir, workspace, false, 0, &dir, e) == ERR_OK) {
        agentlog_remove(dir);
        homefile_forget(dir);
    }
    return ERR_OK;
}
