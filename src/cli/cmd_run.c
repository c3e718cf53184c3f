/*
 * purser run: a process with the environment of a workspace, on this machine. The server decides and
 * hands out; this keeps the run alive while the process is, and ends it with it.
 */
#include "base/arena.h"
#include "base/cleanup.h"
#include "cli/run_child.h"
#include "cli/run_env.h"
#include "cli/session.h"
#include "launch/folder.h"
#include "launch/homefile.h"

#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <sys/file.h>
#include <unistd.h>

enum { RETRY_S = 30 };

struct run {
    struct session s;
    struct arena arena;
    const char *workspace, *model, *inherit, *ttl;
    char id[ID_TEXT_BYTES]; /* the workspace's */
    json_t *answer;
    const char *run_id;
    const char *home; /* NULL: the caller's */
};

static void
run_done(struct run *r)
{
    json_decref(r->answer);
    arena_done(&r->arena);
    client_close(r->s.client);
}

/* ---- HOME ---- */

/*
 * Private to the workspace and kept between runs: an agent's own login must not decide who pays, and
 * what it renews must not be lost.
 */
static const char *
home_path(struct run *r)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

    if (state != NULL && state[0] == '/')
        return arena_printf(&r->arena, "%s/purser/runs/%s", state, r->id).p;
    if (home != NULL && home[0] == '/')
        return arena_printf(&r->arena, "%s/.local/state/purser/runs/%s", home, r->id).p;
    return arena_printf(&r->arena, "/tmp/purser-runs-%u/%s", (unsigned)geteuid(), r->id).p;
}

static enum err
take_file(struct run *r, const json_t *file, struct homefile *ret)
{
    const char *stamp = json_string_value(json_object_get(file, "stamp"));
    json_t *content = json_object_get(file, "content");

    ret->path = json_string_value(json_object_get(file, "path"));
    ret->content = (struct str){json_string_value(content), json_string_length(content)};
    ret->refreshed = json_is_true(json_object_get(file, "refreshed"));
    if (ret->path == NULL || ret->content.p == NULL || stamp == NULL || ret->path[0] == '/' ||
        strstr(ret->path, "..") != NULL || strlen(ret->path) > HOMEFILE_PATH_MAX ||
        sodium_hex2bin(ret->stamp, sizeof(ret->stamp), stamp, strlen(stamp), NULL, NULL, NULL) != 0)
        return fail(&r->s.error, ERR_SERVER_UNREACHABLE, "the server's answer is garbled");
    return ERR_OK;
}

static enum err
make_home(struct run *r)
{
    struct homefile files[HOMEFILES_MAX];
    struct homefile_place place = {0};
    json_t *list = json_object_get(r->answer, "files");
    AUTO_CLOSE int notes = -1;
    const char *folder = home_path(r);
    enum err err = ERR_OK;

    if (run_env_inherits(r->inherit, "HOME")) {
        if (json_array_size(list) > 0)
            return fail(&r->s.error, ERR_USAGE,
                "HOME may not be inherited: this runtime is steered by files in a HOME of its own");
        return ERR_OK;
    }
    if (json_array_size(list) > HOMEFILES_MAX)
        return fail(&r->s.error, ERR_SERVER_UNREACHABLE, "the server's answer is garbled");
    for (size_t i = 0; err == ERR_OK && i < json_array_size(list); i++)
        err = take_file(r, json_array_get(list, i), &files[i]);
    r->home = arena_printf(&r->arena, "%s/home", folder).p;
    if (err == ERR_OK)
        err = folder_make_home(r->home, 0, 0, &r->s.error);
    if (err != ERR_OK)
        return err;
    notes = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (notes < 0 || flock(notes, LOCK_EX) != 0)
        return fail_errno(&r->s.error, ERR_IO, "cannot use the folder %s", folder);
    place.home = r->home;
    place.notes = notes;
    return homefile_sync(&place, files, json_array_size(list), &r->s.error);
}

/* ---- the run ---- */

static enum err
begin(struct run *r)
{
    AUTO_JSON json_t *body = json_object();
    char path[128];
    enum err err;

    if (r->model != NULL)
        json_object_set_new(body, "model", json_string(r->model));
    if (r->ttl != NULL)
        json_object_set_new(body, "ttl_seconds", json_integer(strtol(r->ttl, NULL, 10)));
    err = workspace_ref(r->s.client, r->workspace, r->id, &r->s.error);
    if (err == ERR_OK)
        err = client_path(path, sizeof(path), &r->s.error, "/workspaces/%s/runs", r->id);
    if (err == ERR_OK)
        err = client_call(r->s.client, "POST", path, body, &r->answer, &r->s.error);
    if (err != ERR_OK)
        return err;
    r->run_id = json_string_value(json_object_get(r->answer, "run_id"));
    if (r->run_id == NULL || !json_is_object(json_object_get(r->answer, "env")))
        return fail(&r->s.error, ERR_SERVER_UNREACHABLE, "the server's answer is garbled");
    return ERR_OK;
}

static void
tell_warnings(const struct run *r)
{
    json_t *list = json_object_get(r->answer, "warnings"), *warning;
    size_t i;

    json_array_foreach(list, i, warning) fprintf(stderr, "purser: warning: %s: %s\n",
        json_string_value(json_object_get(warning, "code")),
        json_string_value(json_object_get(warning, "text")));
}

/* What is not ended expires; nothing else to do about it. */
static void
end(struct run *r)
{
    struct error e;
    char path[192];

    if (client_path(path, sizeof(path), &e, "/workspaces/%s/runs/%s", r->id, r->run_id) != ERR_OK ||
        (client_call(r->s.client, "DELETE", path, NULL, NULL, &e) != ERR_OK &&
            e.code != ERR_NOT_FOUND))
        fprintf(
            stderr, "purser: the run could not be ended and will expire by itself: %s\n", e.text);
}

/* Renews from a client of its own, so that a slow server delays no signal. */
struct renewal {
    struct run *run;
    struct client *client;
    char path[192];
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool stopping;
};

/* False: the process has ended. */
static bool
rest(struct renewal *n, json_int_t seconds)
{
    const struct timespec until = clock_deadline(seconds * 1000);
    bool stopping;

    pthread_mutex_lock(&n->lock);
    while (!n->stopping && clock_wait(&n->stop, &n->lock, &until) == 0)
        continue;
    stopping = n->stopping;
    pthread_mutex_unlock(&n->lock);
    return !stopping;
}

static void *
renew(void *arg)
{
    struct renewal *n = arg;
    json_int_t half = json_integer_value(json_object_get(n->run->answer, "ttl_seconds")) / 2;
    enum err err = ERR_OK;
    struct error e;

    while (rest(n, err == ERR_OK || half < RETRY_S ? half : RETRY_S)) {
        err = client_call(n->client, "POST", n->path, NULL, NULL, &e);
        if (err == ERR_NOT_FOUND || err == ERR_GONE) {
            fprintf(stderr, "purser: the run was ended by somebody else: its token is gone\n");
            break;
        }
    }
    return NULL;
}

/* False: it cannot be renewed, and ends when its time is over. */
static bool
renewal_start(struct run *r, struct renewal *ret)
{
    struct error e;

    *ret = (struct renewal){.run = r};
    if (client_path(ret->path, sizeof(ret->path), &e, "/workspaces/%s/runs/%s/renew", r->id,
            r->run_id) != ERR_OK ||
        client_open(&r->s.options, &ret->client, &e) != ERR_OK)
        return false;
    pthread_mutex_init(&ret->lock, NULL);
    pthread_cond_init(&ret->stop, NULL);
    if (pthread_create(&ret->thread, NULL, renew, ret) == 0)
        return true;
    client_close(ret->client);
    return false;
}

static void
renewal_stop(struct renewal *n)
{
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    pthread_cond_broadcast(&n->stop);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    client_close(n->client);
}

/* The process, from start to end: its status, as waitpid() gives it. */
static enum err
live(struct run *r, struct run_env *env, int *ret_status)
{
    struct run_child child;
    struct renewal renewal;
    bool renews;
    enum err err;

    client_disconnect(r->s.client);
    err = run_child_start(r->s.arguments.rest, env->entries, &child, &r->s.error);
    if (err != ERR_OK)
        return err;
    run_env_done(env);
    /* Signals are blocked by now, also in its thread. */
    renews = renewal_start(r, &renewal);
    *ret_status = run_child_wait(&child);
    if (renews)
        renewal_stop(&renewal);
    return ERR_OK;
}

static enum err
check_ttl(struct run *r)
{
    char *rest = NULL;
    long ttl = r->ttl == NULL ? 60 : strtol(r->ttl, &rest, 10);

    if (ttl < 2 || ttl > 24 * 3600 || (rest != NULL && *rest != '\0'))
        return fail(&r->s.error, ERR_USAGE, "--ttl is a number of seconds from 2 to 86400");
    return ERR_OK;
}

int
cmd_run(int argc, char **argv)
{
    AUTO(run_done) struct run r = {0};
    AUTO_RUN_ENV struct run_env env = {0};
    const struct option options[] = {
        {"workspace", "WORKSPACE", "whose environment (id or name)", .text = &r.workspace},
        {"model", "MODEL", "a model for this run alone", .text = &r.model},
        {"inherit", "NAME,...", "names of your own environment to pass on, e.g. PATH,HOME",
            .text = &r.inherit},
        {"ttl", "SECONDS", "how long the run lives without us (default: a day)", .text = &r.ttl},
        CLIENT_OPTIONS(r.s.options),
    };
    const struct command_line line = {"purser run", "--workspace WORKSPACE",
        "Runs a command with exactly the environment of a workspace: its secrets, its provider's\n"
        "credential or a usage token that ends with the command. Of your own environment only "
        "PATH,\n"
        "TERM, COLORTERM, LANG, LC_*, TZ fill what the workspace leaves open, and what --inherit\n"
        "names. HOME is a folder of the workspace's own. The exit code is the command's.",
        ROWS(options), .takes_rest = true};
    int status = 0;
    enum err err;

    if (!session_begin(&r.s, &line, argc, argv))
        return r.s.exit_code;
    arena_init(&r.arena);
    if (r.workspace == NULL || r.s.arguments.rest_n == 0)
        return session_end(&r.s,
            fail(&r.s.error, ERR_USAGE,
                "purser run needs --workspace WORKSPACE and a command behind --"));
    err = check_ttl(&r);
    if (err == ERR_OK)
        err = begin(&r);
    if (err != ERR_OK)
        return session_end(&r.s, err);
    tell_warnings(&r);
    err = make_home(&r);
    if (err == ERR_OK)
        err = run_env_make(r.answer, r.inherit, r.home, &env, &r.s.error);
    if (err == ERR_OK)
        err = live(&r, &env, &status);
    end(&r);
    return err != ERR_OK ? session_end(&r.s, err) : run_child_exit_code(status);
}
