/*
 * The HTTP client behind every command that talks to a server. It finds the server (--server,
 * PURSER_SERVER, http://127.0.0.1:8080) and a token (--token-file, PURSER_TOKEN, ./var/admin-token,
 * /var/lib/purser/admin-token), and names the org the caller acts for (--org, PURSER_ORG: id or
 * slug; an admin of a server with exactly one org need not say it).
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/error.h"
#include "cli/options.h"
#include "vault/secret.h"

#include <jansson.h>
#include <stdio.h>

struct client;

/* Zero-initialised, then filled by the command line. */
struct client_options {
    const char *server;
    const char *token_file;
    const char *org;
    bool json; /* the command prints JSON */
};

/*
 * The rows every client command shares; o is a struct client_options. SERVER_OPTIONS are those of
 * commands that act for no org.
 */
#define CLIENT_OPTIONS(o)                                                                          \
    {"org", "ID|SLUG", "the org to act for (PURSER_ORG; the only one there is)",                   \
        .text = &(o).org},                                                                         \
        SERVER_OPTIONS(o)
#define SERVER_OPTIONS(o)                                                                          \
    {"server", "URL", "the server (PURSER_SERVER; http://127.0.0.1:8080)", .text = &(o).server},   \
        {"token-file", "FILE", "file with the token (PURSER_TOKEN; ./var/admin-token)",            \
            .text = &(o).token_file},                                                              \
    {                                                                                              \
        "json", NULL, "print JSON", .flag = &(o).json                                              \
    }

/*
 * Reads the token; connects only when something is asked. ERR_UNAUTHORIZED without a token,
 * ERR_USAGE for one that cannot be read.
 */
enum err client_open(
    const struct client_options *o, struct client **ret, struct error *e) MUST_CHECK;
void client_close(struct client *c);

/*
 * Lets go of every connection, so that no program started now inherits one; the next request makes
 * its own.
 */
void client_disconnect(struct client *c);

/*
 * One request. body may be NULL and stays the caller's; its text is wiped once sent. *ret is the
 * answer (a new reference; JSON null when the server sent none) and may be NULL when nobody wants
 * it. ERR_SERVER_UNREACHABLE when there is no answer, otherwise the server's own code and sentence.
 * Parts of the path that come from people go through client_path().
 */
enum err client_call(struct client *c, const char *method, const char *path, const json_t *body,
    json_t **ret, struct error *e) MUST_CHECK;

/*
 * GET whose answer, however large, goes to out as it comes. Nothing is written when the server
 * refuses.
 */
enum err client_download(struct client *c, const char *path, FILE *out, struct error *e) MUST_CHECK;

/*
 * GET of a stream: take gets the pieces as they come and returns false when it has enough. Ends
 * with ERR_OK when take or the server ended it; ERR_SERVER_UNREACHABLE when the connection broke or was
 * silent for a minute, otherwise the server's own code and sentence.
 */
typedef bool client_take_fn(void *ctx, struct str piece);
enum err client_stream(struct client *c, const char *path, client_take_fn *take, void *ctx,
    struct error *e) MUST_CHECK;

/* One header line ("X-Confirm-Name: hello") for the requests from now on. */
void client_set_header(struct client *c, const char *line);

/* The array of an answer that is one, or that holds one ({"tokens": [...], "count": 1}). */
const json_t *client_rows(const json_t *answer);

/*
 * Puts the values, percent-encoded, in the place of each "%s" of format.
 * ERR_USAGE when the path becomes longer than ret_bytes.
 */
enum err client_path(
    char *ret, size_t ret_bytes, struct error *e, const char *format, ...) MUST_CHECK;

static inline void
client_cleanup(struct client **c)
{
    client_close(*c);
}
#define AUTO_CLIENT __attribute__((cleanup(client_cleanup)))

#endif
