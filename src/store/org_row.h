/* Customers. The slug is what people type; the id is what every other row carries. */
#ifndef STORE_ORG_ROW_H
#define STORE_ORG_ROW_H

#include "store/store.h"

/* May this org keep vendor keys at org scope, where all its workspaces inherit them? */
enum org_vendor_keys { ORG_VENDOR_KEYS_REJECT, ORG_VENDOR_KEYS_ALLOW, ORG_VENDOR_KEYS_COUNT };

struct str org_vendor_keys_name(enum org_vendor_keys v); /* "reject", "allow" */
bool org_vendor_keys_from_name(struct str name, enum org_vendor_keys *ret);

struct org_row {
    struct id id;
    struct str slug; /* unique; the caller checks its form */
    struct str name;
    bool suspended;
    enum org_vendor_keys vendor_keys;
    int64_t created_ms;
};

/* Inserts all columns. ERR_CONFLICT when the slug is taken. */
enum err org_row_insert(struct store_tx *tx, const struct org_row *o, struct error *e) MUST_CHECK;
/* ERR_NOT_FOUND when there is none. */
enum err org_row_get(struct store_tx *tx, struct id org, struct arena *a, struct org_row *ret,
    struct error *e) MUST_CHECK;
enum err org_row_get_by_slug(struct store_tx *tx, struct str slug, struct arena *a,
    struct org_row *ret, struct error *e) MUST_CHECK;
/* By slug, bytewise. */
enum err org_row_list(struct store_tx *tx, struct arena *a, struct org_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
enum err org_row_set_suspended(
    struct store_tx *tx, struct id org, bool suspended, struct error *e) MUST_CHECK;
/* ERR_ORG_SUSPENDED when it is: in the transaction that would give it something to run. */
enum err org_row_check_active(struct store_tx *tx, struct id org, struct error *e) MUST_CHECK;
/* Writes slug, name and vendor_keys. ERR_CONFLICT when the slug is taken. */
enum err org_row_update(struct store_tx *tx, const struct org_row *o, struct error *e) MUST_CHECK;

#endif
