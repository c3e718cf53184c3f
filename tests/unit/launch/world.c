#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sodium.h>
#include <sys/stat.h>

void
on_exit_seen(void *ctx, struct id workspace, const struct launch_status *status)
{
    struct world *w = ctx;

    pthread_mutex_lock(&w->mutex);
    if (w->exits_n < MAX_EXITS)
        w->exits[w->exits_n++] = (struct exit_seen){workspace, *status};
    pthread_mutex_unlock(&w->mutex);
}

size_t
exits(struct world *w)
{
    size_t n;

    pthread_mutex_lock(&w->mutex);
    n = w->exits_n;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

void
open_launcher(struct world *w)
{
    MUST(launcher_open(&w->options, on_exit_seen, w, &w->launcher, &e));
}

void
close_launcher(struct world *w)
{
    launcher_close(w->launcher);
    w->launcher = NULL;
}

void
make_dir(char ret[static PATH_MAX], const char *above, const char *name, mode_t mode)
{
    assert_true(snprintf(ret, PATH_MAX, "%s/%s", above, name) < PATH_MAX);
    assert_int_equal(mkdir(ret, 0700), 0);
    assert_int_equal(chmod(ret, mode), 0);
}

int
world_set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char top[] = "/tmp/purser-launch-XXXXXX", name[ID_TEXT_BYTES];
    ssize_t n;

    assert_non_null(w);
    assert_non_null(mkdtemp(top));
    assert_int_equal(chmod(top, 0711), 0);
    /* Longer than a socket's address may be. */
    make_dir(w->base, top,
        "a-run-directory-whose-path-is-by-itself-already-longer-than-the-hundred-and-eight-bytes-"
        "that-an-address-of-a-socket-may-have",
        0711);
    make_dir(w->run, w->base, "run", 0700);
    make_dir(w->state, w->base, "state", 0711);
    w->workspace = id_new();
    w->uid = geteuid() == 0 ? LAUNCH_UID_FIRST + (uint32_t)getpid() % 100000 * 8 : 0;
    id_text(w->workspace, name);
    assert_true(snprintf(w->home, PATH_MAX, "%s/agents/%s/home", w->state, name) < PATH_MAX);
    n = readlink("/proc/self/exe", w->program, PATH_MAX - 1);
    assert_true(n > 0);
    w->options = (struct launch_options){
        str_from_cstr(w->run), str_from_cstr(w->state), str_from_cstr(w->program)};
    pthread_mutex_init(&w->mutex, NULL);
    open_launcher(w);
    *state = w;
    return 0;
}

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

int
world_tear_down(void **state)
{
    struct world *w = *state;
    struct id ids[64];
    size_t n;

    if (w->launcher == NULL)
        open_launcher(w);
    n = launch_list(w->launcher, ids, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        MUST(launch_stop(w->launcher, ids[i], 0, &e));
    close_launcher(w);
    *strrchr(w->base, '/') = '\0';
    nftw(w->base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

void
agent_init(struct agent *a, struct world *w, const char *script)
{
    *a = (struct agent){
        .argv = {STR_INIT("sh"), STR_INIT("-c"), str_from_cstr(script)},
        .env = {{.name = STR_INIT("PATH"), .literal = STR_INIT("/usr/bin:/bin")},
            {.name = STR_INIT("HOME"), .literal = str_from_cstr(w->home)}},
    };
    a->spec = (struct launch_spec){
        .workspace = w->workspace,
        .start = id_new(),
        .argv = a->argv,
        .argv_n = 3,
        .env = a->env,
        .env_n = 2,
        .home = str_from_cstr(w->home),
        .uid = w->uid,
    };
}

void
start_script(struct agent *a, struct world *w, const char *script)
{
    agent_init(a, w, script);
    MUST(launch_start(w->launcher, &a->spec, &e));
}

size_t
slurp(const char *path, char *ret, size_t room)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n;

    while (fd >= 0 && used < room - 1 && (n = read(fd, ret + used, room - 1 - used)) > 0)
        used += (size_t)n;
    ret[used] = '\0';
    return used;
}

/* The agent's log, as long as the caller needs it not longer than until the next call. */
const char *
log_text(struct world *w)
{
    static char text[8192];
    AUTO_BUF struct buf b;

    buf_init(&b, sizeof(text));
    MUST(launch_log(w->launcher, w->workspace, sizeof(text) - 1, &b, &e));
    memcpy(text, buf_cstr(&b), b.n);
    text[b.n] = '\0';
    return text;
}

bool
is_gone(int pid)
{
    char path[64], text[512];
    const char *after;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (slurp(path, text, sizeof(text)) == 0)
        return true;
    after = strrchr(text, ')');
    return after == NULL || after[2] == 'Z';
}

/* Pids that an agent wrote, one a line, into HOME/pids. */
size_t
read_pids(struct world *w, int *ret, size_t max)
{
    char path[PATH_MAX + 8], text[1024];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/pids", w->home);
    slurp(path, text, sizeof(text));
    for (char *at = text, *end; n < max; at = end + 1) {
        ret[n] = (int)strtol(at, &end, 10);
        if (end == at || *end != '\n')
            break;
        n++;
    }
    return n;
}

int
parent_of(int pid)
{
    char path[64], text[512];
    int parent = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    slurp(path, text, sizeof(text));
    assert_non_null(strrchr(text, ')'));
    assert_int_equal(sscanf(strrchr(text, ')') + 1, " %*c %d", &parent), 1);
    return parent;
}

struct launch_status
status(struct world *w)
{
    return launch_status(w->launcher, w->workspace);
}

int
world_init(void **state)
{
    return sodium_init() < 0 ? -1 : 0;
}
