/*
 * What can be set, in one table: purser.yaml, over it PURSER_<NAME> in the environment, over it the
 * flags. An unknown key, a value of the wrong kind or a combination that would be unsafe refuses
 * the
 * start and names file and line, variable or flag.
 */
#ifndef DAEMON_SETTINGS_H
#define DAEMON_SETTINGS_H

#include "base/arena.h"
#include "base/log.h"
#include "daemon/listen.h"
#include "store/budget_row.h"

#include <stdint.h>

/* Texts are NUL-terminated and never NULL; an empty one means "not set". Paths are absolute. */
struct settings {
    struct arena arena; /* owns the texts */
    const char *state;
    const char *listen;
    const char *public_url;
    const char *hosts;
    const char *tls_cert;
    const char *tls_key;
    bool insecure_http;
    const char *store;
    const char *key_file;
    const char *key_command;
    const char *registry;
    const char *run_dir;
    const char *homes_dir;
    const char *nginx;
    const char *module;
    const char *worker_processes;
    const char *worker_user;
    const char *unregistered_model;
    const char *shadowed_credential;
    const char *verify_credentials;
    const char *on_shutdown;
    const char *isolation;
    const char *container_engine;
    const char *log_level;
    int64_t recorder_slots;
    int64_t recorder_sync_ms;
    int64_t policy_max_age_s;
    int64_t restart_pause_ms;
    int64_t restart_limit;
    int64_t start_timeout_s;
    int64_t heartbeat_timeout_s;
    const char *default_org_budget;
    const char *alert_webhook;
    const char *metrics_listen;
    int64_t checkpoint_s;
    int64_t retention_ledger_days;
    int64_t retention_decisions_days;
    int64_t retention_events_days;
    int64_t retention_logs_days;
    int64_t stop_grace_ms;
    int64_t auth_failures_per_minute;
    int64_t uid_first;
    const char *vendor_override_url;

    struct listen_address listen_address; /* listen, parsed */
    struct budget_default org_budget;     /* default_org_budget, parsed */
};

enum setting_kind {
    SETTING_TEXT,
    SETTING_PATH, /* made absolute */
    SETTING_BOOL,
    SETTING_INT,
    SETTING_CHOICE,
};

struct setting {
    const char *name; /* key in the file; PURSER_<NAME>; --name with '-' for '_' */
    enum setting_kind kind;
    size_t offset;
    const char *fallback; /* the default, written as in the file */
    int64_t min, max;     /* SETTING_INT */
    const char *choices;  /* SETTING_CHOICE: "warn|refuse" */
    const char *argument; /* what the help calls the value */
    bool reloadable;      /* SIGHUP applies it; the others need a restart */
    bool flag_only;       /* not in the file, not in the environment */
    const char *help;
};

enum { SETTINGS_MAX = 48 };
/* The table, ordered as help prints it. */
const struct setting *settings_table(size_t *ret_n);

struct settings_input {
    const char *config;             /* path of purser.yaml; NULL: none */
    const char *const *environment; /* NULL-ended "NAME=value"; NULL: none */
    const char *const
        *flags; /* one per row of the table, NULL where not given; NULL: none at all */
};

/* ERR_SETTINGS_INVALID, or ERR_USAGE when a flag is wrong. settings_done() only after ERR_OK. */
enum err settings_load(
    const struct settings_input *in, struct settings *ret, struct error *e) MUST_CHECK;
void settings_done(struct settings *s);

enum log_level settings_log_level(const struct settings *s);
/* The first row whose value differs and which needs a restart to change; NULL: none. */
const struct setting *settings_restart_needed(const struct settings *a, const struct settings *b);

#endif
