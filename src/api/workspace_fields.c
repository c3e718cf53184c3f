#include "api/workspace_fields.h"

#include "api/budget.h"
#include "api/care.h"
#include "api/launch_hints.h"

#include "api/plan.h"
#include "api/url.h"

enum {
    NAME_MAX_BYTES = 255,
    ROLE_MAX_BYTES = 1000,
    RUNTIME_MAX_BYTES = 100,
    LIST_MAX = 256,
    WORD_MAX_BYTES = 4096,
};

/* No line breaks anywhere; in name and role nothing that configuration formats give a meaning. */
static enum err
field_check(const char *what, struct str s, size_t max, const char *forbidden, struct error *e)
{
    if (s.n > max)
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" has at most %zu bytes", what, max);
    for (size_t i = 0; i < s.n; i++) {
        if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f || strchr(forbidden, s.p[i]) != NULL)
            return fail(
                e, ERR_INVALID_REQUEST, "\"%s\" holds a character that it may not hold", what);
    }
    return ERR_OK;
}

static enum err
text_read(struct call *c, const char *what, size_t max, const char *forbidden, struct str *ret,
    struct error *e)
{
    struct str s = *ret;
    enum err code = json_get_str(c->body, what, &s, e);

    if (code == ERR_OK)
        code = field_check(what, s, max, forbidden, e);
    if (code == ERR_OK)
        *ret = arena_dup(&c->http->arena, str_trim(s));
    return code;
}

static struct str
list_json(struct arena *a, const struct str *list, size_t n)
{
    AUTO_JSON json_t *j = json_array();
    char *text;
    struct str copy;

    for (size_t i = 0; i < n; i++)
        json_array_append_new(j, json_str(list[i]));
    text = json_dumps(j, JSON_COMPACT);
    copy = arena_dup(a, str_from_cstr(text));
    json_wiping_free(text);
    return copy;
}

static enum err
list_read(struct call *c, const char *what, struct str *ret, struct error *e)
{
    struct str *list = NULL;
    size_t n = 0;
    json_t *v = json_object_get(c->body, what);
    enum err code = json_get_strs(c->body, what, &c->http->arena, &list, &n, e);

    if (code != ERR_OK || v == NULL || json_is_null(v))
        return code;
    if (n > LIST_MAX)
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" has at most %d entries", what, LIST_MAX);
    for (size_t i = 0; i < n; i++) {
        if (list[i].n > WORD_MAX_BYTES)
            return fail(e, ERR_INVALID_REQUEST, "an entry of \"%s\" is too long", what);
    }
    *ret = list_json(&c->http->arena, list, n);
    return ERR_OK;
}

/* Names of variables, as secrets are named: one that no variable can have would never be there. */
static enum err
required_read(struct call *c, struct workspace_row *w, struct error *e)
{
    struct str *names = NULL;
    size_t n = 0;
    enum err code = json_get_strs(c->body, "required_env", &c->http->arena, &names, &n, e);

    if (code == ERR_OK)
        code = list_read(c, "required_env", &w->required_env, e);
    if (code != ERR_OK || n == 0)
        return code;
    for (size_t i = 0; i < n; i++) {
        names[i] = arena_name(&c->http->arena, names[i]);
        if (!env_name_is_valid(names[i]))
            return fail(e, ERR_INVALID_REQUEST,
                "\"required_env\" holds \"%.*s\", which no variable can be called: A to Z, 0 to 9 "
                "and _, not beginning with a digit, at most 128",
                (int)(names[i].n > 60 ? 60 : names[i].n), names[i].p);
    }
    w->required_env = list_json(&c->http->arena, names, n);
    return ERR_OK;
}

/* A list of words, or one string that is cut at white space: there is no shell and no quoting. */
static enum err
command_read(struct call *c, struct workspace_row *w, struct error *e)
{
    json_t *v = json_object_get(c->body, "command");
    struct str words[LIST_MAX];
    struct str rest;
    size_t n = 0;

    if (!json_is_string(v))
        return list_read(c, "command", &w->command, e);
    rest = str_trim((struct str){json_string_value(v), json_string_length(v)});
    while (rest.n > 0 && n < LIST_MAX) {
        size_t end = 0;

        while (end < rest.n && !str_is_space(rest.p[end]))
            end++;
        words[n++] = str_slice(rest, 0, end);
        rest = str_trim(str_slice(rest, end, rest.n));
    }
    if (rest.n > 0)
        return fail(e, ERR_INVALID_REQUEST, "\"command\" has at most %d words", LIST_MAX);
    w->command = list_json(&c->http->arena, words, n);
    return ERR_OK;
}

static bool
is_plain_path(struct str p)
{
    return p.n > 1 && p.p[0] == '/' && memmem(p.p, p.n, "..", 2) == NULL &&
        memmem(p.p, p.n, "//", 2) == NULL && memmem(p.p, p.n, "/./", 3) == NULL &&
        !str_ends_with(p, STR("/."));
}

static enum err
dir_read(struct call *c, struct workspace_row *w, struct error *e)
{
    static const char *const closed[] = {"/etc", "/var", "/proc", "/sys", "/dev", "/boot", "/sbin",
        "/bin", "/lib", "/usr", "/run", "/root"};
    struct str dir = w->workspace_dir;
    enum err code = text_read(c, "workspace_dir", 1024, "", &dir, e);

    if (code != ERR_OK)
        return code;
    if (dir.n > 0 && !is_plain_path(dir))
        return fail(e, ERR_INVALID_REQUEST,
            "invalid workspace directory: absolute and plain, without \"..\", \"//\" or \"/.\", "
            "and not "
            "/ itself");
    /* The folder is made writable for an agent that has purser's own uid, whosever it is. */
    if (json_object_get(c->body, "workspace_dir") != NULL && dir.n > 0 && geteuid() != 0 &&
        c->principal.who != WHO_ADMIN)
        return fail(e, ERR_INVALID_REQUEST,
            "only the admin may choose a workspace directory here: agents run as purser's own user "
            "(run purser as root to give each a user of its own)");
    for (size_t i = 0; i < sizeof(closed) / sizeof(closed[0]); i++) {
        struct str top = str_from_cstr(closed[i]);

        if (str_starts_with(dir, top) && (dir.n == top.n || dir.p[top.n] == '/'))
            return fail(
                e, ERR_INVALID_REQUEST, "invalid workspace directory: %s is closed", closed[i]);
    }
    w->workspace_dir = dir;
    return ERR_OK;
}

static enum err
url_read(struct call *c, struct workspace_row *w, struct error *e)
{
    struct str url = w->url;
    enum err code = text_read(c, "url", 2048, " \"<>\\", &url, e);

    if (code != ERR_OK)
        return code;
    if (url.n > 0)
        code = url_check(url, e);
    if (code == ERR_OK)
        w->url = url;
    return code;
}

static enum err
parent_read(struct call *c, struct workspace_row *w, struct error *e)
{
    json_t *v = json_object_get(c->body, "parent_id");
    struct str text = STR_NONE;
    enum err code = json_get_str(c->body, "parent_id", &text, e);

    if (code != ERR_OK || v == NULL)
        return code;
    w->parent = (struct id){0};
    if (text.n > 0 && !id_parse(text, &w->parent))
        return fail(e, ERR_INVALID_REQUEST, "parent_id is not a workspace ID");
    if (!id_is_zero(w->parent) && id_equal(w->parent, w->id))
        return fail(e, ERR_INVALID_REQUEST, "a workspace cannot be its own parent");
    return ERR_OK;
}

static enum err
budget_read(struct call *c, struct workspace_row *w, struct error *e)
{
    json_t *v = json_object_get(c->body, "budget_limit");

    if (v == NULL)
        return ERR_OK;
    if (!json_is_null(v) && (!json_is_integer(v) || json_integer_value(v) < 0)) {
        return fail(
            e, ERR_INVALID_REQUEST, "budget_limit must be an integer >= 0 (USD cents) or null");
    }
    if (json_integer_value(v) > BUDGET_SUM_MAX / BUDGET_NANO_PER_CENT)
        return fail(e, ERR_INVALID_REQUEST, "budget_limit is above %lld cents, the largest",
            (long long)(BUDGET_SUM_MAX / BUDGET_NANO_PER_CENT));
    w->has_budget_limit = !json_is_null(v);
    w->budget_limit_cents = json_is_null(v) ? 0 : json_integer_value(v);
    return ERR_OK;
}

enum err
workspace_fields_read(struct call *c, struct workspace_row *w, struct error *e)
{
    static const char forbidden[] = "{}[]|>*&!";
    enum err code = text_read(c, "name", NAME_MAX_BYTES, forbidden, &w->name, e);

    if (code == ERR_OK)
        code = text_read(c, "role", ROLE_MAX_BYTES, forbidden, &w->role, e);
    if (code == ERR_OK)
        code = text_read(c, "runtime", RUNTIME_MAX_BYTES, "", &w->runtime, e);
    if (code == ERR_OK)
        code = url_read(c, w, e);
    if (code == ERR_OK)
        code = dir_read(c, w, e);
    if (code == ERR_OK)
        code = parent_read(c, w, e);
    if (code == ERR_OK)
        code = command_read(c, w, e);
    if (code == ERR_OK)
        code = list_read(c, "extra_models", &w->extra_models, e);
    if (code == ERR_OK)
        code = required_read(c, w, e);
    if (code == ERR_OK)
        code = budget_read(c, w, e);
    if (code == ERR_OK)
        code = care_read(c->body, &w->care, e);
    if (code == ERR_OK)
        code = launch_hints_read(c, w, e);
    if (code == ERR_OK && w->name.n == 0)
        return fail(e, ERR_INVALID_REQUEST, "a workspace needs a name");
    return code;
}

enum err
workspace_name_check(
    struct store_tx *tx, struct arena *a, const struct workspace_row *w, struct error *e)
{
    struct workspace_row *rows;
    size_t n;
    enum err code = workspace_row_list(tx, w->org, a, &rows, &n, e);

    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        if (!id_equal(rows[i].id, w->id) && str_equal(rows[i].name, w->name)) {
            return fail(e, ERR_CONFLICT,
                "the name \"%.*s\" is taken by another workspace of this org", STR_ARG(w->name));
        }
    }
    return code;
}
