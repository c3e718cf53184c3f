#include "cli/doctor.h"

#include "registry/registry_load.h"
#include "store/backup.h"
#include "store/prune.h"
#include "store/sealed_row.h"
#include "vault/vault.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { PATH_BYTES = 1100 };

static void
look_at_folder(struct doctor *d)
{
    const char *state = d->settings->state;
    char lock[PATH_BYTES];
    AUTO_CLOSE int fd = -1;
    struct stat st;

    if (stat(state, &st) != 0 || !S_ISDIR(st.st_mode)) {
        doctor_note(d, "state directory", DOCTOR_BROKEN,
            "name another with --state, or make this one by: purser up", "%s is not there", state);
        return;
    }
    if ((st.st_mode & 022) != 0)
        doctor_note(
            d, "state directory", DOCTOR_BROKEN, "chmod go-w it", "others may write to %s", state);
    else
        doctor_note(d, "state directory", DOCTOR_OK, NULL, "%s", state);
    snprintf(lock, sizeof(lock), "%s/lock", state);
    fd = open(lock, O_RDONLY | O_CLOEXEC);
    d->served = fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    doctor_note(d, "purserd", DOCTOR_OK, NULL,
        d->served ? "serves this state directory" : "does not run on this state directory");
}

static void
look_at_modes(struct doctor *d)
{
    static const char *const names[] = {
        "master-key", "admin-token", "node-key", "node-id", "purser.db", "recorder"};
    struct stat folder, st;
    int wrong = 0;

    if (stat(d->settings->state, &folder) != 0)
        return;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[PATH_BYTES];

        snprintf(path, sizeof(path), "%s/%s", d->settings->state, names[i]);
        if (lstat(path, &st) != 0)
            continue;
        /* The recorder is the workers'. */
        if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 ||
            (st.st_uid != folder.st_uid && strcmp(names[i], "recorder") != 0)) {
            wrong++;
            doctor_note(d, "permissions", DOCTOR_BROKEN,
                "make it a plain file of the state directory's owner with mode 0600; if others "
                "could read it, rotate what is in it",
                "%s has mode %04o and owner %u", path, (unsigned)st.st_mode & 07777,
                (unsigned)st.st_uid);
        }
    }
    if (wrong == 0)
        doctor_note(d, "permissions", DOCTOR_OK, NULL, "keys and store are their owner's alone");
}

struct sealed {
    struct arena *arena;
    struct sealed_count *counts; /* by key */
    struct sealed_row *samples;  /* one for each of them */
    size_t n;
};

static enum err
count_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct sealed *s = ctx;
    enum err err = sealed_row_count(tx, s->arena, &s->counts, &s->n, e);

    s->samples = arena_alloc(s->arena, (s->n + 1) * sizeof(*s->samples));
    for (size_t i = 0; i < s->n && err == ERR_OK; i++) {
        struct sealed_row *row = NULL;
        size_t n = 0;

        for (int kind = 0; kind < SEALED_KIND_COUNT && n == 0 && err == ERR_OK; kind++)
            err = sealed_row_list(
                tx, (enum sealed_kind)kind, s->counts[i].key_id, NULL, 1, s->arena, &row, &n, e);
        if (n > 0)
            s->samples[i] = *row;
    }
    return err;
}

/* A foreign keyring has keys of the same numbers: only opening tells. */
static bool
opens(const struct vault *v, const struct sealed_row *row)
{
    static const enum vault_scope scopes[SEALED_KIND_COUNT] = {
        [SEALED_ORG_SECRET] = VAULT_SCOPE_ORG,
        [SEALED_WORKSPACE_SECRET] = VAULT_SCOPE_WORKSPACE,
        [SEALED_PLATFORM_KEY] = VAULT_SCOPE_PLATFORM,
    };
    struct vault_place place = {
        scopes[row->kind], row->org, row->workspace, row->name, row->version};
    struct vault_sealed sealed = {row->sealed, row->key_id};
    AUTO_SECRET struct secret *value = NULL;
    struct error e;

    return vault_unseal(v, &place, &sealed, &value, &e) == ERR_OK;
}

static bool
has_key(const struct vault *v, int64_t id)
{
    int64_t ids[VAULT_KEYS_MAX];
    size_t n = vault_keys(v, ids);

    for (size_t i = 0; i < n; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static void
look_at_keys(struct doctor *d, struct store *store)
{
    AUTO_ARENA struct arena arena;
    struct sealed sealed = {.arena = &arena};
    char path[PATH_BYTES];
    struct vault *v = NULL;
    int64_t rows = 0;
    struct error e;
    int missing = 0;

    arena_init(&arena);
    if (d->settings->key_file[0] != '\0' || d->settings->key_command[0] != '\0') {
        doctor_note(d, "keys", DOCTOR_OK, NULL,
            "sealed under a key kept elsewhere; not opened here (purser keys status asks the "
            "server)");
        return;
    }
    snprintf(path, sizeof(path), "%s/master-key", d->settings->state);
    if (store_read(store, count_tx, &sealed, &e) != ERR_OK) {
        doctor_note(d, "keys", DOCTOR_BROKEN, "see the store", "%s", e.text);
        return;
    }
    if (sealed.n == 0 && access(path, F_OK) != 0) {
        doctor_note(d, "keys", DOCTOR_OK, NULL, "none yet, and nothing is sealed");
        return;
    }
    if (vault_open(str_from_cstr(path), false, &v, &e) != ERR_OK) {
        doctor_note(d, "keys", DOCTOR_BROKEN, "put the right master-key back (a backup has it)",
            "%s", e.text);
        return;
    }
    for (size_t i = 0; i < sealed.n; i++) {
        rows += sealed.counts[i].rows;
        if (opens(v, &sealed.samples[i]))
            continue;
        missing++;
        doctor_note(d, "keys", DOCTOR_BROKEN,
            "put back a master-key that has this key, or set those secrets anew",
            "%lld values are sealed under key %lld, %s", (long long)sealed.counts[i].rows,
            (long long)sealed.counts[i].key_id,
            has_key(v, sealed.counts[i].key_id)
                ? "and the keyring's key of that number does not open them"
                : "which the keyring does not have");
    }
    if (missing == 0)
        doctor_note(d, "keys", DOCTOR_OK, NULL, "the keyring opens what is sealed (%lld values)",
            (long long)rows);
    vault_close(v);
}

static enum err
last_pruned_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    return prune_last(tx, ctx, e);
}

static void
look_at_retention(struct doctor *d, struct store *store)
{
    enum { LATE_MS = 3 * 3600 * 1000 };
    int64_t last = 0;
    char when[25];
    struct error e;

    if (store_read(store, last_pruned_tx, &last, &e) != ERR_OK) {
        doctor_note(d, "retention", DOCTOR_BROKEN, "see the store", "%s", e.text);
        return;
    }
    clock_text(last, when);
    if (last == 0)
        doctor_note(d, "retention", DOCTOR_OK, NULL, "has not run yet");
    else if (d->served && clock_ms() - last > LATE_MS)
        doctor_note(d, "retention", DOCTOR_WARNING,
            "look for \"retention\" in purserd's log: what is too old is not removed",
            "last went through at %s, although purserd serves", when);
    else
        doctor_note(d, "retention", DOCTOR_OK, NULL, "last went through at %s", when);
}

static void
look_at_store(struct doctor *d)
{
    AUTO_ARENA struct arena arena;
    struct str url = str_from_cstr(d->settings->store), problem = STR_NONE;
    struct store *store = NULL;
    struct error e;
    int version = 0;

    arena_init(&arena);
    if (store_version(url, &version, &e) != ERR_OK ||
        store_check(url, &arena, &problem, &e) != ERR_OK) {
        doctor_note(d, "store", DOCTOR_BROKEN,
            "start its server, or name another with --store; on a first start it is made", "%s",
            e.text);
        return;
    }
    if (problem.n > 0)
        doctor_note(d, "store", DOCTOR_BROKEN, "stop purser and restore a backup: purser restore",
            "the engine finds it broken: %.*s", STR_ARG(problem));
    else
        doctor_note(d, "store", DOCTOR_OK, NULL, "whole");
    if (version > store_version_known())
        doctor_note(d, "migrations", DOCTOR_BROKEN,
            "use the later purser, or go down with it: purser migrate down",
            "the store is at migration %d, this purser knows %d", version, store_version_known());
    else if (version < store_version_known())
        doctor_note(d, "migrations", DOCTOR_WARNING,
            "purser migrate up (or start purserd, which does it)",
            "the store is at migration %d of %d", version, store_version_known());
    else
        doctor_note(d, "migrations", DOCTOR_OK, NULL, "at %d, the last one", version);
    /* Opening would migrate: a doctor changes nothing. */
    if (version != store_version_known())
        return;
    if (store_open(url, &store, &e) != ERR_OK) {
        doctor_note(d, "store", DOCTOR_BROKEN, "see above", "%s", e.text);
        return;
    }
    look_at_keys(d, store);
    look_at_retention(d, store);
    store_close(store);
}

static void
look_at_registry(struct doctor *d)
{
    struct registry_set *set = NULL;
    struct error e;
    const char *path = d->settings->registry;

    if (registry_load(path, &set, &e) != ERR_OK)
        doctor_note(
            d, "registry", DOCTOR_BROKEN, "correct it: purser registry check FILE", "%s", e.text);
    else
        doctor_note(
            d, "registry", DOCTOR_OK, NULL, "%s", path[0] == '\0' ? "the built-in one" : path);
    registry_free(set);
}

void
doctor_look_at_state(struct doctor *d)
{
    look_at_folder(d);
    look_at_modes(d);
    look_at_registry(d);
    look_at_store(d);
}
