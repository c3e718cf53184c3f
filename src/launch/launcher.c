#include "launch/launcher.h"

#include "base/cleanup.h"
#include "launch/folder.h"

#include <dirent.h>
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

enum {
    LOOK_AGAIN_MS = 1000, /* at a shim that does not take a connection */
    MAX_EVENTS = 64,
};

void
launcher_lock(struct launcher *l)
{
    ENSURE(pthread_mutex_lock(&l->mutex) == 0);
}

void
launcher_unlock(struct launcher *l)
{
    ENSURE(pthread_mutex_unlock(&l->mutex) == 0);
}

static void
wake(struct launcher *l)
{
    ENSURE(eventfd_write(l->wake, 1) == 0);
}

struct entry *
launcher_find(struct launcher *l, struct id workspace)
{
    for (size_t i = 0; i < l->entries_n; i++) {
        if (id_equal(l->entries[i]->workspace, workspace))
            return l->entries[i];
    }
    return NULL;
}

struct entry *
launcher_find_or_add(struct launcher *l, struct id workspace)
{
    struct entry *entry = launcher_find(l, workspace);

    if (entry != NULL)
        return entry;
    entry = calloc(1, sizeof(*entry));
    l->entries = reallocarray(l->entries, l->entries_n + 1, sizeof(*l->entries));
    ENSURE(entry != NULL && l->entries != NULL);
    entry->workspace = workspace;
    entry->fd = -1;
    l->entries[l->entries_n++] = entry;
    return entry;
}

static void
add_report(struct launcher *l, const struct entry *entry)
{
    l->reports = reallocarray(l->reports, l->reports_n + 1, sizeof(*l->reports));
    ENSURE(l->reports != NULL);
    l->reports[l->reports_n++] = (struct report){entry->workspace, entry->status};
}

void
launcher_adopt(struct launcher *l, struct entry *entry, enum settle_result result,
    const struct record *r, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.fd = fd};

    entry->status = result == SETTLE_NONE ? (struct launch_status){0} : record_status(r);
    if (result == SETTLE_RUNS)
        entry->status.state = LAUNCH_RUNNING;
    if (result == SETTLE_ENDED && !r->reported)
        add_report(l, entry);
    if (result == SETTLE_RUNS && fd >= 0) {
        entry->fd = fd;
        ENSURE(epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
    } else {
        cleanup_close(&fd);
    }
    pthread_cond_broadcast(&l->changed);
    wake(l);
}

/* The thread. */

static struct entry *
find_fd(struct launcher *l, int fd)
{
    for (size_t i = 0; i < l->entries_n; i++) {
        if (l->entries[i]->fd == fd)
            return l->entries[i];
    }
    return NULL;
}

/* Looks again at a workspace whose connection ended or never came. Called and returns locked. */
static void
look_again(struct launcher *l, struct entry *entry)
{
    struct id workspace = entry->workspace;
    struct record r = {0};
    enum settle_result result;
    pid_t shim = entry->shim;
    int fd;

    cleanup_close(&entry->fd);
    entry->fd = -1;
    /* Still RUNNING: nobody starts or forgets it meanwhile. */
    launcher_unlock(l);
    result = settle(l->shims, l->engine, workspace, &r, &fd);
    if (result != SETTLE_RUNS && shim > 0)
        waitpid(shim, NULL, 0);
    launcher_lock(l);
    if (result != SETTLE_RUNS)
        entry->shim = 0;
    launcher_adopt(l, entry, result, &r, fd);
}

static void
report_all(struct launcher *l)
{
    while (!l->closing && l->reports_n > 0) {
        struct report report = l->reports[0];

        memmove(l->reports, l->reports + 1, --l->reports_n * sizeof(*l->reports));
        launcher_unlock(l);
        l->on_exit(l->ctx, report.workspace, &report.status);
        settle_mark_reported(l->shims, report.workspace, report.status.start);
        launcher_lock(l);
    }
}

/* Returns whether some shim is yet to be connected to. */
static bool
look_at_unconnected(struct launcher *l)
{
    bool some = false;

    for (size_t i = 0; i < l->entries_n; i++) {
        struct entry *entry = l->entries[i];

        if (entry->status.state == LAUNCH_RUNNING && entry->fd < 0) {
            look_again(l, entry);
            some |= entry->status.state == LAUNCH_RUNNING && entry->fd < 0;
        }
    }
    return some;
}

static void *
watch(void *arg)
{
    struct launcher *l = arg;
    struct epoll_event events[MAX_EVENTS];

    launcher_lock(l);
    while (!l->closing) {
        bool look_soon;
        int n;

        report_all(l);
        look_soon = look_at_unconnected(l);
        launcher_unlock(l);
        n = epoll_wait(l->epoll, events, MAX_EVENTS, look_soon ? LOOK_AGAIN_MS : -1);
        launcher_lock(l);
        for (int i = 0; i < n; i++) {
            eventfd_t count;
            struct entry *entry;

            if (events[i].data.fd == l->wake)
                eventfd_read(l->wake, &count);
            else if ((entry = find_fd(l, events[i].data.fd)) != NULL)
                look_again(l, entry);
        }
    }
    launcher_unlock(l);
    return NULL;
}

/* Opening and closing. */

static void
find_shims(struct launcher *l)
{
    int fd = dup(l->shims);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);

    ENSURE(dir != NULL);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct str name = str_from_cstr(d->d_name);
        struct id workspace;
        struct record r = {0};
        enum settle_result result;
        int connection;

        if (!str_ends_with(name, STR(".run")) ||
            !id_parse(str_slice(name, 0, name.n - 4), &workspace))
            continue;
        result = settle(l->shims, l->engine, workspace, &r, &connection);
        if (result != SETTLE_NONE)
            launcher_adopt(l, launcher_find_or_add(l, workspace), result, &r, connection);
    }
    closedir(dir);
}

static bool
copy_text(struct str from, char **into, struct str *ret)
{
    *into = strndup(from.p == NULL ? "" : from.p, from.n);
    *ret = str_from_cstr(*into == NULL ? "" : *into);
    return *into != NULL;
}

static bool
copy_options(struct launcher *l, const struct launch_options *o)
{
    struct launch_options *to = &l->options;

    return copy_text(o->program, &l->program, &to->program) &&
        copy_text(o->run_dir, &l->run_dir, &to->run_dir) &&
        copy_text(o->state_dir, &l->state_dir, &to->state_dir) &&
        copy_text(o->engine, &l->engine, &to->engine) && copy_text(o->init, &l->init, &to->init) &&
        copy_text(o->shim, &l->shim, &to->shim) && copy_text(o->sandbox, &l->sandbox, &to->sandbox);
}

static enum err
set_up(struct launcher *l, const struct launch_options *o, struct error *e)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (!copy_options(l, o))
        return fail(e, ERR_OUT_OF_MEMORY, "no memory for the launcher");
    if (folder_open_shims(l->run_dir, &l->shims, e) != ERR_OK)
        return e->code;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    event.data.fd = l->wake;
    if (l->epoll < 0 || l->wake < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->wake, &event) != 0)
        return fail_errno(e, ERR_IO, "cannot watch shims");
    find_shims(l);
    errno = pthread_create(&l->thread, NULL, watch, l);
    if (errno != 0)
        return fail_errno(e, ERR_IO, "cannot start the launcher's thread");
    l->has_thread = true;
    return ERR_OK;
}

enum err
launcher_open(const struct launch_options *o, launch_exit_fn *on_exit, void *ctx,
    struct launcher **ret, struct error *e)
{
    struct launcher *l = calloc(1, sizeof(*l));
    pthread_condattr_t attributes;

    if (l == NULL)
        return fail(e, ERR_OUT_OF_MEMORY, "no memory for the launcher");
    l->on_exit = on_exit;
    l->ctx = ctx;
    l->shims = l->epoll = l->wake = -1;
    pthread_mutex_init(&l->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (set_up(l, o, e) != ERR_OK) {
        launcher_close(l);
        return e->code;
    }
    *ret = l;
    return ERR_OK;
}

void
launcher_close(struct launcher *l)
{
    if (l == NULL)
        return;
    if (l->has_thread) {
        launcher_lock(l);
        l->closing = true;
        launcher_unlock(l);
        wake(l);
        pthread_join(l->thread, NULL);
    }
    for (size_t i = 0; i < l->entries_n; i++) {
        cleanup_close(&l->entries[i]->fd);
        free(l->entries[i]);
    }
    free(l->entries);
    free(l->reports);
    cleanup_close(&l->shims);
    cleanup_close(&l->epoll);
    cleanup_close(&l->wake);
    pthread_mutex_destroy(&l->mutex);
    pthread_cond_destroy(&l->changed);
    free(l->program);
    free(l->run_dir);
    free(l->state_dir);
    free(l->engine);
    free(l->init);
    free(l->shim);
    free(l->sandbox);
    free(l);
}
