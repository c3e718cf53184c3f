#include "api/auth.h"

#include "base/cleanup.h"
#include "store/token_row.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

enum { TOUCH_AFTER_MS = 60 * 1000 };

struct find {
    struct arena arena;
    uint8_t digest[TOKEN_DIGEST_BYTES];
    struct token_row row;
};

static void
find_done(struct find *f)
{
    arena_done(&f->arena);
}

static enum err
find_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct find *f = ctx;

    return token_row_find(tx, f->digest, clock_ms(), &f->arena, &f->row, e);
}

static enum err
touch_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct find *f = ctx;

    return token_row_touch(tx, f->row.id, clock_ms(), e);
}

static unsigned
who_of(const struct token_row *t)
{
    switch (t->kind) {
    case TOKEN_ADMIN:
        return WHO_ADMIN;
    case TOKEN_ORG:
        return t->read_only ? WHO_ORG_READ : WHO_ORG;
    case TOKEN_WORKSPACE:
        return WHO_WORKSPACE;
    case TOKEN_USAGE:
        return WHO_USAGE;
    default:
        return 0;
    }
}

enum err
auth_principal(struct store *s, struct str header, struct principal *ret, struct error *e)
{
    AUTO(find_done) struct find f = {0};
    struct str text;
    struct error ignored;
    enum token_kind kind;
    enum err code;

    if (header.n == 0)
        return fail(e, ERR_UNAUTHORIZED, "a bearer token is needed");
    if (!str_starts_with(header, STR("Bearer ")))
        return fail(e, ERR_UNAUTHORIZED, "the Authorization header must be \"Bearer TOKEN\"");
    text = str_trim(str_slice(header, STR("Bearer ").n, header.n));
    if (!token_parse(text, &kind))
        return fail(e, ERR_UNAUTHORIZED, "the token is not valid");
    token_digest(text, f.digest);
    code = store_read(s, find_tx, &f, e);
    if (code == ERR_NOT_FOUND || (code == ERR_OK && who_of(&f.row) == 0))
        return fail(e, ERR_UNAUTHORIZED, "the token is not valid");
    if (code != ERR_OK)
        return code;
    /* "Last used" is a courtesy; a request does not fail for want of it. */
    if (clock_ms() - f.row.last_used_ms > TOUCH_AFTER_MS)
        (void)!store_tx(s, touch_tx, &f, &ignored);
    *ret = (struct principal){
        .who = who_of(&f.row), .token = f.row.id, .org = f.row.org, .workspace = f.row.workspace};
    return ERR_OK;
}

void
auth_token_make(enum token_kind kind, struct auth_token_text *ret)
{
    uint8_t random[TOKEN_RANDOM_BYTES];
    size_t n;

    randombytes_buf(random, sizeof(random));
    n = token_format(kind, random, ret->text);
    ret->text[n] = '\0';
    token_digest((struct str){ret->text, n}, ret->digest);
    sodium_memzero(random, sizeof(random));
}

void
auth_token_wipe(struct auth_token_text *t)
{
    sodium_memzero(t, sizeof(*t));
}

static enum err
admin_insert_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    const struct token_row *row = ctx;

    return token_row_insert(tx, row, e);
}

static enum err
admin_count_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct id none = {0};

    return token_row_count_live(tx, none, none, TOKEN_ADMIN, clock_ms(), ctx, e);
}

/* A file without a row is what a crash between the two leaves: it is taken over. */
static enum err
admin_file_read(const char *path, struct auth_token_text *ret, bool *ret_there, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[TOKEN_TEXT_BYTES + 2];
    struct stat st;
    struct str token;
    enum token_kind kind;
    ssize_t n;

    *ret_there = false;
    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "reading %s", path);
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return fail(e, ERR_STATE_UNUSABLE, "%s must be ours and have mode 0600", path);
    n = read(fd, text, sizeof(text));
    token = str_trim((struct str){text, n < 0 ? 0 : (size_t)n});
    if (!token_parse(token, &kind) || kind != TOKEN_ADMIN) {
        return fail(e, ERR_STATE_UNUSABLE,
            "%s is there but holds no admin token, and the store knows none: remove the file",
            path);
    }
    memcpy(ret->text, token.p, token.n);
    ret->text[token.n] = '\0';
    token_digest(token, ret->digest);
    sodium_memzero(text, sizeof(text));
    *ret_there = true;
    return ERR_OK;
}

static enum err
admin_file_write(
    const char *dir, const char *path, const struct auth_token_text *t, struct error *e)
{
    AUTO_CLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t n = strlen(t->text);

    if (dir_fd < 0 || fd < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "making %s", path);
    if (fchmod(fd, 0600) != 0 || write(fd, t->text, n) != (ssize_t)n || write(fd, "\n", 1) != 1 ||
        fsync(fd) != 0 || fsync(dir_fd) != 0) {
        (void)fail_errno(e, ERR_STATE_UNUSABLE, "writing %s", path);
        unlink(path);
        return e->code;
    }
    return ERR_OK;
}

enum err
auth_bootstrap_admin(struct store *s, struct str state_dir, struct error *e)
{
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    AUTO_ARENA struct arena a;
    struct token_row row = {.kind = TOKEN_ADMIN};
    int64_t live = 0;
    const char *path;
    bool there;
    enum err code;

    arena_init(&a);
    code = store_read(s, admin_count_tx, &live, e);
    if (code != ERR_OK || live > 0)
        return code;
    path = arena_printf(&a, "%.*s/admin-token", STR_ARG(state_dir)).p;
    code = admin_file_read(path, &token, &there, e);
    if (code != ERR_OK)
        return code;
    if (!there) {
        auth_token_make(TOKEN_ADMIN, &token);
        code = admin_file_write(arena_cstr(&a, state_dir), path, &token, e);
        if (code != ERR_OK)
            return code;
    }
    row.id = id_new();
    memcpy(row.digest, token.digest, sizeof(row.digest));
    row.prefix = token_prefix(TOKEN_ADMIN);
    row.name = STR("first start");
    row.created_ms = clock_ms();
    return store_tx_durable(s, admin_insert_tx, &row, e);
}
