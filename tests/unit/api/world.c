#include "world.h"

#include "store/token_row.h"

#include "unit.h"

#include "base/buf.h"

#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct stand_in stand_in;

/* cmocka has a macro of the name fail. */
static enum err
refuse(struct error *e, enum err code)
{
    e->code = code;
    snprintf(e->text, sizeof(e->text), "the test says so");
    return code;
}

/* --- the gateway --- */

enum err
edge_token_publish(struct edge *g, const struct edge_token *t, struct error *e)
{
    if (stand_in.publish_error != ERR_OK)
        return refuse(e, stand_in.publish_error);
    stand_in.published++;
    memcpy(stand_in.digest, t->digest, sizeof(t->digest));
    stand_in.models[0] = '\0';
    for (size_t i = 0; i < t->models_n; i++) {
        size_t n = strlen(stand_in.models);

        snprintf(stand_in.models + n, sizeof(stand_in.models) - n, "%.*s;", STR_ARG(t->models[i]));
    }
    return ERR_OK;
}

static void
call_once(void (**hook)(void))
{
    void (*f)(void) = *hook;

    *hook = NULL;
    if (f != NULL)
        f();
}

void
edge_token_revoke(struct edge *g, const uint8_t digest[static 32])
{
    stand_in.revoked++;
    call_once(&stand_in.on_revoke);
}

void
edge_tokens_settled(struct edge *g)
{
    stand_in.settled++;
}

bool
edge_has_platform_key(struct edge *g, struct str provider)
{
    return stand_in.has_platform_key;
}

enum err
edge_platform_keys_changed(struct edge *g, struct error *e)
{
    stand_in.has_platform_key = true;
    return ERR_OK;
}

struct str
edge_public_url(const struct edge *g)
{
    return STR("http://127.0.0.1:8080");
}

bool
edge_gateway_present(struct edge *g)
{
    call_once(&stand_in.on_plan);
    return stand_in.gateway_present;
}

int64_t
edge_policy_age_ms(struct edge *g)
{
    return 7;
}

size_t
edge_unresolved(struct edge *g, struct arena *a, struct str *ret_names, size_t max)
{
    ret_names[0] = STR("gone.example");
    return 1;
}

/* --- the agents --- */

enum err
launch_start(struct launcher *l, const struct launch_spec *spec, struct error *e)
{
    size_t n = 0;

    stand_in.env[0] = '\0';
    for (size_t i = 0; i < spec->env_n; i++) {
        struct str value =
            spec->env[i].secret != NULL ? secret_expose(spec->env[i].secret) : spec->env[i].literal;

        n += (size_t)snprintf(stand_in.env + n, sizeof(stand_in.env) - n, "%.*s=%.*s\n",
            STR_ARG(spec->env[i].name), STR_ARG(value));
        assert_true(n < sizeof(stand_in.env));
    }
    n = 0;
    for (size_t i = 0; i < spec->argv_n; i++) {
        n += (size_t)snprintf(
            stand_in.argv + n, sizeof(stand_in.argv) - n, "%.*s;", STR_ARG(spec->argv[i]));
    }
    if (stand_in.launch_error != ERR_OK)
        return refuse(e, stand_in.launch_error);
    stand_in.launched++;
    stand_in.running = spec->workspace;
    stand_in.status = (struct launch_status){
        .state = LAUNCH_RUNNING, .start = spec->start, .pid = 4242, .started_ms = clock_ms()};
    return ERR_OK;
}

enum err
launch_prepare(struct launcher *l, const struct launch_container *c, launch_progress_fn *progress,
    void *ctx, struct error *e)
{
    return ERR_OK;
}

enum err
launch_stop(struct launcher *l, struct id workspace, int64_t grace_ms, struct error *e)
{
    stand_in.stopped++;
    if (id_equal(workspace, stand_in.running))
        stand_in.status.state = LAUNCH_EXITED;
    return ERR_OK;
}

struct launch_status
launch_status(struct launcher *l, struct id workspace)
{
    call_once(&stand_in.on_stop);
    return id_equal(workspace, stand_in.running) ? stand_in.status : (struct launch_status){0};
}

enum err
launch_log(
    struct launcher *l, struct id workspace, size_t max_bytes, struct buf *out, struct error *e)
{
    buf_add(out, STR("hello from the agent\n"));
    return ERR_OK;
}

enum err
launch_forget(struct launcher *l, struct id workspace, struct error *e)
{
    return ERR_OK;
}

/* --- the control plane --- */

static char *
path_in(const struct world *w, const char *name, char ret[static 128])
{
    snprintf(ret, 128, "%s/%s", w->dir, name);
    return ret;
}

static void
world_open(struct world *w)
{
    char url[128], ring[128], sock[128];
    struct error e;
    struct api_options o = {0};

    if (store_open(str_from_cstr(path_in(w, "store.db", url)), &w->store, &e) != ERR_OK ||
        vault_open(str_from_cstr(path_in(w, "keyring", ring)), true, &w->vault, &e) != ERR_OK ||
        registry_load_embedded(&w->registry, &e) != ERR_OK)
        fail_msg("%s", e.text);
    o.store = w->store;
    o.vault = w->vault;
    o.registry = (struct api_registry){
        .registry = registry_block(w->registry), .match = registry_match, .match_ctx = w->registry};
    o.socket_path = str_from_cstr(path_in(w, "api.sock", sock));
    o.state_dir = str_from_cstr(w->dir);
    o.homes_dir = STR("/tmp/homes");
    o.ready_ms = 20;
    o.heartbeat_timeout_ms = 3600 * 1000; /* however long a test takes, nobody falls silent */
    o.restart_pause_ms = 20;
    if (api_new(&o, &w->api, &e) != ERR_OK ||
        auth_bootstrap_admin(w->store, o.state_dir, &e) != ERR_OK ||
        api_start(w->api, NULL, &e) != ERR_OK)
        fail_msg("%s", e.text);
}

static void
world_close(struct world *w)
{
    api_free(w->api);
    registry_free(w->registry);
    vault_close(w->vault);
    store_close(w->store);
}

void
world_restart(struct world *w)
{
    world_close(w);
    world_open(w);
}

static void
make_org(struct world *w, const char *slug, char ret[static ID_TEXT_BYTES])
{
    char body[64];
    AUTO_ANSWER struct answer a = {0};

    snprintf(body, sizeof(body), "{\"slug\":\"%s\",\"name\":\"%s\"}", slug, slug);
    a = ask_with(w, w->admin, NULL, NULL, "POST", "/admin/orgs", body);
    assert_int_equal(a.status, 201);
    snprintf(ret, ID_TEXT_BYTES, "%s", answer_text(&a, "id"));
}

int
world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char path[128];
    FILE *f;

    memset(&stand_in, 0, sizeof(stand_in));
    stand_in.gateway_present = true;
    stand_in.has_platform_key = true;
    snprintf(w->dir, sizeof(w->dir), "/tmp/purser-api-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    world_open(w);
    f = fopen(path_in(w, "admin-token", path), "r");
    assert_non_null(f);
    assert_non_null(fgets(w->admin, sizeof(w->admin), f));
    w->admin[strcspn(w->admin, "\n")] = '\0';
    fclose(f);
    make_org(w, "demo", w->org);
    make_org(w, "other", w->other);
    *state = w;
    return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

int
world_teardown(void **state)
{
    struct world *w = *state;

    world_close(w);
    nftw(w->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

/* --- the client --- */

void
answer_done(struct answer *a)
{
    json_decref(a->json);
}

const char *
answer_text(const struct answer *a, const char *key)
{
    const char *text = json_string_value(json_object_get(a->json, key));

    return text == NULL ? "" : text;
}

static void
send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

        if (sent <= 0)
            return; /* an answer that came before the whole body was taken */
        p += sent;
        n -= (size_t)sent;
    }
}

struct answer
ask_with(struct world *w, const char *token, const char *org, const char *headers,
    const char *method, const char *path, const char *body)
{
    struct answer a = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    AUTO_BUF struct buf in, out;
    const char *at;
    ssize_t n = 1;

    buf_init(&in, 4 << 20);
    buf_init(&out, 4 << 20);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/api.sock", w->dir);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    buf_addf(&out, "%s %s HTTP/1.1\r\nConnection: close\r\n", method, path);
    if (headers == NULL || strstr(headers, "Host:") == NULL)
        buf_addf(&out, "Host: localhost\r\n");
    if (headers != NULL)
        buf_addf(&out, "%s", headers);
    if (token != NULL)
        buf_addf(&out, "Authorization: Bearer %s\r\n", token);
    if (org != NULL)
        buf_addf(&out, "X-Molecule-Org-Id: %s\r\n", org);
    if (body != NULL)
        buf_addf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    buf_addf(&out, "\r\n");
    if (body != NULL)
        buf_add(&out, str_from_cstr(body));
    send_all(fd, out.p, out.n);
    while (n > 0) {
        char *room = buf_reserve(&in, 4096);

        n = recv(fd, room, 4096, 0);
        if (n > 0)
            buf_grown(&in, (size_t)n);
    }
    snprintf(a.head, sizeof(a.head), "%s", buf_cstr(&in));
    assert_int_equal(sscanf(a.head, "HTTP/1.1 %d", &a.status), 1);
    at = strstr(buf_cstr(&in), "\r\n\r\n");
    assert_non_null(at);
    a.json = json_loads(at + 4, JSON_DECODE_ANY, NULL);
    return a;
}

struct answer
ask(struct world *w, const char *method, const char *path, const char *body)
{
    return ask_with(w, w->admin, w->org, NULL, method, path, body);
}

void
make_workspace(struct world *w, const char *fields, char ret[static ID_TEXT_BYTES])
{
    char body[4096];
    AUTO_ANSWER struct answer a = {0};

    snprintf(body, sizeof(body), "{\"name\":\"w%u\",\"start\":false%s%s}", ++w->made,
        *fields == '\0' ? "" : ",", fields);
    a = ask(w, "POST", "/workspaces", body);
    assert_answer(a, 201, "");
    snprintf(ret, ID_TEXT_BYTES, "%s", answer_text(&a, "id"));
}

static bool
has_status(struct world *w, const char *id, const char *status)
{
    AUTO_ANSWER struct answer row = ask(w, "GET", path_of(id, ""), NULL);

    return strcmp(answer_text(&row, "status"), status) == 0;
}

void
wait_status(struct world *w, const char *id, const char *status)
{
    wait_until(has_status(w, id, status));
}

static enum err
look_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct look *l = ctx;
    struct decision_filter all = {.org = l->org, .workspace = l->workspace};
    enum err code = decision_row_list(tx, &all, 100, &l->arena, &l->decisions, &l->decisions_n, e);

    if (code == ERR_OK) {
        code = event_row_list(
            tx, l->org, l->workspace, 0, 100, &l->arena, &l->events, &l->events_n, e);
    }
    if (code == ERR_OK) {
        code = token_row_count_live(
            tx, l->org, l->workspace, TOKEN_USAGE, clock_ms(), &l->live_tokens, e);
    }
    return code;
}

void
look_done(struct look *l)
{
    arena_done(&l->arena);
}

struct look
look(struct world *w, const char *id)
{
    struct look l = {0};
    struct error e;

    assert_true(id_parse(str_from_cstr(w->org), &l.org));
    assert_true(id_parse(str_from_cstr(id), &l.workspace));
    assert_int_equal(store_read(w->store, look_tx, &l, &e), ERR_OK);
    return l;
}

const char *
path_of(const char *id, const char *tail)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "/workspaces/%s%s", id, tail);
    return path;
}
