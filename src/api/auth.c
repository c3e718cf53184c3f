#include "api/auth.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "store/token_row.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/stat.h>

enum { TOUCH_AFTER_MS = 60 * 1000 };

struct find {
    struct arena arena;
    uint8_t digest[TOKEN_DIGEST_BYTES];
    struct token_row row;
    bool suspended;
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

    return token_row_find(tx, f->digest, clock_ms(), &f->arena, &f->row, &f->suspended, e);
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
        return id_is_zero(t->decision) ? WHO_WORKSPACE : WHO_AGENT;
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
    if (!f.suspended && clock_ms() - f.row.last_used_ms > TOUCH_AFTER_MS)
        (void)!store_tx(s, touch_tx, &f, &ignored);
    *ret = (struct principal){.who = who_of(&f.row),
        .token = f.row.id,
        .org = f.row.org,
        .workspace = f.row.workspace,
        .suspended = f.suspended};
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

/* Names below STATE. */
static const char admin_file[] = "admin-token", offered_file[] = "admin-token.new";

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
    if (!token_parse(token, &kind) || kind != TOKEN_ADMIN)
        return fail(e, ERR_STATE_UNUSABLE, "%s holds no admin token: remove it", path);
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

/* What the two files of a state directory are called, and the token under way. */
struct admin {
    struct arena arena;
    const char *dir, *path, *offered;
    struct auth_token_text token;
    struct token_row row;
};

/* A rotation and an adoption use the same files. */
static pthread_mutex_t admin_lock = PTHREAD_MUTEX_INITIALIZER;

static void
admin_done(struct admin *a)
{
    auth_token_wipe(&a->token);
    arena_done(&a->arena);
}

static void
admin_init(struct admin *a, struct str state_dir)
{
    arena_init(&a->arena);
    a->dir = arena_cstr(&a->arena, state_dir);
    a->path = arena_printf(&a->arena, "%s/%s", a->dir, admin_file).p;
    a->offered = arena_printf(&a->arena, "%s/%s", a->dir, offered_file).p;
}

/* The token's row, alone: every admin token before it is revoked. Once only, however often. */
static enum err
admin_replace_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct admin *a = ctx;
    struct token_row there;
    bool suspended;
    enum err code =
        token_row_find(tx, a->row.digest, a->row.created_ms, &a->arena, &there, &suspended, e);

    if (code != ERR_NOT_FOUND)
        return code;
    code = token_row_revoke_all(tx, (struct id){0}, TOKEN_ADMIN, a->row.created_ms, e);
    return code == ERR_OK ? token_row_insert(tx, &a->row, e) : code;
}

static enum err
admin_replace(struct admin *a, struct store *s, const char *name, struct error *e)
{
    a->row = (struct token_row){.id = id_new(),
        .kind = TOKEN_ADMIN,
        .prefix = token_prefix(TOKEN_ADMIN),
        .name = str_from_cstr(name),
        .created_ms = clock_ms()};
    memcpy(a->row.digest, a->token.digest, sizeof(a->row.digest));
    return store_tx_durable(s, admin_replace_tx, a, e);
}

/* The offered file becomes the file, durably. */
static enum err
admin_file_take(const struct admin *a, struct error *e)
{
    AUTO_CLOSE int dir_fd = open(a->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0 || rename(a->offered, a->path) != 0 || fsync(dir_fd) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "renaming %s", a->offered);
    return ERR_OK;
}

static enum err
admin_offer(struct admin *a, struct error *e)
{
    auth_token_make(TOKEN_ADMIN, &a->token);
    if (unlink(a->offered) != 0 && errno != ENOENT)
        return fail_errno(e, ERR_STATE_UNUSABLE, "removing %s", a->offered);
    return admin_file_write(a->dir, a->offered, &a->token, e);
}

static enum err
admin_rotate(struct admin *a, struct store *s, struct error *e)
{
    enum err code = admin_offer(a, e);

    if (code != ERR_OK)
        return code;
    code = admin_replace(a, s, "rotated", e);
    if (code != ERR_OK) {
        unlink(a->offered);
        return code;
    }
    return admin_file_take(a, e);
}

enum err
auth_admin_rotate(
    struct store *s, struct str state_dir, struct auth_token_text *ret_text, struct error *e)
{
    AUTO(admin_done) struct admin a = {0};
    enum err code;

    admin_init(&a, state_dir);
    pthread_mutex_lock(&admin_lock);
    code = admin_rotate(&a, s, e);
    pthread_mutex_unlock(&admin_lock);
    if (code == ERR_OK)
        *ret_text = a.token;
    return code;
}

enum err
auth_admin_offer(struct str state_dir, struct auth_token_text *ret_text, struct error *e)
{
    AUTO(admin_done) struct admin a = {0};
    enum err code;

    admin_init(&a, state_dir);
    code = admin_offer(&a, e);
    if (code == ERR_OK)
        *ret_text = a.token;
    return code;
}

static enum err
admin_adopt(struct admin *a, struct store *s, bool *ret_adopted, struct error *e)
{
    enum err code = admin_file_read(a->offered, &a->token, ret_adopted, e);

    if (code != ERR_OK || !*ret_adopted)
        return code;
    code = admin_replace(a, s, "rotated by the owner of the state directory", e);
    return code == ERR_OK ? admin_file_take(a, e) : code;
}

enum err
auth_admin_adopt(struct store *s, struct str state_dir, bool *ret_adopted, struct error *e)
{
    AUTO(admin_done) struct admin a = {0};
    enum err code;

    admin_init(&a, state_dir);
    pthread_mutex_lock(&admin_lock);
    code = admin_adopt(&a, s, ret_adopted, e);
    pthread_mutex_unlock(&admin_lock);
    return code;
}

static enum err
admin_count_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct id none = {0};

    return token_row_count_live(tx, none, none, TOKEN_ADMIN, clock_ms(), ctx, e);
}

/* A file without a row is what a crash between the two leaves: it is taken over. */
enum err
auth_bootstrap_admin(struct store *s, struct str state_dir, struct error *e)
{
    AUTO(admin_done) struct admin a = {0};
    int64_t live = 0;
    bool there;
    enum err code = auth_admin_adopt(s, state_dir, &there, e);

    admin_init(&a, state_dir);
    if (code == ERR_OK)
        code = store_read(s, admin_count_tx, &live, e);
    if (code != ERR_OK || live > 0)
        return code;
    code = admin_file_read(a.path, &a.token, &there, e);
    if (code == ERR_OK && !there) {
        auth_token_make(TOKEN_ADMIN, &a.token);
        code = admin_file_write(a.dir, a.path, &a.token, e);
    }
    if (code == ERR_OK)
        code = admin_replace(&a, s, "first start", e);
    if (code == ERR_OK)
        log_info("purserd", "first start: the admin token is in %s", a.path);
    return code;
}
