/*
 * What purserd's side sends to purser-init in a container, once, over a Unix socket that only the
 * container sees: a header, then NUL-terminated strings. Two descriptors travel with the header:
 * the agent's output, and where a failure to run it is reported.
 */
#ifndef INIT_INITWIRE_H
#define INIT_INITWIRE_H

#include <stdint.h>

/* Inside the container. */
#define INITWIRE_FOLDER "/.purser"
#define INITWIRE_PROGRAM INITWIRE_FOLDER "/init"
#define INITWIRE_SOCKETS INITWIRE_FOLDER "/run"
#define INITWIRE_SOCKET INITWIRE_SOCKETS "/sock"

enum { INITWIRE_MAGIC = 0x31495250 /* "PRI1" */, INITWIRE_FDS = 2, INITWIRE_MAX_STRINGS = 4096 };

struct initwire_header {
    uint32_t magic;
    uint32_t body_bytes;
    uint32_t argv_n; /* after the working directory, which is the first string */
    uint32_t env_n;
};

/* Numbered as the steps of a child outside a container (launch/child.h). */
enum initwire_step { INITWIRE_WORK_DIR = 5, INITWIRE_EXEC = 7 };

/* Written to the second descriptor; it closes without one when the program runs. */
struct initwire_failure {
    int32_t step;
    int32_t error; /* errno */
};

#endif
