#include "edge/gateway_proc.h"

#include "base/arena.h"
#include "base/cleanup.h"
#include "core/num.h"

#include <fcntl.h>
#include <stdio.h>

/* At most bytes - 1 bytes of a small file, NUL-terminated; an empty text when it cannot be read. */
static struct str
read_text(const char *path, char *room, size_t bytes)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd == -1 ? -1 : read(fd, room, bytes - 1);

    room[n > 0 ? n : 0] = '\0';
    return (struct str){room, n > 0 ? (size_t)n : 0};
}

/* nginx writes what it is doing over its command line. False when there is no such process. */
static bool
title_has(pid_t pid, struct str word)
{
    char path[32], room[4096];
    struct str title;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    title = read_text(path, room, sizeof(room));
    return memmem(title.p, title.n, word.p, word.n) != NULL;
}

pid_t
gateway_master(struct str run_dir)
{
    AUTO_ARENA struct arena a;
    char room[64];
    uint64_t pid;

    arena_init(&a);
    read_text(arena_printf(&a, "%.*s/nginx.pid", STR_ARG(run_dir)).p, room, sizeof(room));
    if (!num_parse_u64(str_trim(str_from_cstr(room)), &pid) || pid <= 1 || pid > INT32_MAX)
        return 0;
    return title_has((pid_t)pid, STR("nginx")) ? (pid_t)pid : 0;
}

size_t
gateway_workers(pid_t master, pid_t ret[static GATEWAY_WORKERS_MAX])
{
    char path[64], room[GATEWAY_WORKERS_MAX * 8];
    struct str rest;
    size_t n = 0;

    snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)master, (int)master);
    rest = read_text(path, room, sizeof(room));
    while (rest.n > 0 && n < GATEWAY_WORKERS_MAX) {
        size_t end = str_find_char(rest, ' ');
        uint64_t pid;

        if (num_parse_u64(str_slice(rest, 0, end), &pid) && pid <= INT32_MAX)
            ret[n++] = (pid_t)pid;
        rest = str_slice(rest, end < rest.n ? end + 1 : end, rest.n);
    }
    return n;
}

bool
gateway_worker_accepts(pid_t worker)
{
    return title_has(worker, STR("nginx")) && !title_has(worker, STR("is shutting down"));
}
