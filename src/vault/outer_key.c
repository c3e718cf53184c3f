#include "vault/outer_key.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"

enum { TEXT_MAX = 4000, WORDS_MAX = 32, COMMAND_BYTES_MAX = 1024, COMMAND_MS = 30000 };

#define WHAT_IT_IS "one key a line, 64 hexadecimal digits each (openssl rand -hex 32)"

/* False when a line is neither a key nor a comment, or there is no key, or too many. */
static bool
parse(struct str text, struct outer_keys *k)
{
    while (text.n > 0) {
        size_t end = str_find_char(text, '\n'), n = 0;
        struct str line = str_trim(str_slice(text, 0, end));

        text = str_slice(text, end < text.n ? end + 1 : end, text.n);
        if (line.n == 0 || line.p[0] == '#')
            continue;
        if (k->n == OUTER_KEYS_MAX || line.n != 2 * OUTER_KEY_BYTES ||
            sodium_hex2bin(k->keys[k->n], OUTER_KEY_BYTES, line.p, line.n, NULL, &n, NULL) != 0 ||
            n != OUTER_KEY_BYTES)
            return false;
        k->n++;
    }
    return k->n > 0;
}

/* Until the end, TEXT_MAX bytes, or until (monotonic ms; 0: for ever). False on an error. */
static bool
read_text(int fd, int64_t patience_ms, char *room, size_t *ret_n)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t n = 0;
    ssize_t got;

    do {
        if (poll(&p, 1, (int)patience_ms) != 1) {
            errno = ETIMEDOUT;
            return false;
        }
        got = read(fd, room + n, TEXT_MAX - n);
        if (got < 0 && errno != EINTR)
            return false;
        n += got > 0 ? (size_t)got : 0;
    } while (got != 0 && n < TEXT_MAX);
    *ret_n = n;
    return true;
}

/*
 * Ours or root's, and for nobody else. systemd shows its credentials, which only the service may
 * reach, as readable by a group.
 */
static enum err
read_file(const char *path, bool by_systemd, char *room, size_t *ret_n, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "the outer key %s cannot be read", path);
    if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
        (st.st_mode & (by_systemd ? 037 : 077)) != 0)
        return fail(e, ERR_MASTER_KEY_UNREADABLE,
            "the outer key %s must be a plain file of user %u or root that nobody else can read "
            "(chown it, chmod 400 it)",
            path, (unsigned)geteuid());
    if (!read_text(fd, -1, room, ret_n))
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "reading the outer key %s", path);
    return ERR_OK;
}

/* Splits in place. False when there is nothing, or too much. */
static bool
split(char *text, char *words[static WORDS_MAX + 1])
{
    char *rest = NULL;
    size_t n = 0;

    for (char *w = strtok_r(text, " ", &rest); w != NULL; w = strtok_r(NULL, " ", &rest)) {
        if (n == WORDS_MAX)
            return false;
        words[n++] = w;
    }
    words[n] = NULL;
    return n > 0;
}

static enum err
spawn(char *words[], char *const variables[], int out, pid_t *ret, struct error *e)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    int trouble;

    sigemptyset(&none); /* the daemon blocks signals that end a program */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    trouble = posix_spawnp(ret, words[0], &actions, &attributes, words, variables);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    errno = trouble;
    return trouble == 0
        ? ERR_OK
        : fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "key_command: %s cannot be started", words[0]);
}

static enum err
run_command(const struct outer_source *s, char *room, size_t *ret_n, struct error *e)
{
    char text[COMMAND_BYTES_MAX], *words[WORDS_MAX + 1];
    int pipes[2], status = 0;
    bool read_well;
    pid_t pid;

    if (snprintf(text, sizeof(text), "%s", s->command) >= (int)sizeof(text) || !split(text, words))
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "key_command is empty or too long");
    if (pipe2(pipes, O_CLOEXEC) != 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "key_command");
    AUTO_CLOSE int in = pipes[0];
    {
        AUTO_CLOSE int out = pipes[1];

        if (spawn(words, s->variables, out, &pid, e) != ERR_OK)
            return e->code;
    }
    read_well = read_text(in, COMMAND_MS, room, ret_n);
    if (!read_well)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        continue;
    if (!read_well)
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "key_command: %s gave no key within %d s",
            words[0], COMMAND_MS / 1000);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "key_command: %s failed (%s %d)", words[0],
            WIFEXITED(status) ? "exit code" : "signal",
            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return ERR_OK;
}

/* Fills room from the one source there is; *ret_name stays NULL when there is none. */
static enum err
read_source(const struct outer_source *s, char *room, size_t *ret_n, const char **ret_name,
    char path[static 4096], struct error *e)
{
    const char *credentials = s->credentials;
    bool has_file = s->file != NULL && s->file[0] != '\0';
    size_t n = credentials == NULL ? 0 : strlen(credentials);

    if (s->command != NULL && s->command[0] != '\0') {
        if (has_file)
            return fail(e, ERR_SETTINGS_INVALID, "key_file and key_command exclude each other");
        *ret_name = "key_command";
        return run_command(s, room, ret_n, e);
    }
    if (has_file)
        snprintf(path, 4096, "%s", s->file);
    else if (n > 0)
        snprintf(path, 4096, "%s/purser-key", credentials);
    if (!has_file && (n == 0 || access(path, F_OK) != 0))
        return ERR_OK;
    *ret_name = path;
    return read_file(
        path, n > 0 && strncmp(path, credentials, n) == 0 && path[n] == '/', room, ret_n, e);
}

enum err
outer_keys_read(const struct outer_source *source, struct outer_keys **ret, struct error *e)
{
    AUTO_SECRET struct secret *text = NULL;
    AUTO_SECRET struct secret *memory = NULL;
    const char *name = NULL;
    char path[4096];
    struct outer_keys *k;
    size_t n = 0;

    if (sodium_init() < 0)
        return fail(e, ERR_INTERNAL, "libsodium can not start");
    if (secret_new_room(TEXT_MAX, &text, e) != ERR_OK ||
        secret_new_room(sizeof(*k), &memory, e) != ERR_OK ||
        read_source(source, secret_room(text), &n, &name, path, e) != ERR_OK)
        return e->code;
    if (name == NULL) {
        *ret = NULL;
        return ERR_OK;
    }
    k = (struct outer_keys *)(void *)secret_room(memory);
    if (!parse((struct str){secret_room(text), n}, k))
        return fail(e, ERR_MASTER_KEY_UNREADABLE,
            "the outer key (%s) is not what it should be: " WHAT_IT_IS, name);
    k->memory = TAKE(memory);
    *ret = k;
    return ERR_OK;
}

void
outer_keys_free(struct outer_keys *k)
{
    if (k != NULL)
        secret_free(k->memory);
}
