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

pid_t
gateway_master(struct str run_dir)
{
    AUTO_ARENA struct arena a;
    char path[32], room[64];
    uint64_t pid;

    arena_init(&a);
    read_text(arena_printf(&a, "%.*s/nginx.pid", STR_ARG(run_dir)).p, room, sizeof(room));
    if (!num_parse_u64(str_trim(str_from_cstr(room)), &pid) || pid <= 1 || pid > INT32_MAX)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    read_text(path, room, sizeof(room));
    return str_starts_with(str_from_cstr(room), STR("nginx")) ? (pid_t)pid : 0;
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
    static const char told[] = "is shutting down";
    char path[32], room[128];
    struct str title;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)worker);
    title = read_text(path, room, sizeof(room));
    return title.n > 0 && memmem(title.p, title.n, told, sizeof(told) - 1) == NULL;
}
