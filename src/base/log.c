#include "base/log.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int threshold = LOG_INFO;

void
log_set_level(enum log_level level)
{
    threshold = (int)level;
}

void
log_line(enum log_level level, const char *subject, const char *format, ...)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char line[2048];
    struct timespec now;
    struct tm tm;
    size_t used;
    va_list args;

    if ((int)level > threshold)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    used = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
    used += (size_t)snprintf(line + used, sizeof(line) - used, ".%03ldZ %s %s ",
        now.tv_nsec / 1000000, names[level], subject);
    if (used > sizeof(line) - 2)
        used = sizeof(line) - 2;
    va_start(args, format);
    vsnprintf(line + used, sizeof(line) - 1 - used, format, args);
    va_end(args);
    used = strlen(line);
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    }
    line[used++] = '\n';
    /* One write: lines of several threads and processes do not mix. */
    if (write(STDERR_FILENO, line, used) < 0)
        return;
}
