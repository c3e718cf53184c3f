#include "launch/order.h"

#include "base/cleanup.h"
#include "launch/order_check.h"

static const char magic[4] = {'P', 'R', 'O', '1'};

/* Writing. The room was measured before; running over it would be our own mistake. */

struct writer {
    char *p;
    size_t n;
    size_t room;
};

static void
put(struct writer *w, const void *bytes, size_t n)
{
    ENSURE(n <= w->room - w->n);
    if (n > 0)
        memcpy(w->p + w->n, bytes, n);
    w->n += n;
}

static void
put_u32(struct writer *w, size_t value)
{
    unsigned char b[4] = {(unsigned char)value, (unsigned char)(value >> 8),
        (unsigned char)(value >> 16), (unsigned char)(value >> 24)};

    put(w, b, sizeof(b));
}

static void
put_u64(struct writer *w, int64_t value)
{
    put_u32(w, (uint32_t)value);
    put_u32(w, (uint32_t)((uint64_t)value >> 32));
}

static void
put_text(struct writer *w, struct str s)
{
    put_u32(w, s.n + 1);
    put(w, s.p, s.n);
    put(w, "", 1);
}

static size_t
text_bytes(struct str s)
{
    return 4 + s.n + 1;
}

static size_t
body_bytes(const struct launch_spec *spec, const struct launch_options *o)
{
    struct str work_dir = spec->work_dir.n > 0 ? spec->work_dir : spec->home;
    size_t n = 2 * sizeof(spec->start.b) + 4 * 4;

    n += text_bytes(o->run_dir) + text_bytes(o->state_dir) + text_bytes(spec->home);
    n += text_bytes(work_dir);
    n += 4 * 8 + 4;
    if (spec->container != NULL)
        n += text_bytes(spec->container->image) + text_bytes(spec->container->network) +
            text_bytes(o->engine) + text_bytes(o->init);
    n += text_bytes(spec->sandbox ? o->sandbox : STR_NONE);
    for (size_t i = 0; i < spec->argv_n; i++)
        n += text_bytes(spec->argv[i]);
    for (size_t i = 0; i < spec->env_n; i++)
        n += 3 * 4 + spec->env[i].name.n + launch_env_value(&spec->env[i]).n + 2;
    n += 4;
    for (size_t i = 0; i < spec->files_n; i++)
        n += 4 + 4 + sizeof(spec->files[i].stamp) + text_bytes(spec->files[i].path) + 4 +
            secret_bytes(spec->files[i].content);
    return n;
}

static void
put_surroundings(struct writer *w, const struct launch_spec *spec, const struct launch_options *o)
{
    put_u64(w, spec->limits.memory_bytes);
    put_u64(w, spec->limits.cpu_millis);
    put_u64(w, spec->limits.processes);
    put_u64(w, spec->limits.files);
    put_u32(w, spec->container != NULL);
    if (spec->container != NULL) {
        put_text(w, spec->container->image);
        put_text(w, spec->container->network);
        put_text(w, o->engine);
        put_text(w, o->init);
    }
    put_text(w, spec->sandbox ? o->sandbox : STR_NONE);
}

static void
put_files(struct writer *w, const struct launch_spec *spec)
{
    put_u32(w, spec->files_n);
    for (size_t i = 0; i < spec->files_n; i++) {
        const struct launch_file *file = &spec->files[i];

        put_u32(w, file->refreshed);
        put_u32(w, file->secret);
        put(w, file->stamp, sizeof(file->stamp));
        put_text(w, file->path);
        put_u32(w, secret_bytes(file->content));
        put(w, secret_expose(file->content).p, secret_bytes(file->content));
    }
}

enum err
order_encode(const struct launch_spec *spec, const struct launch_options *o, struct secret **ret,
    struct error *e)
{
    AUTO_SECRET struct secret *room = NULL;
    struct writer w = {0};
    size_t body;

    if (order_check(spec, o, e) != ERR_OK)
        return e->code;
    body = body_bytes(spec, o);
    ENSURE(body <= ORDER_MAX_BODY_BYTES);
    w.room = ORDER_HEADER_BYTES + body;
    if (secret_new_room(w.room, &room, e) != ERR_OK)
        return e->code;
    w.p = secret_room(room);
    put(&w, magic, sizeof(magic));
    put_u32(&w, body);
    put(&w, spec->workspace.b, sizeof(spec->workspace.b));
    put(&w, spec->start.b, sizeof(spec->start.b));
    put_u32(&w, spec->uid);
    put_u32(&w, spec->uid != 0 && spec->gid == 0 ? spec->uid : spec->gid);
    put_text(&w, o->run_dir);
    put_text(&w, o->state_dir);
    put_text(&w, spec->home);
    put_text(&w, spec->work_dir.n > 0 ? spec->work_dir : spec->home);
    put_surroundings(&w, spec, o);
    put_u32(&w, spec->argv_n);
    for (size_t i = 0; i < spec->argv_n; i++)
        put_text(&w, spec->argv[i]);
    put_u32(&w, spec->env_n);
    for (size_t i = 0; i < spec->env_n; i++) {
        struct str value = launch_env_value(&spec->env[i]);

        put_u32(&w, spec->env[i].secret != NULL);
        put_u32(&w, spec->env[i].name.n);
        put_u32(&w, value.n);
        put(&w, spec->env[i].name.p, spec->env[i].name.n);
        put(&w, "=", 1);
        put(&w, value.p, value.n);
        put(&w, "", 1);
    }
    put_files(&w, spec);
    ENSURE(w.n == w.room);
    *ret = TAKE(room);
    return ERR_OK;
}

/* Reading: sticky, the first thing that does not fit makes all that follows fail. */

struct reader {
    char *p;
    size_t left;
    bool bad;
};

/* n bytes, or NULL. */
static char *
take(struct reader *r, size_t n)
{
    char *at = r->p;

    if (r->bad || n > r->left) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    r->left -= n;
    return at;
}

static uint32_t
load_u32(const char *p)
{
    const unsigned char *b = (const unsigned char *)p;

    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* At most max, otherwise the reader is bad and 0 comes back. */
static uint32_t
take_u32(struct reader *r, uint32_t max)
{
    char *at = take(r, 4);

    if (at == NULL)
        return 0;
    if (load_u32(at) > max) {
        r->bad = true;
        return 0;
    }
    return load_u32(at);
}

static void
take_id(struct reader *r, struct id *ret)
{
    char *at = take(r, sizeof(ret->b));

    if (at != NULL)
        memcpy(ret->b, at, sizeof(ret->b));
}

/* n bytes of which only the last is a NUL. */
static char *
take_cstr(struct reader *r, size_t n)
{
    char *at = take(r, n);

    if (at == NULL)
        return NULL;
    if (n == 0 || memchr(at, '\0', n) != at + n - 1) {
        r->bad = true;
        return NULL;
    }
    return at;
}

static char *
take_text(struct reader *r, size_t max_bytes)
{
    return take_cstr(r, take_u32(r, (uint32_t)max_bytes));
}

static const char *
take_path(struct reader *r)
{
    char *path = take_text(r, ORDER_MAX_PATH_BYTES);

    if (path != NULL && path[0] != '/')
        r->bad = true;
    return path;
}

static int64_t
take_i64(struct reader *r)
{
    char *at = take(r, 8);
    uint64_t value = at == NULL ? 0 : (uint64_t)load_u32(at) | (uint64_t)load_u32(at + 4) << 32;

    if (value > INT64_MAX) {
        r->bad = true;
        return 0;
    }
    return (int64_t)value;
}

static void
take_surroundings(struct reader *r, struct order *o)
{
    o->limits.memory_bytes = take_i64(r);
    o->limits.cpu_millis = take_i64(r);
    o->limits.processes = take_i64(r);
    o->limits.files = take_i64(r);
    o->container = (struct order_container){"", "", "", ""};
    if (take_u32(r, 1) == 1) {
        o->container.image = take_text(r, ORDER_MAX_NAME_BYTES + 1);
        o->container.network = take_text(r, ORDER_MAX_NAME_BYTES + 1);
        o->container.engine = take_path(r);
        o->container.init = take_path(r);
        if (!r->bad && o->container.image[0] == '\0')
            r->bad = true;
    }
    o->sandbox = take_text(r, ORDER_MAX_PATH_BYTES);
}

static void
take_env(struct reader *r, struct order *o, size_t i)
{
    bool secret = take_u32(r, 1) == 1;
    size_t name_n = take_u32(r, ORDER_MAX_NAME_BYTES);
    size_t value_n = take_u32(r, ORDER_MAX_ENTRY_BYTES);
    size_t total = name_n + value_n + 2;
    char *entry;

    if (total > ORDER_MAX_ENTRY_BYTES)
        r->bad = true;
    entry = take_cstr(r, total);
    if (entry == NULL)
        return;
    if (name_n == 0 || memchr(entry, '=', total) != entry + name_n)
        r->bad = true;
    o->envp[i] = entry;
    o->env[i] = (struct order_env){name_n, value_n, secret};
}

static void
take_file(struct reader *r, struct homefile *ret)
{
    char *stamp;

    ret->refreshed = take_u32(r, 1) == 1;
    ret->secret = take_u32(r, 1) == 1;
    stamp = take(r, sizeof(ret->stamp));
    if (stamp != NULL)
        memcpy(ret->stamp, stamp, sizeof(ret->stamp));
    ret->path = take_text(r, HOMEFILE_PATH_MAX + 1);
    ret->content.n = take_u32(r, ORDER_MAX_FILE_BYTES);
    ret->content.p = take(r, ret->content.n);
    if (!r->bad && (ret->path[0] == '\0' || ret->path[0] == '/' || strstr(ret->path, "..") != NULL))
        r->bad = true;
}

bool
order_decode_header(const char header[static ORDER_HEADER_BYTES], size_t *ret_body_bytes)
{
    uint32_t n = load_u32(header + sizeof(magic));

    if (memcmp(header, magic, sizeof(magic)) != 0 || n > ORDER_MAX_BODY_BYTES)
        return false;
    *ret_body_bytes = n;
    return true;
}

bool
order_decode(char *body, size_t n, struct order *ret)
{
    struct reader r = {.p = body, .left = n};

    take_id(&r, &ret->workspace);
    take_id(&r, &ret->start);
    ret->uid = take_u32(&r, INT32_MAX);
    ret->gid = take_u32(&r, INT32_MAX);
    ret->run_dir = take_path(&r);
    ret->state_dir = take_path(&r);
    ret->home = take_path(&r);
    ret->work_dir = take_path(&r);
    take_surroundings(&r, ret);
    ret->argv_n = take_u32(&r, ORDER_MAX_ARGS);
    for (size_t i = 0; i < ret->argv_n && !r.bad; i++)
        ret->argv[i] = take_text(&r, ORDER_MAX_ENTRY_BYTES);
    ret->argv[ret->argv_n] = NULL;
    ret->env_n = take_u32(&r, ORDER_MAX_ENV);
    for (size_t i = 0; i < ret->env_n && !r.bad; i++)
        take_env(&r, ret, i);
    ret->envp[ret->env_n] = NULL;
    ret->files_n = take_u32(&r, HOMEFILES_MAX);
    for (size_t i = 0; i < ret->files_n && !r.bad; i++)
        take_file(&r, &ret->files[i]);
    if (r.bad || r.left > 0)
        return false;
    if (ret->argv_n == 0 || ret->argv[0][0] == '\0')
        return false;
    return ret->uid == 0 || ret->gid != 0;
}

void
order_answer_encode(const struct order_answer *a, unsigned char ret[static ORDER_ANSWER_BYTES])
{
    struct writer w = {.p = (char *)ret, .room = ORDER_ANSWER_BYTES};
    char text[sizeof(a->error.text)] = {0};

    snprintf(text, sizeof(text), "%s", a->error.code == ERR_OK ? "" : a->error.text);
    put_u32(&w, a->error.code);
    put(&w, text, sizeof(text));
    record_encode(&a->record, ret + w.n);
}

bool
order_answer_decode(const unsigned char bytes[static ORDER_ANSWER_BYTES], struct order_answer *ret)
{
    uint32_t code = load_u32((const char *)bytes);
    const char *text = (const char *)bytes + 4;

    if (code >= ERR_COUNT || memchr(text, '\0', sizeof(ret->error.text)) == NULL)
        return false;
    ret->error.code = (enum err)code;
    memcpy(ret->error.text, text, sizeof(ret->error.text));
    return record_decode(bytes + 4 + sizeof(ret->error.text), RECORD_BYTES, &ret->record);
}
