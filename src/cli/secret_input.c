#include "cli/secret_input.h"

#include "base/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

enum { VALUE_MAX = 64 * 1024, FILE_MAX = 1 << 20 };

/* Fills room; returns the number of bytes, max + 1 for too many, -1 for a failed read. */
static ssize_t
read_bytes(int fd, char *room, size_t max, bool one_line)
{
    size_t used = 0;

    while (used <= max) {
        ssize_t n = read(fd, room + used, max + 1 - used);

        if (n < 0)
            return -1;
        used += (size_t)n;
        if (n == 0 || (one_line && room[used - 1] == '\n'))
            break;
    }
    return (ssize_t)used;
}

static ssize_t
read_prompted(const char *name, char *room)
{
    struct termios before, silent;
    ssize_t n;

    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return -1;
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    /* Before the question: what is typed after it must neither be echoed nor thrown away. */
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
    fprintf(stderr, "value of %s: ", name);
    n = read_bytes(STDIN_FILENO, room, VALUE_MAX, true);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    return n;
}

enum err
secret_input(const char *name, struct secret **ret, struct error *e)
{
    AUTO_SECRET struct secret *room = NULL;
    struct str value;
    ssize_t n;
    enum err err = secret_new_room(VALUE_MAX + 1, &room, e);

    if (err != ERR_OK)
        return err;
    n = isatty(STDIN_FILENO) == 1 ? read_prompted(name, secret_room(room))
                                  : read_bytes(STDIN_FILENO, secret_room(room), VALUE_MAX, false);
    if (n < 0)
        return fail_errno(e, ERR_IO, "the value of %s cannot be read from stdin", name);
    if (n > VALUE_MAX)
        return fail(e, ERR_USAGE, "the value of %s has more than 64 KiB", name);
    value = (struct str){secret_room(room), (size_t)n};
    if (str_ends_with(value, STR("\n")))
        value.n--;
    if (str_ends_with(value, STR("\r")))
        value.n--;
    if (value.n == 0)
        return fail(e, ERR_USAGE,
            "no value for %s: it is read from stdin, never from the command line", name);
    return secret_new(value, ret, e);
}

enum err
secret_input_file(const char *path, struct secret **ret, struct error *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    AUTO_CLOSE int opened = is_stdin ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    AUTO_SECRET struct secret *room = NULL;
    ssize_t n;
    enum err err;

    if (!is_stdin && opened < 0)
        return fail_errno(e, ERR_USAGE, "%s cannot be read", path);
    err = secret_new_room(FILE_MAX + 1, &room, e);
    if (err != ERR_OK)
        return err;
    n = read_bytes(is_stdin ? STDIN_FILENO : opened, secret_room(room), FILE_MAX, false);
    if (n < 0)
        return fail_errno(e, ERR_USAGE, "%s cannot be read", path);
    if (n > FILE_MAX)
        return fail(e, ERR_USAGE, "%s has more than 1 MiB", path);
    return secret_new((struct str){secret_room(room), (size_t)n}, ret, e);
}
