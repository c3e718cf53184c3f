/*
 * What a value tells when it is compared: is it one of the platform's own keys, is it another org's,
 * does it begin as the keys of another vendor do? Values are looked at and never kept; comparing goes
 * by keyed fingerprints.
 */
#ifndef API_COMINGLING_H
#define API_COMINGLING_H

#include "api/secret.h"

/*
 * ERR_PLATFORM_KEY_IN_TENANT_STORE when the value is one of the platform's keys, in use or retired.
 * Reads only.
 */
enum err comingling_platform_tx(
    struct store_tx *tx, struct api *a, const struct secret_write *s, struct error *e) MUST_CHECK;
/*
 * Writes an event for the admin (of no org) when the value is a credential that another org has, too.
 * Whoever stores it is told nothing.
 */
enum err comingling_note_tx(struct store_tx *tx, struct api *a, struct arena *arena, struct id org,
    struct id workspace, const struct secret_write *s, struct error *e) MUST_CHECK;

/* Can a value under this name be a credential, rather than a model, an address or a switch? */
bool comingling_is_credential(const struct registry *r, struct str name, struct str value);
/* NULL, or the provider whose keys begin like this while the name belongs to others. */
const struct registry_provider *comingling_misplaced(
    const struct registry *r, struct str name, struct str value);
/* Is it what a person subscribes to: a name that a provider of that kind accepts? */
bool comingling_is_subscription(const struct registry *r, struct str name);

/* Adds {code, text} for whatever is odd about this write to list. */
void comingling_warn(
    const struct registry *r, struct id workspace, const struct secret_write *s, json_t *list);

#endif
