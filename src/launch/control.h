/*
 * The shim's control socket, RUN/shims/<workspace>.sock (0600, SOCK_SEQPACKET: one message, one
 * packet). A request is a command and a number; the answer to each is the run record. The shim's
 * side of every connection closes when the shim ends, right after the final record is written and
 * its lock is gone: who only waits learns of the end at once.
 */
#ifndef LAUNCH_CONTROL_H
#define LAUNCH_CONTROL_H

#include "launch/record.h"

enum control_command {
    CONTROL_STATUS = 1,
    CONTROL_STOP = 2, /* argument: milliseconds until SIGKILL */
};

enum { CONTROL_REQUEST_BYTES = 16, CONTROL_MAX_GRACE_MS = 24 * 3600 * 1000 };

struct control_request {
    enum control_command command;
    int64_t argument;
};

void control_encode(
    const struct control_request *r, unsigned char ret[static CONTROL_REQUEST_BYTES]);
/* False for anything that is not a request. */
bool control_decode(const unsigned char *bytes, size_t n, struct control_request *ret);

/* The shim's side. Whoever holds the run file's lock may replace a socket that is there. */
enum err control_listen(int dir, struct id workspace, int *ret_fd, struct error *e) MUST_CHECK;
void control_remove(int dir, struct id workspace);
/* A connection of our own user (or root), or -1. */
int control_accept(int listen_fd);

/* purserd's side. A non-blocking connection, or -1 with errno. */
int control_connect(int dir, struct id workspace);
/* Asks and waits for the answer, at most timeout_ms. False when the shim is gone or does not
 * answer. */
bool control_ask(int fd, const struct control_request *r, int timeout_ms, struct record *ret);

#endif
