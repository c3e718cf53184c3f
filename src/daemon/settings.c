#include "daemon/settings.h"

#include "base/buf.h"
#include "base/yaml.h"
#include "core/num.h"
#include "daemon/budgets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define AT(field) offsetof(struct settings, field)

/* Books of a year and of the same month the year before; and a month with days to look at it. */
enum { DAYS_MAX = 36500, LEDGER_DAYS_MIN = 400, DECISIONS_DAYS_MIN = 35 };

static const struct setting table[] = {
    {"state", SETTING_PATH, AT(state), "./var", .argument = "DIR",
        .help = "where everything is kept: store, keys, recorder, agents' logs"},
    {"listen", SETTING_TEXT, AT(listen), "127.0.0.1:8080", .argument = "ADDR:PORT",
        .help = "where nginx listens; beyond loopback it needs tls_cert and tls_key"},
    {"public_url", SETTING_TEXT, AT(public_url), "", .argument = "URL",
        .help = "how agents and people reach us (default: made from listen)"},
    {"hosts", SETTING_TEXT, AT(hosts), "", .argument = "NAME,...",
        .help = "names in Host headers that are answered, besides listen's and public_url's"},
    {"tls_cert", SETTING_PATH, AT(tls_cert), "", .argument = "FILE",
        .help = "certificate chain (PEM)"},
    {"tls_key", SETTING_PATH, AT(tls_key), "", .argument = "FILE", .help = "its key (PEM)"},
    {"insecure_http", SETTING_BOOL, AT(insecure_http), "false", .argument = "true|false",
        .help = "allow plain HTTP beyond loopback (behind a proxy that does TLS)"},
    {"store", SETTING_TEXT, AT(store), "", .argument = "URL",
        .help = "SQLite file or postgresql://... (default: STATE/purser.db)"},
    {"key_file", SETTING_PATH, AT(key_file), "", .argument = "FILE",
        .help =
            "seals STATE/master-key: 64 hex digits (default: $CREDENTIALS_DIRECTORY/purser-key, "
            "if there)"},
    {"key_command", SETTING_TEXT, AT(key_command), "", .argument = "COMMAND",
        .help = "the same, printed by a program (a KMS); its words are split at spaces"},
    {"registry", SETTING_PATH, AT(registry), "", .argument = "FILE",
        .help = "replaces the built-in registry; its content is read anew on SIGHUP"},
    {"run_dir", SETTING_PATH, AT(run_dir), "", .argument = "DIR",
        .help = "sockets and shared memory (default: a folder in /run/purser as root, otherwise in "
                "$XDG_RUNTIME_DIR/purser or /tmp/purser-UID)"},
    {"homes_dir", SETTING_PATH, AT(homes_dir), "", .argument = "DIR",
        .help = "the agents' homes (default: STATE/homes, or RUN/homes if agents cannot reach it)"},
    {"nginx", SETTING_TEXT, AT(nginx), "nginx", .argument = "PROGRAM",
        .help = "which nginx to run"},
    {"module", SETTING_PATH, AT(module), "", .argument = "FILE",
        .help = "ngx_http_purser_module.so (default: beside this program, or nginx's modules)"},
    {"worker_processes", SETTING_TEXT, AT(worker_processes), "auto", .argument = "N|auto",
        .help = "nginx workers"},
    {"worker_user", SETTING_TEXT, AT(worker_user), "www-data", .argument = "USER",
        .help = "the user of nginx's workers, when started by root"},
    {"unregistered_model", SETTING_CHOICE, AT(unregistered_model), "refuse",
        .choices = "refuse|warn", .argument = "refuse|warn",
        .help = "a model the registry does not know, at create"},
    {"shadowed_credential", SETTING_CHOICE, AT(shadowed_credential), "warn",
        .choices = "warn|refuse", .argument = "warn|refuse",
        .help = "a kept key that would make the agent use another provider than decided"},
    {"verify_credentials", SETTING_CHOICE, AT(verify_credentials), "warn",
        .choices = "off|warn|refuse", .argument = "off|warn|refuse",
        .help = "an own key that its vendor does not accept, at create, write and start"},
    {"isolation", SETTING_CHOICE, AT(isolation), "auto", .choices = "auto|sandbox|none",
        .argument = "auto|sandbox|none",
        .help = "what keeps agents that are processes apart: a uid each (as root) or bubblewrap "
                "(auto), always bubblewrap, or nothing when not root"},
    {"container_engine", SETTING_PATH, AT(container_engine), "", .argument = "SOCKET",
        .help = "the API socket of Docker or podman, for workspaces that run in containers"},
    {"on_shutdown", SETTING_CHOICE, AT(on_shutdown), "keep", .choices = "keep|stop",
        .argument = "keep|stop", .help = "what SIGTERM of purserd does to agents"},
    {"stop_grace_ms", SETTING_INT, AT(stop_grace_ms), "5000", 0, 600000, .argument = "MS",
        .help = "how long a stopped agent may take to end by itself"},
    {"restart_pause_ms", SETTING_INT, AT(restart_pause_ms), "1000", 10, 600000, .argument = "MS",
        .help = "before an agent that ended is started again; doubled each time"},
    {"restart_limit", SETTING_INT, AT(restart_limit), "5", 1, 1000, .argument = "N",
        .help = "how often in a row an agent is started again before it has failed"},
    {"start_timeout", SETTING_INT, AT(start_timeout_s), "600", 1, 86400, .argument = "SECONDS",
        .help = "how long an agent with readiness: register may take to register"},
    {"heartbeat_timeout", SETTING_INT, AT(heartbeat_timeout_s), "180", 1, 86400,
        .argument = "SECONDS",
        .help =
            "an agent that sent heartbeats and is silent for so long is offline (external ones: "
            "half of it)"},
    {"uid_first", SETTING_INT, AT(uid_first), "200000", 1000, 2000000000, .argument = "UID",
        .help = "first uid of agents, when started by root"},
    {"recorder_slots", SETTING_INT, AT(recorder_slots), "65536", 64, 16777216, .argument = "N",
        .reloadable = true, .help = "calls that can be open or not yet booked at the same time"},
    {"recorder_sync_ms", SETTING_INT, AT(recorder_sync_ms), "1000", 10, 3600000, .argument = "MS",
        .help = "how often the recorder is synced to disk: what a power cut can take"},
    {"policy_max_age", SETTING_INT, AT(policy_max_age_s), "86400", 1, 31536000,
        .argument = "SECONDS",
        .help = "how old a policy the gateway may use while purserd is away"},
    {"auth_failures_per_minute", SETTING_INT, AT(auth_failures_per_minute), "60", 0, 100000,
        .argument = "N",
        .help = "API requests with a bad credential per client address; beyond: 429; 0: no limit"},
    {"default_org_budget", SETTING_TEXT, AT(default_org_budget), "20 USD/day", .argument = "LIMIT",
        .help =
            "what an org without a budget of its own may spend: \"20 USD/day\" (hour, day, week, "
            "month, total; \" warn\" behind it only tells), or none"},
    {"alert_webhook", SETTING_TEXT, AT(alert_webhook), "", .argument = "URL",
        .help = "where budget alerts are posted, signed with STATE/alert-key (default: nowhere)"},
    {"metrics_listen", SETTING_TEXT, AT(metrics_listen), "127.0.0.1:9464", .argument = "ADDR:PORT",
        .help = "where Prometheus finds /metrics; none: no listener"},
    {"checkpoint_s", SETTING_INT, AT(checkpoint_s), "60", 1, 86400, .argument = "SECONDS",
        .help = "how often the heads of the audit chains are signed"},
    {"retention_ledger_days", SETTING_INT, AT(retention_ledger_days), "0", 0, DAYS_MAX,
        .argument = "DAYS", .help = "how long ledger entries are kept: 400 or more; 0: for ever"},
    {"retention_decisions_days", SETTING_INT, AT(retention_decisions_days), "0", 0, DAYS_MAX,
        .argument = "DAYS", .help = "how long decision records are kept: 35 or more; 0: for ever"},
    {"retention_events_days", SETTING_INT, AT(retention_events_days), "90", 0, DAYS_MAX,
        .argument = "DAYS",
        .help = "how long events, ended tokens and runs, and told alerts are kept; 0: for ever"},
    {"retention_logs_days", SETTING_INT, AT(retention_logs_days), "30", 0, DAYS_MAX,
        .argument = "DAYS",
        .help = "how long agents' logs and access.log, put aside daily, are kept; 0: they are "
                "left alone"},
    {"log_level", SETTING_CHOICE, AT(log_level), "info", .choices = "error|warn|info|debug",
        .argument = "LEVEL", .reloadable = true, .help = "error, warn, info or debug"},
    {"vendor_override_url", SETTING_TEXT, AT(vendor_override_url), "", .argument = "URL",
        .flag_only = true, .help = "send every vendor call there instead (demos and tests)"},
};
enum { TABLE_N = sizeof(table) / sizeof(table[0]) };
_Static_assert((int)TABLE_N <= (int)SETTINGS_MAX, "SETTINGS_MAX");

const struct setting *
settings_table(size_t *ret_n)
{
    *ret_n = TABLE_N;
    return table;
}

static bool
choice_has(const char *choices, struct str value)
{
    struct str rest = str_from_cstr(choices);

    while (rest.n > 0) {
        size_t bar = str_find_char(rest, '|');

        if (str_equal(str_slice(rest, 0, bar), value))
            return true;
        rest = str_slice(rest, bar < rest.n ? bar + 1 : bar, rest.n);
    }
    return false;
}

static const char *
absolute_path(struct arena *a, struct str path)
{
    char here[4096];

    if (path.n == 0 || path.p[0] == '/' || getcwd(here, sizeof(here)) == NULL)
        return arena_cstr(a, path);
    if (str_starts_with(path, STR("./")))
        path = str_slice(path, 2, path.n);
    return arena_printf(a, "%s/%.*s", here, STR_ARG(path)).p;
}

/* Texts end up in nginx.conf, in quotes: what could leave the quotes is refused here, once. */
static bool
is_plain(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        if ((unsigned char)value.p[i] < 0x20 || value.p[i] == 0x7f ||
            strchr("\"'\\$;{}", value.p[i]) != NULL)
            return false;
    }
    return true;
}

/* False with a reason when value is not of the row's kind. */
static bool
set_value(struct settings *s, const struct setting *row, struct str value, struct error *why)
{
    char *field = (char *)s + row->offset;
    int64_t number;

    switch (row->kind) {
    case SETTING_BOOL:
        if (!str_equal(value, STR("true")) && !str_equal(value, STR("false"))) {
            fail(why, ERR_SETTINGS_INVALID, "%s must be true or false", row->name);
            return false;
        }
        *(bool *)field = value.n == 4;
        return true;
    case SETTING_INT:
        if (!num_parse_i64(value, &number) || number < row->min || number > row->max) {
            fail(why, ERR_SETTINGS_INVALID, "%s must be a number from %lld to %lld", row->name,
                (long long)row->min, (long long)row->max);
            return false;
        }
        *(int64_t *)field = number;
        return true;
    case SETTING_CHOICE:
        if (!choice_has(row->choices, value)) {
            fail(why, ERR_SETTINGS_INVALID, "%s must be one of %s", row->name, row->choices);
            return false;
        }
        break;
    case SETTING_PATH:
    case SETTING_TEXT:
        if (!is_plain(value)) {
            fail(why, ERR_SETTINGS_INVALID,
                "%s must not hold quotes, backslashes, control characters or any of $;{}",
                row->name);
            return false;
        }
        break;
    }
    if (row->kind == SETTING_PATH) {
        *(const char **)field = absolute_path(&s->arena, value);
        return true;
    }
    *(const char **)field = arena_cstr(&s->arena, value);
    return true;
}

static enum err
read_whole(const char *path, struct buf *b, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 1;

    if (fd < 0)
        return fail_errno(e, ERR_SETTINGS_INVALID, "the settings %s cannot be read", path);
    while (n > 0) {
        char *room = buf_reserve(b, 4096);

        if (room == NULL)
            return fail(e, ERR_SETTINGS_INVALID, "the settings %s are larger than 1 MiB", path);
        n = read(fd, room, 4096);
        if (n < 0)
            return fail_errno(e, ERR_SETTINGS_INVALID, "the settings %s cannot be read", path);
        buf_grown(b, (size_t)n);
    }
    return ERR_OK;
}

/* A file of nothing but comments is how an example begins: no settings, not a mistake. */
static bool
has_content(struct str text)
{
    while (text.n > 0) {
        size_t end = str_find_char(text, '\n');
        struct str line = str_trim(str_slice(text, 0, end));

        if (line.n > 0 && line.p[0] != '#')
            return true;
        text = str_slice(text, end < text.n ? end + 1 : end, text.n);
    }
    return false;
}

static const struct setting *
find_row(struct str name)
{
    for (size_t i = 0; i < TABLE_N; i++) {
        if (!table[i].flag_only && str_equal(name, str_from_cstr(table[i].name)))
            return &table[i];
    }
    return NULL;
}

static enum err
unknown_key(const struct yaml_doc *doc, const struct yaml_node *node, struct error *e)
{
    struct str names[TABLE_N], nearest;
    size_t n = 0;

    for (size_t i = 0; i < TABLE_N; i++) {
        if (!table[i].flag_only)
            names[n++] = str_from_cstr(table[i].name);
    }
    nearest = yaml_nearest(node->key, names, n);
    if (nearest.n == 0)
        return yaml_fail(doc, node, e, "there is no setting \"%.*s\"", STR_ARG(node->key));
    return yaml_fail(doc, node, e, "there is no setting \"%.*s\": did you mean \"%.*s\"?",
        STR_ARG(node->key), STR_ARG(nearest));
}

static enum err
load_file(struct settings *s, const char *path, struct error *e)
{
    struct yaml_doc doc = {.arena = &s->arena, .file = path, .code = ERR_SETTINGS_INVALID};
    AUTO_BUF struct buf text;
    struct error why;
    enum err err;

    buf_init(&text, YAML_BYTES_MAX);
    err = read_whole(path, &text, e);
    if (err != ERR_OK || !has_content(buf_str(&text)))
        return err;
    err = yaml_parse(&doc, buf_str(&text), e);
    if (err != ERR_OK)
        return err;
    if (doc.root->kind != YAML_MAP)
        return yaml_fail(&doc, doc.root, e, "settings are written as \"name: value\"");
    for (const struct yaml_node *node = doc.root->child; node != NULL; node = node->next) {
        const struct setting *row = find_row(node->key);
        struct str value;

        if (row == NULL)
            return unknown_key(&doc, node, e);
        err = yaml_text(&doc, node, &value, e);
        if (err != ERR_OK)
            return err;
        if (!set_value(s, row, value, &why))
            return yaml_fail(&doc, node, e, "%s", why.text);
    }
    return ERR_OK;
}

/* "PURSER_LISTEN=..." for the row "listen": the value, or NULL. */
static const char *
from_environment(const char *const *environment, const struct setting *row)
{
    struct str name = str_from_cstr(row->name);

    for (; *environment != NULL; environment++) {
        struct str line = str_from_cstr(*environment);
        struct str variable = str_slice(line, 0, str_find_char(line, '='));
        size_t i = 0;

        if (variable.n == line.n || !str_starts_with(variable, STR("PURSER_")))
            continue;
        variable = str_slice(variable, 7, variable.n);
        while (variable.n == name.n && i < name.n && variable.p[i] == str_upper_char(name.p[i]))
            i++;
        if (i == name.n)
            return variable.p + variable.n + 1;
    }
    return NULL;
}

static enum err
load_environment(struct settings *s, const char *const *environment, struct error *e)
{
    struct error why;

    for (size_t i = 0; i < TABLE_N; i++) {
        const char *value = table[i].flag_only ? NULL : from_environment(environment, &table[i]);

        if (value != NULL && !set_value(s, &table[i], str_from_cstr(value), &why))
            return fail(e, ERR_SETTINGS_INVALID, "the environment's PURSER_ setting %s", why.text);
    }
    return ERR_OK;
}

/* why begins with the row's name; on a command line it is written with dashes. */
static enum err
flag_refused(const struct setting *row, struct error *why, struct error *e)
{
    for (size_t i = 0; i < strlen(row->name); i++) {
        if (why->text[i] == '_')
            why->text[i] = '-';
    }
    return fail(e, ERR_USAGE, "--%s", why->text);
}

static enum err
load_flags(struct settings *s, const char *const *flags, struct error *e)
{
    struct error why;

    for (size_t i = 0; i < TABLE_N; i++) {
        if (flags[i] != NULL && !set_value(s, &table[i], str_from_cstr(flags[i]), &why))
            return flag_refused(&table[i], &why, e);
    }
    return ERR_OK;
}

static bool
is_worker_count(const char *text)
{
    uint64_t n;

    return strcmp(text, "auto") == 0 ||
        (num_parse_u64(str_from_cstr(text), &n) && n >= 1 && n <= 1024);
}

static enum err
check_retention(const struct settings *s, struct error *e)
{
    if (s->retention_ledger_days > 0 && s->retention_ledger_days < LEDGER_DAYS_MIN)
        return fail(e, ERR_SETTINGS_INVALID,
            "retention_ledger_days must be 0 (for ever) or at least %d: statements and bills are "
            "looked up for a year",
            LEDGER_DAYS_MIN);
    if (s->retention_decisions_days > 0 && s->retention_decisions_days < DECISIONS_DAYS_MIN)
        return fail(e, ERR_SETTINGS_INVALID,
            "retention_decisions_days must be 0 (for ever) or at least %d", DECISIONS_DAYS_MIN);
    return ERR_OK;
}

/* What one row cannot know: values that must fit together. */
static enum err
check(struct settings *s, struct error *e)
{
    bool tls = s->tls_cert[0] != '\0';
    struct listen_address metrics;
    char url[LISTEN_URL_BYTES];
    enum err err = listen_parse(str_from_cstr(s->listen), &s->listen_address, e);

    if (err != ERR_OK)
        return fail(
            e, ERR_SETTINGS_INVALID, "listen: \"%s\" must be written as 127.0.0.1:8080", s->listen);
    if (tls != (s->tls_key[0] != '\0'))
        return fail(e, ERR_SETTINGS_INVALID, "tls_cert and tls_key belong together: %s is missing",
            tls ? "tls_key" : "tls_cert");
    if (!s->listen_address.is_loopback && !tls && !s->insecure_http)
        return fail(e, ERR_SETTINGS_INVALID,
            "listen: %s is reachable from other machines: set tls_cert and tls_key, or "
            "insecure_http: true when something in front of it does TLS",
            s->listen);
    if (s->key_file[0] != '\0' && s->key_command[0] != '\0')
        return fail(e, ERR_SETTINGS_INVALID, "key_file and key_command exclude each other");
    if (!budget_default_parse(str_from_cstr(s->default_org_budget), &s->org_budget))
        return fail(e, ERR_SETTINGS_INVALID,
            "default_org_budget: \"%s\" must be written as 20 USD/day, 500 USD/month warn, or none",
            s->default_org_budget);
    if (s->alert_webhook[0] != '\0' && strncmp(s->alert_webhook, "http://", 7) != 0 &&
        strncmp(s->alert_webhook, "https://", 8) != 0)
        return fail(e, ERR_SETTINGS_INVALID, "alert_webhook must begin with http:// or https://");
    if (strcmp(s->metrics_listen, "none") == 0)
        s->metrics_listen = "";
    else if (listen_parse(str_from_cstr(s->metrics_listen), &metrics, e) != ERR_OK)
        return fail(e, ERR_SETTINGS_INVALID,
            "metrics_listen: \"%s\" must be written as 127.0.0.1:9464, or none", s->metrics_listen);
    if (!is_worker_count(s->worker_processes))
        return fail(e, ERR_SETTINGS_INVALID, "worker_processes must be auto or a number to 1024");
    if (s->public_url[0] == '\0') {
        listen_url(&s->listen_address, tls, url);
        s->public_url = arena_cstr(&s->arena, str_from_cstr(url));
    } else if (strncmp(s->public_url, "http://", 7) != 0 &&
        strncmp(s->public_url, "https://", 8) != 0) {
        return fail(e, ERR_SETTINGS_INVALID, "public_url must begin with http:// or https://");
    }
    if (check_retention(s, e) != ERR_OK)
        return e->code;
    if (s->store[0] == '\0')
        s->store = arena_printf(&s->arena, "%s/purser.db", s->state).p;
    return ERR_OK;
}

enum err
settings_load(const struct settings_input *in, struct settings *ret, struct error *e)
{
    struct settings s = {0};
    enum err err = ERR_OK;

    arena_init(&s.arena);
    for (size_t i = 0; i < TABLE_N; i++) {
        bool good = set_value(&s, &table[i], str_from_cstr(table[i].fallback), e);

        ENSURE(good);
    }
    if (in->config != NULL)
        err = load_file(&s, in->config, e);
    if (err == ERR_OK && in->environment != NULL)
        err = load_environment(&s, in->environment, e);
    if (err == ERR_OK && in->flags != NULL)
        err = load_flags(&s, in->flags, e);
    if (err == ERR_OK)
        err = check(&s, e);
    if (err != ERR_OK) {
        arena_done(&s.arena);
        return err;
    }
    *ret = s;
    return ERR_OK;
}

void
settings_done(struct settings *s)
{
    arena_done(&s->arena);
}

enum log_level
settings_log_level(const struct settings *s)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};

    for (int i = 0; i < 4; i++) {
        if (strcmp(s->log_level, names[i]) == 0)
            return (enum log_level)i;
    }
    return LOG_INFO;
}

static bool
same_value(const struct setting *row, const struct settings *a, const struct settings *b)
{
    const char *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;

    if (row->kind == SETTING_BOOL)
        return *(const bool *)x == *(const bool *)y;
    if (row->kind == SETTING_INT)
        return *(const int64_t *)x == *(const int64_t *)y;
    return strcmp(*(const char *const *)x, *(const char *const *)y) == 0;
}

const struct setting *
settings_restart_needed(const struct settings *a, const struct settings *b)
{
    for (size_t i = 0; i < TABLE_N; i++) {
        if (!table[i].reloadable && !same_value(&table[i], a, b))
            return &table[i];
    }
    return NULL;
}
