/*
 * An address to listen on: "127.0.0.1:8080", "[::1]:8080", "0.0.0.0:443". Numbers only, no names.
 */
#ifndef DAEMON_LISTEN_H
#define DAEMON_LISTEN_H

#include "base/error.h"

#include <sys/socket.h>

struct listen_address {
    struct sockaddr_storage address;
    socklen_t address_bytes;
    char host[72]; /* as nginx and URLs write it: "127.0.0.1", "[::1]" */
    int port;      /* 1 .. 65535 */
    bool is_loopback;
};

/* ERR_USAGE with a sentence that quotes the text. */
enum err listen_parse(struct str text, struct listen_address *ret, struct error *e) MUST_CHECK;
/*
 * Can this address be bound right now? ERR_PORT_IN_USE when somebody has it (the sentence names the
 * address), ERR_IO when this machine does not have the address or the port is not ours to take.
 */
enum err listen_check_free(const struct listen_address *a, struct error *e) MUST_CHECK;
/*
 * "http://127.0.0.1:8080": where a program on this machine reaches the address (an any-address
 * becomes loopback). Room for LISTEN_URL_BYTES.
 */
enum { LISTEN_URL_BYTES = 96 };
void listen_url(const struct listen_address *a, bool tls, char ret[static LISTEN_URL_BYTES]);

#endif
