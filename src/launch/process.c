#include "launch/process.h"

#include "base/cleanup.h"
#include "core/num.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

/* Reads a small file of /proc, NUL-terminated; 0 when it cannot be read. */
static size_t
read_small(const char *path, char *ret, size_t room)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n;

    if (fd < 0)
        return 0;
    while (used < room - 1 && (n = read(fd, ret + used, room - 1 - used)) > 0)
        used += (size_t)n;
    ret[used] = '\0';
    return used;
}

bool
process_look(int pid, struct process *ret)
{
    char path[64], text[1024];
    const char *after;
    char state;
    unsigned long long ticks;
    int parent, group, session;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (read_small(path, text, sizeof(text)) == 0)
        return false;
    /* The name may contain anything, also ')'. */
    after = strrchr(text, ')');
    if (after == NULL ||
        sscanf(after + 1,
            " %c %d %d %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu", &state,
            &parent, &group, &session, &ticks) != 5)
        return false;
    *ret = (struct process){
        .pid = pid,
        .parent = parent,
        .group = group,
        .session = session,
        .ticks = ticks,
        .zombie = state == 'Z' || state == 'X',
    };
    return true;
}

struct id
process_boot(void)
{
    char text[64];
    struct id id = {0};

    if (read_small("/proc/sys/kernel/random/boot_id", text, sizeof(text)) >= ID_TEXT_BYTES - 1 &&
        !id_parse((struct str){text, ID_TEXT_BYTES - 1}, &id))
        return (struct id){0};
    return id;
}

static bool
same_boot(const struct record *r)
{
    return id_equal(r->boot, process_boot());
}

bool
process_is_alive(const struct record *r)
{
    struct process p;

    return r->pid > 0 && same_boot(r) && process_look(r->pid, &p) && p.ticks == r->pid_ticks &&
        !p.zombie;
}

void
process_kill_children(void)
{
    char text[16 * 1024];
    size_t n = read_small("/proc/thread-self/children", text, sizeof(text));
    struct str rest = {text, n};

    while (rest.n > 0) {
        size_t end = str_find_char(rest, ' ');
        uint64_t pid;

        /* A number cut off by the buffer has no blank behind it; the next round sees it whole. */
        if (end < rest.n && num_parse_u64(str_slice(rest, 0, end), &pid) && pid > 1)
            kill((pid_t)pid, SIGKILL);
        rest = str_slice(rest, end < rest.n ? end + 1 : end, rest.n);
    }
}

void
process_kill_uid(uint32_t uid)
{
    pid_t helper;

    if (!launch_uid_is_private(uid) || geteuid() != 0)
        return;
    helper = fork();
    if (helper == 0) {
        if (setresuid(uid, uid, uid) == 0)
            kill(-1, SIGKILL);
        _exit(0);
    }
    if (helper > 0)
        waitpid(helper, NULL, 0);
}

/* Everything that runs, as one look at /proc saw it. */

struct table {
    struct process *p;
    bool *ours;
    size_t n;
};

static void
table_done(struct table *t)
{
    free(t->p);
    free(t->ours);
}

static bool
table_fill(struct table *t)
{
    DIR *proc = opendir("/proc");
    size_t room = 0;

    if (proc == NULL)
        return false;
    for (struct dirent *d; (d = readdir(proc)) != NULL;) {
        uint64_t pid;
        struct process p;

        if (!num_parse_u64(str_from_cstr(d->d_name), &pid) || pid > INT32_MAX ||
            !process_look((int)pid, &p) || p.zombie)
            continue;
        if (t->n == room) {
            struct process *more = reallocarray(t->p, room += 512, sizeof(*more));

            if (more == NULL)
                break;
            t->p = more;
        }
        t->p[t->n++] = p;
    }
    closedir(proc);
    t->ours = calloc(t->n + 1, sizeof(*t->ours));
    return t->ours != NULL;
}

static bool
has_uid(int pid, uint32_t uid)
{
    char path[64], text[2048];
    const char *line;
    unsigned real;

    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    if (read_small(path, text, sizeof(text)) == 0)
        return false;
    line = strstr(text, "\nUid:");
    return line != NULL && sscanf(line, "\nUid: %u", &real) == 1 && real == uid;
}

/*
 * The leader counts when its start time is the recorded one. Its session is ours while it lives: no
 * other process can have got its pid, and with it the session's number. Descendants of what is ours
 * are ours, whatever session they made.
 */
static size_t
mark_ours(struct table *t, const struct record *r)
{
    size_t marked = 0;
    struct process p;
    bool leader = process_look(r->pid, &p) && p.ticks == r->pid_ticks; /* a zombie's pid is taken */
    bool again;

    for (size_t i = 0; i < t->n; i++) {
        t->ours[i] = leader && t->p[i].session == r->pid;
        if (launch_uid_is_private(r->uid) && has_uid(t->p[i].pid, r->uid))
            t->ours[i] = true;
        marked += t->ours[i];
    }
    do {
        again = false;
        for (size_t i = 0; i < t->n; i++) {
            for (size_t k = 0; k < t->n && !t->ours[i]; k++) {
                if (t->ours[k] && t->p[i].parent == t->p[k].pid) {
                    t->ours[i] = again = true;
                    marked++;
                }
            }
        }
    } while (again);
    return marked;
}

/* A descriptor cannot come to mean another process, and the look after it proves which one it is.
 */
static void
signal_exactly(const struct process *p, int signal_number)
{
    AUTO_CLOSE int fd = pidfd_open(p->pid, 0);
    struct process now;

    if (fd >= 0 && process_look(p->pid, &now) && now.ticks == p->ticks)
        pidfd_send_signal(fd, signal_number, NULL, 0);
}

bool
process_kill_agent(const struct record *r, int64_t wait_ms)
{
    int64_t deadline = clock_monotonic_ms() + wait_ms;

    if (r->pid <= 0 || !same_boot(r))
        return true;
    for (;;) {
        AUTO(table_done) struct table t = {0};
        size_t marked;

        process_kill_uid(r->uid);
        if (!table_fill(&t))
            return false;
        marked = mark_ours(&t, r);
        if (marked == 0)
            return true;
        /* The leader last, stopped until then: while it is there its session proves who is ours. */
        for (size_t i = 0; i < t.n; i++) {
            if (t.ours[i])
                signal_exactly(&t.p[i], t.p[i].pid != r->pid || marked == 1 ? SIGKILL : SIGSTOP);
        }
        if (clock_monotonic_ms() > deadline)
            return false;
        poll(NULL, 0, 5);
    }
}
