/*
 * What purserd's side sends to purser-init in a container, once, over a Unix socket that only the
 * container sees: a header, then NUL-terminated strings. Two descriptors travel with the header:
 * the agent's output, and where a failure to run it is reported.
 */
#ifndef INIT_INITWIRE_H
#define INIT_INITWIRE_H

#include <stdbool.h>
#include <stdint.h>

/* Inside the container. */
#define INITWIRE_FOLDER "/.purser"
#define INITWIRE_PROGRAM INITWIRE_FOLDER "/init"
#define INITWIRE_SOCKETS INITWIRE_FOLDER "/run"
#define INITWIRE_SOCKET INITWIRE_SOCKETS "/sock"

enum { INITWIRE_MAGIC = 0x31495250 /* "PRI1" */, INITWIRE_FDS = 2 };
enum { INITWIRE_MAX_STRINGS = 4096, INITWIRE_MAX_BODY_BYTES = 4 << 20 };

struct initwire_header {
    uint32_t magic;
    uint32_t body_bytes;
    uint32_t argv_n; /* after the working directory, which is the first string */
    uint32_t env_n;
};

/* False for a header that is not ours or announces more than the limits above. */
bool initwire_header_check(const struct initwire_header *header);
/*
 * Takes the body apart in place: argv has room for argv_n + 1 pointers, envp for env_n + 1; both
 * end with NULL. False unless the body is exactly its strings; the outputs are then undefined.
 */
bool initwire_read(const struct initwire_header *header, char *body, const char **ret_work_dir,
    char **argv, char **envp);

/* Numbered as the steps of a child outside a container (launch/child.h). */
enum initwire_step { INITWIRE_WORK_DIR = 5, INITWIRE_EXEC = 7 };

/* Written to the second descriptor; it closes without one when the program runs. */
struct initwire_failure {
    int32_t step;
    int32_t error; /* errno */
};

#endif
