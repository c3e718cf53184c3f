#include "daemon/serve.h"

#include "api/api.h"
#include "api/auth.h"
#include "base/cleanup.h"
#include "daemon/agents.h"
#include "daemon/alerts.h"
#include "daemon/checkpoints.h"
#include "daemon/follow.h"
#include "daemon/isolation.h"
#include "daemon/metrics_gauges.h"
#include "daemon/platform_keys.h"
#include "daemon/retention.h"
#include "ledger/drain.h"
#include "registry/registry_load.h"
#include "store/secret_row.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOSTS_MAX = 16 };

/* Everything that is open, in the order in which it was opened. */
struct serve {
    const struct settings_input *input;
    struct settings settings;
    struct paths paths;
    int lock_fd;
    uint32_t worker_uid, worker_gid; /* 0: the workers run as we do */
    struct vault *vault;
    struct store *store;
    struct registry_set *registry;         /* until api owns it */
    pthread_mutex_t reloading;             /* SIGHUP and the API may both ask */
    const struct registry *registry_block; /* what edge and api use now */
    struct platform_keys platform_keys;
    struct metrics *metrics;
    struct drain *drain;
    struct edge *edge;
    struct alerts *alerts;
    struct budgets *budgets;
    struct checkpoints *checkpoints;
    struct metrics_sources metrics_sources;
    struct api *api;
    struct launcher *launcher;
    struct follow *follow;
    struct retention *retention;
    struct arena texts; /* paths in options */
    struct str hosts[HOSTS_MAX];
    size_t hosts_n;
};

static struct str
text(const char *cstr)
{
    return str_from_cstr(cstr);
}

/* What holds for the whole process, before it holds anything secret. */
static void
harden(void)
{
    const struct rlimit none = {0, 0};

    umask(077);
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &none);
}

static void
block_signals(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGINT);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGHUP);
    sigaddset(ret, SIGUSR1);
    sigprocmask(SIG_BLOCK, ret, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* The user and group of nginx's workers, when they are not our own. */
static enum err
find_worker_user(struct serve *s, struct error *e)
{
    struct passwd entry, *found = NULL;
    char room[4096];

    if (geteuid() != 0)
        return ERR_OK;
    getpwnam_r(s->settings.worker_user, &entry, room, sizeof(room), &found);
    if (found == NULL)
        return fail(e, ERR_GATEWAY_UNUSABLE,
            "there is no user \"%s\" for nginx's workers: set worker_user",
            s->settings.worker_user);
    if (found->pw_uid == 0)
        return fail(
            e, ERR_GATEWAY_UNUSABLE, "nginx's workers must not run as root: set worker_user");
    s->worker_uid = found->pw_uid;
    s->worker_gid = found->pw_gid;
    return ERR_OK;
}

static enum err
anything_sealed_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    return secret_row_any(tx, ctx, e);
}

/*
 * A key is made only while nothing is sealed: later a missing one is a loss to be told, not to be
 * covered.
 */
static enum err
open_vault(struct serve *s, struct error *e)
{
    struct str path = arena_printf(&s->texts, "%s/master-key", s->paths.state);
    struct outer_source source = {
        s->settings.key_file, s->settings.key_command, getenv("CREDENTIALS_DIRECTORY"), environ};
    struct outer_keys *outer = NULL;
    bool sealed = true;
    enum err err = store_read(s->store, anything_sealed_tx, &sealed, e);

    if (err == ERR_OK)
        err = outer_keys_read(&source, &outer, e);
    return err == ERR_OK ? vault_open_under(path, outer, !sealed, &s->vault, e) : err;
}

static enum err
open_store(struct serve *s, struct error *e)
{
    return store_open_node(text(s->settings.store),
        arena_printf(&s->texts, "%s/node-id", s->paths.state), &s->store, e);
}

static struct str
recorder_path(struct serve *s)
{
    return arena_printf(&s->texts, "%s/recorder", s->paths.state);
}

static enum err
open_drain(struct serve *s, struct error *e)
{
    struct drain_options o = {
        .store = s->store,
        .recorder =
            {
                .path = recorder_path(s),
                .slots = (uint32_t)s->settings.recorder_slots,
                .node = store_node(s->store),
                .uid = s->worker_uid,
            },
        .sync_ms = s->settings.recorder_sync_ms,
        .booked = metrics_count,
    };

    s->metrics = metrics_new();
    o.booked_ctx = s->metrics;
    return drain_start(&o, &s->drain, e);
}

static enum err
open_edge(struct serve *s, struct error *e)
{
    struct edge_options o = {
        .run_dir = text(s->paths.run),
        .log_dir = text(s->paths.state),
        .recorder_path = recorder_path(s),
        .api_socket = arena_printf(&s->texts, "%s/api.sock", s->paths.run),
        .stream_socket = arena_printf(&s->texts, "%s/stream.sock", s->paths.run),
        .module_path = text(s->paths.module),
        .listen = text(s->settings.listen),
        .tls_cert = text(s->settings.tls_cert),
        .tls_key = text(s->settings.tls_key),
        .public_url = text(s->settings.public_url),
        .worker_processes = text(s->settings.worker_processes),
        .worker_user = text(s->settings.worker_user),
        .worker_gid = s->worker_gid,
        .vendor_override_url = text(s->settings.vendor_override_url),
        .policy_max_age_ms = s->settings.policy_max_age_s * 1000,
        .auth_failures_per_minute = s->settings.auth_failures_per_minute,
        .registry = s->registry_block,
        .keys = platform_keys_fetch,
        .keys_ctx = &s->platform_keys,
    };

    s->platform_keys = (struct platform_keys){.store = s->store, .vault = s->vault};
    return edge_open(&o, &s->edge, e);
}

static enum err
open_budgets(struct serve *s, struct error *e)
{
    struct budgets_options o = {.store = s->store,
        .edge = s->edge,
        .drain = s->drain,
        .fallback = s->settings.org_budget,
        .policy_max_age_ms = s->settings.policy_max_age_s * 1000,
        .alert = alerts_push};
    enum err err = alerts_open(text(s->settings.alert_webhook),
        arena_printf(&s->texts, "%s/alert-key", s->paths.state).p, &s->alerts, e);

    o.alert_ctx = s->alerts;
    if (err == ERR_OK)
        err = budgets_open(&o, &s->budgets, e);
    if (err == ERR_OK)
        err = checkpoints_open(s->store, arena_printf(&s->texts, "%s/node-key", s->paths.state).p,
            s->settings.checkpoint_s * 1000, &s->checkpoints, e);
    return err;
}

/* Metrics are worth a warning, not an outage: another purser may have the port. */
static void
open_metrics(struct serve *s)
{
    struct error e;

    s->metrics_sources = (struct metrics_sources){.store = s->store,
        .edge = s->edge,
        .drain = s->drain,
        .budgets = s->budgets,
        .registry = &s->registry_block};
    if (metrics_listen(s->metrics, text(s->settings.metrics_listen), metrics_gauges,
            &s->metrics_sources, &e) != ERR_OK)
        log_warn("purserd", "there will be no metrics: %s", e.text);
}

static void
add_host(struct serve *s, struct str host)
{
    host = str_trim(host);
    if (host.n > 0 && s->hosts_n < HOSTS_MAX)
        s->hosts[s->hosts_n++] = host;
}

/* Without port, path and user: the part of a URL that a Host header repeats. */
static struct str
host_of_url(struct str url)
{
    size_t slashes = 0, end;

    while (slashes + 3 <= url.n && memcmp(url.p + slashes, "://", 3) != 0)
        slashes++;
    url = slashes + 3 <= url.n ? str_slice(url, slashes + 3, url.n) : url;
    url = str_slice(url, 0, str_find_char(url, '/'));
    if (url.n > 0 && url.p[0] == '[')
        return str_slice(url, 0, str_find_char(url, ']') + (str_find_char(url, ']') < url.n));
    end = str_find_char(url, ':');
    return str_slice(url, 0, end);
}

static void
find_hosts(struct serve *s)
{
    struct str rest = text(s->settings.hosts);

    add_host(s, host_of_url(text(s->settings.public_url)));
    add_host(s, text(s->settings.listen_address.host));
    while (rest.n > 0) {
        size_t comma = str_find_char(rest, ',');

        add_host(s, str_slice(rest, 0, comma));
        rest = str_slice(rest, comma < rest.n ? comma + 1 : comma, rest.n);
    }
}

static void
release_registry(void *owned)
{
    registry_free(owned);
}

static struct api_registry
api_registry_of(struct registry_set *set)
{
    return (struct api_registry){.registry = registry_block(set),
        .match = registry_match,
        .match_ctx = set,
        .owned = set,
        .release = release_registry};
}

static void
health(void *ctx, struct api_health *ret)
{
    struct serve *s = ctx;
    struct drain_status recorder = drain_status(s->drain);

    *ret = (struct api_health){
        .gateway_present = edge_gateway_present(s->edge),
        .policy_age_ms = edge_policy_age_ms(s->edge),
        .recorder_used = recorder.used,
        .recorder_slots = recorder.slots,
        .recorder_waiting = recorder.waiting,
        .drain_lag_ms = recorder.lag_ms,
    };
    if (recorder.store_failing)
        ret->not_ok = STR("calls cannot be booked: the store fails");
    else if (recorder.damaged > 0)
        ret->not_ok = STR("the recorder holds damaged slots");
}

/* The new registry reaches the gateway first: what it does not take stays as it was everywhere. */
static enum err
replace_registry(struct serve *s, bool *ret_changed, struct error *e)
{
    AUTO_REGISTRY struct registry_set *fresh = NULL;
    struct api_registry swap;
    enum err err = registry_load(s->settings.registry, &fresh, e);

    if (err != ERR_OK)
        return err;
    *ret_changed = memcmp(registry_block(fresh)->fingerprint, s->registry_block->fingerprint,
                       sizeof(s->registry_block->fingerprint)) != 0;
    if (!*ret_changed)
        return ERR_OK;
    err = edge_registry_changed(s->edge, registry_block(fresh), e);
    if (err != ERR_OK)
        return err;
    swap = api_registry_of(TAKE(fresh));
    s->registry_block = swap.registry;
    api_registry_swap(s->api, &swap);
    return ERR_OK;
}

/* api_reload_fn; also what SIGHUP asks for. */
static enum err
reload_registry(void *ctx, bool *ret_changed, struct error *e)
{
    struct serve *s = ctx;
    char fingerprint[65];
    enum err err;

    pthread_mutex_lock(&s->reloading);
    err = replace_registry(s, ret_changed, e);
    registry_fingerprint_hex(s->registry_block, fingerprint);
    pthread_mutex_unlock(&s->reloading);
    if (err != ERR_OK)
        log_error("purserd", "the registry stays as it was (%.12s): %s", fingerprint, e->text);
    else if (*ret_changed)
        log_info("purserd", "a new registry is in force: %s", fingerprint);
    else
        log_info("purserd", "the registry is unchanged: %.12s", fingerprint);
    return err;
}

static enum verify_policy
verify_policy(const struct serve *s)
{
    if (strcmp(s->settings.verify_credentials, "off") == 0)
        return VERIFY_OFF;
    return strcmp(s->settings.verify_credentials, "refuse") == 0 ? VERIFY_REFUSE : VERIFY_WARN;
}

static enum err
open_api(struct serve *s, struct error *e)
{
    struct api_options o = {
        .store = s->store,
        .vault = s->vault,
        .edge = s->edge,
        .registry = api_registry_of(s->registry),
        .socket_path = arena_printf(&s->texts, "%s/api.sock", s->paths.run),
        .stream_socket_path = arena_printf(&s->texts, "%s/stream.sock", s->paths.run),
        .socket_mode = s->worker_gid == 0 ? 0600 : 0660,
        .socket_gid = s->worker_gid,
        .state_dir = text(s->paths.state),
        .homes_dir = text(s->paths.homes),
        .hosts = s->hosts,
        .hosts_n = s->hosts_n,
        .health = health,
        .health_ctx = s,
        .reload_registry = reload_registry,
        .reload_ctx = s,
        .budget_default = s->settings.org_budget,
        .budgets_changed = budgets_refresh,
        .budgets_recount = budgets_recount,
        .budget_sums = budgets_sums,
        .budgets_ctx = s->budgets,
        .unregistered_model_warn = strcmp(s->settings.unregistered_model, "warn") == 0,
        .refuse_shadowed = strcmp(s->settings.shadowed_credential, "refuse") == 0,
        .verify_credentials = verify_policy(s),
        .vendor_override_url = text(s->settings.vendor_override_url),
        .isolation = isolation_of(&s->settings),
        .uid_first = (uint32_t)s->settings.uid_first,
        .stop_grace_ms = s->settings.stop_grace_ms,
        .restart_pause_ms = s->settings.restart_pause_ms,
        .restart_limit = s->settings.restart_limit,
        .start_timeout_ms = s->settings.start_timeout_s * 1000,
        .heartbeat_timeout_ms = s->settings.heartbeat_timeout_s * 1000,
    };
    struct launch_options l = {.run_dir = text(s->paths.run),
        .state_dir = text(s->paths.state),
        .program = text(s->paths.program),
        .engine = text(s->settings.container_engine),
        .init = text(s->paths.init),
        .shim = text(s->paths.shim),
        .sandbox = text(s->paths.sandbox)};
    enum err err;

    if (o.isolation == API_ISOLATION_NONE)
        log_warn("purserd", "code=NO_ISOLATION: %s", ISOLATION_NONE_TEXT);
    find_hosts(s);
    o.hosts_n = s->hosts_n;
    err = api_new(&o, &s->api, e);
    if (err != ERR_OK)
        return err;
    s->registry = NULL; /* the API's now */
    err = launcher_open(&l, api_agent_exited, s->api, &s->launcher, e);
    if (err == ERR_OK)
        err = auth_bootstrap_admin(s->store, text(s->paths.state), e);
    return err == ERR_OK ? api_start(s->api, s->launcher, e) : err;
}

static void
start_retention(struct serve *s)
{
    struct retention_options o = {.store = s->store,
        .edge = s->edge,
        .checkpoints = s->checkpoints,
        .ledger_days = s->settings.retention_ledger_days,
        .decisions_days = s->settings.retention_decisions_days,
        .events_days = s->settings.retention_events_days,
        .logs_days = s->settings.retention_logs_days,
        .state_dir = s->paths.state};

    s->retention = retention_start(&o);
}

static enum err
open_all(struct serve *s, struct error *e)
{
    enum err err = settings_load(s->input, &s->settings, e);

    if (err != ERR_OK)
        return err;
    log_set_level(settings_log_level(&s->settings));
    err = paths_open(&s->settings, &s->paths, e);
    if (err == ERR_OK)
        err = paths_lock(&s->paths, &s->lock_fd, e);
    if (err == ERR_OK)
        err = find_worker_user(s, e);
    if (err == ERR_OK)
        err = registry_load(s->settings.registry, &s->registry, e);
    if (err == ERR_OK) {
        s->registry_block = registry_block(s->registry);
        err = open_store(s, e);
    }
    if (err == ERR_OK)
        err = open_vault(s, e);
    if (err == ERR_OK)
        err = open_drain(s, e);
    if (err == ERR_OK)
        err = open_edge(s, e);
    if (err == ERR_OK)
        err = open_budgets(s, e);
    if (err == ERR_OK)
        err = open_api(s, e);
    if (err == ERR_OK)
        open_metrics(s);
    if (err == ERR_OK)
        s->follow = follow_start(s->store, s->edge, s->budgets, s->api);
    if (err == ERR_OK)
        start_retention(s);
    return err;
}

static void
close_all(struct serve *s, bool stop_agents)
{
    retention_stop(s->retention);
    follow_stop(s->follow);
    api_stop(s->api);
    if (stop_agents && s->launcher != NULL)
        agents_stop_all(s->api, s->launcher, s->store);
    launcher_close(s->launcher);
    metrics_unlisten(s->metrics);
    budgets_close(s->budgets);
    alerts_close(s->alerts);
    edge_close(s->edge);
    drain_stop(s->drain);
    checkpoints_close(s->checkpoints);
    metrics_free(s->metrics);
    api_free(s->api);
    registry_free(s->registry);
    store_close(s->store);
    vault_close(s->vault);
    arena_done(&s->texts);
    settings_done(&s->settings);
    cleanup_close(&s->lock_fd);
}

/* RUN/ready with our pid, in one step: who reads it never sees half a number. */
static enum err
write_ready(const struct serve *s, struct error *e)
{
    char path[192], fresh[192], line[24];
    int n = snprintf(line, sizeof(line), "%d\n", (int)getpid());
    AUTO_CLOSE int fd = -1;

    snprintf(path, sizeof(path), "%s/ready", s->paths.run);
    snprintf(fresh, sizeof(fresh), "%s/ready.new", s->paths.run);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, line, (size_t)n) != n || rename(fresh, path) != 0)
        return fail_errno(e, ERR_IO, "%s cannot be written", path);
    return ERR_OK;
}

static void
remove_ready(const struct serve *s)
{
    char path[192];

    snprintf(path, sizeof(path), "%s/ready", s->paths.run);
    unlink(path);
}

static void
log_start(const struct serve *s)
{
    char fingerprint[65];

    registry_fingerprint_hex(s->registry_block, fingerprint);
    if (s->paths.homes_in_run)
        log_warn("purserd",
            "agents cannot reach %s: their homes are in %s until the next reboot, and may hold no "
            "programs where /run is noexec; to keep them: --homes-dir /var/lib/purser-homes",
            s->paths.state, s->paths.homes);
    log_info("purserd", "serving state=%s run=%s registry=%.12s", s->paths.state, s->paths.run,
        fingerprint);
}

static void
resize_recorder(struct serve *s, int64_t slots)
{
    struct error e;

    if (slots == s->settings.recorder_slots)
        return;
    s->settings.recorder_slots = slots;
    if (drain_resize(s->drain, (uint32_t)slots, &e) != ERR_OK)
        log_error("purserd", "the recorder keeps its size: %s", e.text);
    else
        log_info("purserd", "the recorder is to hold %lld calls and holds %u", (long long)slots,
            drain_status(s->drain).slots);
}

static void
reload_settings(struct serve *s)
{
    const struct setting *changed;
    struct settings fresh;
    struct error e;

    if (settings_load(s->input, &fresh, &e) != ERR_OK) {
        log_error("purserd", "the settings stay as they were: %s", e.text);
        return;
    }
    log_set_level(settings_log_level(&fresh));
    resize_recorder(s, fresh.recorder_slots);
    if (vault_reload(s->vault, &e) != ERR_OK)
        log_error("purserd", "the keyring stays as it was: %s", e.text);
    changed = settings_restart_needed(&s->settings, &fresh);
    if (changed != NULL)
        log_warn("purserd", "the setting %s has changed: it takes effect at the next start",
            changed->name);
    settings_done(&fresh);
}

/* The owner of the state directory lost the admin token and made a new one. */
static void
adopt_admin(struct serve *s)
{
    bool adopted = false;
    struct error e;

    if (auth_admin_adopt(s->store, text(s->paths.state), &adopted, &e) != ERR_OK)
        log_error("purserd", "the new admin token is not in force: %s", e.text);
    else if (adopted)
        log_info("purserd", "the admin token was rotated by the owner of the state directory");
}

/* Returns whether the agents are to be stopped, too. */
static bool
wait_for_end(struct serve *s, const sigset_t *signals)
{
    for (;;) {
        struct error e;
        bool changed;
        int signal = 0;

        if (sigwait(signals, &signal) != 0)
            continue;
        if (signal == SIGUSR1) {
            adopt_admin(s);
            continue;
        }
        if (signal == SIGHUP) {
            reload_settings(s);
            (void)!reload_registry(s, &changed, &e); /* it says itself how it went */
            continue;
        }
        log_info("purserd", "ending on signal %d", signal);
        return signal == SIGINT || strcmp(s->settings.on_shutdown, "stop") == 0;
    }
}

int
serve_run(const struct settings_input *input)
{
    struct serve s = {.input = input, .lock_fd = -1, .reloading = PTHREAD_MUTEX_INITIALIZER};
    bool stop_agents = false;
    sigset_t signals;
    struct error e;
    enum err err;

    harden();
    block_signals(&signals);
    arena_init(&s.texts);
    arena_init(&s.settings.arena);
    err = open_all(&s, &e);
    if (err == ERR_OK)
        err = write_ready(&s, &e);
    if (err == ERR_OK) {
        log_start(&s);
        stop_agents = wait_for_end(&s, &signals);
        remove_ready(&s);
    } else {
        fprintf(stderr, "purser: %s: %s\n", err_name(err), e.text);
    }
    close_all(&s, stop_agents);
    return err_exit_code(err);
}
