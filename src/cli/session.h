/*
 * What every client command begins and ends with: read the command line, open the client; print the
 * answer or the error. Keeps the commands to what differs between them.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "api/json.h"
#include "cli/client.h"
#include "cli/cmd.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/workspace_ref.h"

struct session {
    struct client_options options;
    struct arguments arguments;
    struct client *client;
    struct error error;
    int exit_code; /* once session_begin() said no */
};

/* c->options must hold CLIENT_OPTIONS(s->options). False: return s->exit_code. */
bool session_begin(struct session *s, const struct command_line *c, int argc, char **argv);
/* The exit code for err, with the error printed. */
int session_end(struct session *s, enum err err);

/* One request whose answer is printed: JSON with --json, otherwise the columns of its rows. */
enum err session_list(struct session *s, const char *path, const struct column *columns, size_t n);
/* Returns err; when there is no workspace of that name, the error says where to look. */
enum err session_workspace_told(struct session *s, const char *text, enum err err);
/* One request about the workspace named by text; format holds one %s for its id. */
enum err session_workspace_call(struct session *s, const char *method, const char *text,
    const char *format, const json_t *body, json_t **ret);

static inline void
session_cleanup(struct session *s)
{
    client_close(s->client);
}
#define AUTO_SESSION __attribute__((cleanup(session_cleanup)))

#endif
