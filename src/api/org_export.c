/* GET /admin/orgs/:org/export: everything an org owns as lines of JSON, without secrets' values. */
#include "api/org.h"
#include "store/org_data.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

enum { WRITE_BYTES = 64 * 1024, LINE_MAX_BYTES = 64 * 1024 * 1024 };

struct writer {
    int fd; /* -1: only counted and digested */
    struct buf out;
    crypto_hash_sha256_state digest;
    json_t *rows;
};

static void
writer_done(struct writer *w)
{
    buf_done(&w->out);
    json_decref(w->rows);
}

static enum err
writer_flush(struct writer *w, struct error *e)
{
    for (size_t at = 0; w->fd >= 0 && at < w->out.n;) {
        ssize_t n = write(w->fd, w->out.p + at, w->out.n - at);

        if (n < 0)
            return fail_errno(e, ERR_IO, "writing the export");
        at += (size_t)n;
    }
    buf_clear(&w->out);
    return ERR_OK;
}

/* Takes over line. */
static enum err
writer_line(struct writer *w, json_t *line, struct error *e)
{
    char *text = json_dumps(line, JSON_COMPACT);
    size_t before = w->out.n;

    json_decref(line);
    buf_add(&w->out, str_from_cstr(text));
    buf_add_char(&w->out, '\n');
    json_wiping_free(text);
    if (!buf_ok(&w->out))
        return fail(e, ERR_INTERNAL, "a row of the export is too long");
    crypto_hash_sha256_update(&w->digest, (const uint8_t *)w->out.p + before, w->out.n - before);
    return w->out.n < WRITE_BYTES ? ERR_OK : writer_flush(w, e);
}

static json_t *
value_json(const struct db_value *v)
{
    switch (v->type) {
    case DB_INT:
        return json_integer((json_int_t)v->i);
    case DB_TEXT:
        return json_str(v->s);
    case DB_BLOB:
        return json_hex((const uint8_t *)v->s.p, v->s.n);
    default:
        return json_null();
    }
}

/* org_data_fn */
static enum err
write_row(void *ctx, const struct org_data_row *row, struct error *e)
{
    struct writer *w = ctx;
    json_t *o = json_object();
    json_int_t n = json_integer_value(json_object_get(w->rows, row->table));

    for (size_t i = 0; i < row->columns_n; i++)
        json_object_setn_new_nocheck(
            o, row->names[i].p, row->names[i].n, value_json(&row->values[i]));
    json_object_set_new(w->rows, row->table, json_integer(n + 1));
    return writer_line(w, json_pack("{s:s, s:o}", "table", row->table, "row", o), e);
}

enum err
org_export_write(
    struct store_tx *tx, struct id org, int fd, struct org_export *ret, struct error *e)
{
    AUTO(writer_done) struct writer w = {.fd = fd, .rows = json_object()};
    uint8_t digest[EXPORT_DIGEST_BYTES];
    enum err code;

    buf_init(&w.out, LINE_MAX_BYTES);
    crypto_hash_sha256_init(&w.digest);
    for (size_t i = 0; org_data_table(i) != NULL; i++)
        json_object_set_new(w.rows, org_data_table(i), json_integer(0));
    if (fd >= 0 && (ftruncate(fd, 0) != 0 || lseek(fd, 0, SEEK_SET) != 0))
        return fail_errno(e, ERR_IO, "emptying the export");
    code = writer_line(&w, json_pack("{s:s, s:i}", "format", "purser-org-export", "version", 1), e);
    if (code == ERR_OK)
        code = org_data_walk(tx, org, write_row, &w, e);
    if (code != ERR_OK)
        return code;
    crypto_hash_sha256_final(&w.digest, digest);
    code = writer_line(&w,
        json_pack("{s:b, s:O, s:o, s:I}", "end", 1, "rows", w.rows, "sha256",
            json_hex(digest, sizeof(digest)), "exported_at", (json_int_t)clock_ms()),
        e);
    if (code == ERR_OK)
        code = writer_flush(&w, e);
    if (code != ERR_OK)
        return code;
    ret->rows = TAKE(w.rows);
    memcpy(ret->digest, digest, sizeof(digest));
    return ERR_OK;
}

struct export
{
    struct call *c;
    struct org_row org;
    int fd;
    struct org_export done;
};

static enum err
export_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct export *x = ctx;
    enum err code = org_find_tx(tx, x->c, &x->org, e);

    if (code != ERR_OK)
        return code;
    json_decref(TAKE(x->done.rows));
    return org_export_write(tx, x->org.id, x->fd, &x->done, e);
}

/* A file of ours that nobody can open by name: it goes with its descriptor. */
static enum err
temporary_file(struct call *c, int *ret, struct error *e)
{
    char *path = arena_cstr(&c->http->arena,
        arena_printf(&c->http->arena, "%.*s/export-XXXXXX", STR_ARG(c->api->o.state_dir)));
    int fd = mkostemp(path, O_CLOEXEC);

    if (fd < 0)
        return fail_errno(e, ERR_IO, "making %s", path);
    unlink(path);
    *ret = fd;
    return ERR_OK;
}

enum err
org_export(struct call *c, struct error *e)
{
    AUTO_CLOSE int fd = -1;
    struct export x = {.c = c};
    struct stat st;
    enum err code = temporary_file(c, &fd, e);

    if (code != ERR_OK)
        return code;
    x.fd = fd;
    code = store_read(c->api->o.store, export_tx, &x, e);
    json_decref(x.done.rows);
    if (code == ERR_OK && fstat(fd, &st) != 0)
        code = fail_errno(e, ERR_IO, "the size of the export");
    if (code != ERR_OK)
        return code;
    http_header_set(c->http, "Content-Disposition",
        arena_printf(&c->http->arena, "attachment; filename=\"%.*s.ndjson\"", STR_ARG(x.org.slug)));
    c->http->status = 200;
    c->http->file = (struct http_file){.there = true,
        .fd = TAKE_FD(fd),
        .bytes = (uint64_t)st.st_size,
        .type = "application/x-ndjson"};
    return ERR_OK;
}
