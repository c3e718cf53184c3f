/* Writing secrets: the checks and the one transaction step that seals and puts. */
#ifndef API_SECRET_H
#define API_SECRET_H

#include "api/gather.h"
#include "store/secret_row.h"

struct secret_write {
    struct str name;  /* after secret_check() */
    struct str value; /* borrowed from the request's body, which is wiped */
};

/*
 * Name and value as they may be stored: valid, not reserved, not empty. name in the arena, upper-cased.
 * There is no NUL in it: the JSON reader refuses that.
 */
enum err secret_check(struct arena *a, struct str name, struct str value, struct secret_write *ret,
    struct error *e) MUST_CHECK;
/*
 * Seals and puts within a transaction. workspace zero: org scope. ERR_PLATFORM_KEY_IN_TENANT_STORE
 * when the value is one of the platform's own keys.
 */
enum err secret_put_tx(struct store_tx *tx, struct api *a, struct arena *arena, struct id org,
    struct id workspace, const struct secret_write *s, struct error *e) MUST_CHECK;
/* The write gate: may a workspace with this decision store this name? */
enum err secret_gate(struct call *c, const struct gathered *g, struct str name, struct id workspace,
    struct error *e) MUST_CHECK;
/* The same for org scope, by the org's policy. */
enum err secret_org_gate(struct call *c, struct str name, struct error *e) MUST_CHECK;
/* Puts all of them, with an event each. workspace zero: org scope. */
enum err secret_store_tx(struct store_tx *tx, struct call *c, struct id workspace,
    const struct secret_write *writes, size_t n, struct error *e) MUST_CHECK;
enum err secret_event_tx(struct store_tx *tx, struct call *c, struct id workspace, struct str name,
    struct str type, struct error *e) MUST_CHECK;
/* Has the workspaces restarted that inherit this org-scope name; returns how many they are. */
size_t secret_restart_inheritors(struct call *c, struct str name);
/* Adds what the writer should know, as {code, text}. inheritors: of an org-scope write. */
void secret_warn(struct call *c, struct id workspace, const struct secret_write *s,
    size_t inheritors, json_t *list);

#endif
