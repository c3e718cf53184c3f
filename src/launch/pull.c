#include "launch/pull.h"

#include <jansson.h>

enum { LINE_MAX_BYTES = 64 * 1024 };

void
pull_init(struct pull *p, engine_progress_fn *progress, void *ctx)
{
    *p = (struct pull){.progress = progress, .ctx = ctx};
    buf_init(&p->line, LINE_MAX_BYTES);
}

void
pull_done(struct pull *p)
{
    buf_done(&p->line);
}

static const char *
text_of(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static void
take_object(struct pull *p, const json_t *o)
{
    const char *problem = text_of(o, "error"), *status = text_of(o, "status");
    const char *id = text_of(o, "id"), *bar = text_of(o, "progress");
    char text[300];

    if (problem == NULL)
        problem = text_of(o, "message");
    if (problem != NULL)
        snprintf(p->problem, sizeof(p->problem), "%s", problem);
    if (status == NULL || p->progress == NULL)
        return;
    snprintf(text, sizeof(text), "%s%s%s%s%s", id != NULL ? id : "", id != NULL ? " " : "", status,
        bar != NULL ? " " : "", bar != NULL ? bar : "");
    p->progress(p->ctx, str_from_cstr(text));
}

static void
take_line(struct pull *p)
{
    json_t *o = json_loadb(buf_cstr(&p->line), p->line.n, 0, NULL);

    take_object(p, o);
    json_decref(o);
    buf_clear(&p->line);
}

bool
pull_feed(struct pull *p, struct str bytes)
{
    while (bytes.n > 0) {
        size_t end = str_find_char(bytes, '\n');

        buf_add(&p->line, str_slice(bytes, 0, end));
        if (!buf_ok(&p->line))
            return false;
        if (end < bytes.n) {
            take_line(p);
            end++;
        }
        bytes = str_slice(bytes, end, bytes.n);
    }
    return true;
}

void
pull_end(struct pull *p)
{
    if (p->line.n > 0)
        take_line(p);
}
