#include "cli/follow.h"

#include "api/json.h"
#include "base/buf.h"

#include <stdio.h>
#include <time.h>

enum { LINE_MAX_BYTES = 4 << 20, AGAIN_MS = 500 };

struct follower {
    follow_fn *fn;
    void *ctx;
    struct buf line;
    long long after;
    bool enough;
    bool heard; /* something came on this connection */
};

/* "data: {...}": one event, whole. The other lines say what it says, too. */
static void
take_line(struct follower *f)
{
    struct str line = buf_str(&f->line);
    AUTO_JSON json_t *event = NULL;

    if (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    if (!str_starts_with(line, STR("data: ")))
        return;
    event = json_loadb(line.p + 6, line.n - 6, 0, NULL);
    if (event == NULL)
        return;
    f->after = json_integer_value(json_object_get(event, "id"));
    f->enough = !f->fn(f->ctx, event);
}

static bool
take(void *ctx, struct str piece)
{
    struct follower *f = ctx;

    f->heard = true;
    while (piece.n > 0 && !f->enough) {
        size_t end = str_find_char(piece, '\n');

        buf_add(&f->line, str_slice(piece, 0, end));
        if (!buf_ok(&f->line))
            return false;
        if (end == piece.n)
            break;
        take_line(f);
        buf_clear(&f->line);
        piece = str_slice(piece, end + 1, piece.n);
    }
    return !f->enough;
}

static enum err
follow_once(struct client *c, const char *path, struct follower *f, struct error *e)
{
    char text[256];

    buf_clear(&f->line);
    f->heard = false;
    if (f->after < 0)
        snprintf(text, sizeof(text), "%s", path);
    else
        snprintf(text, sizeof(text), "%s?after=%lld", path, f->after);
    return client_stream(c, text, take, f, e);
}

enum err
follow(struct client *c, const char *path, long long after, int patience_s, follow_fn *fn,
    void *ctx, struct error *e)
{
    struct follower f = {.fn = fn, .ctx = ctx, .after = after};
    int64_t give_up_ms = clock_monotonic_ms() + patience_s * 1000LL;
    enum err err;

    /* Where we begin is fixed before anything can be missed. */
    if (f.after < 0) {
        err = follow_last(c, path, &f.after, e);
        if (err != ERR_OK)
            return err;
    }
    buf_init(&f.line, LINE_MAX_BYTES);
    for (;;) {
        err = follow_once(c, path, &f, e);
        if (f.enough)
            err = ERR_OK;
        if (f.heard)
            give_up_ms = clock_monotonic_ms() + patience_s * 1000LL;
        if (f.enough || (err != ERR_OK && err != ERR_SERVER_UNREACHABLE) ||
            clock_monotonic_ms() >= give_up_ms)
            break;
        nanosleep(&(struct timespec){.tv_nsec = AGAIN_MS * 1000000L}, NULL);
    }
    buf_done(&f.line);
    if (err == ERR_OK && !f.enough)
        return fail(e, ERR_SERVER_UNREACHABLE, "the server ended the stream of events");
    return err;
}

enum err
follow_last(struct client *c, const char *path, long long *ret, struct error *e)
{
    AUTO_JSON json_t *answer = NULL;
    char text[256];
    enum err err;

    snprintf(text, sizeof(text), "%s?limit=1", path);
    err = client_call(c, "GET", text, NULL, &answer, e);
    if (err == ERR_OK)
        *ret = json_integer_value(json_object_get(answer, "last_id"));
    return err;
}

void
follow_print(const json_t *event, bool with_workspace, FILE *out)
{
    const json_t *details = json_object_get(event, "details");
    const char *type = json_string_value(json_object_get(event, "type"));
    const char *workspace = json_string_value(json_object_get(event, "workspace_id"));
    const char *code = json_string_value(json_object_get(details, "code"));
    const char *text = json_string_value(json_object_get(details, "error"));
    const char *reason = json_string_value(json_object_get(details, "reason"));
    const json_t *exit_code = json_object_get(details, "exit_code");
    const json_t *pause = json_object_get(details, "restart_in_ms");
    char at[25];

    clock_text(json_integer_value(json_object_get(event, "at")), at);
    fprintf(out, "%s", at);
    if (with_workspace)
        fprintf(out, "  %s", workspace == NULL ? "-" : workspace);
    fprintf(out, "  %s", type == NULL ? "-" : type);
    if (code != NULL)
        fprintf(out, "  %s", code);
    if (text != NULL)
        fprintf(out, ": %s", text);
    else if (json_is_integer(exit_code))
        fprintf(out, "  exit code %lld", (long long)json_integer_value(exit_code));
    if (reason != NULL)
        fprintf(out, "  %s", reason);
    if (pause != NULL)
        fprintf(out, "  (again in %.1f s)", (double)json_integer_value(pause) / 1000);
    fputc('\n', out);
    fflush(out);
}
