/*
 * Whatever is sealed, in whichever table, as those see it who seal it anew: by the key it is sealed
 * with. A new table with sealed bytes gets a kind here; then keys rotate over it, too.
 */
#ifndef STORE_SEALED_ROW_H
#define STORE_SEALED_ROW_H

#include "store/store.h"

enum sealed_kind {
    SEALED_ORG_SECRET,
    SEALED_WORKSPACE_SECRET,
    SEALED_PLATFORM_KEY,
    SEALED_KIND_COUNT
};

struct sealed_row {
    enum sealed_kind kind;
    struct id org;       /* SEALED_PLATFORM_KEY: zero */
    struct id workspace; /* SEALED_ORG_SECRET: zero; SEALED_PLATFORM_KEY: the key's id */
    struct str name;     /* SEALED_PLATFORM_KEY: the provider */
    int64_t key_id;
    int64_t version;
    struct str sealed;
};

/*
 * At most max rows of this kind under this key that stand behind the given one (NULL: the first),
 * always in the same order.
 */
enum err sealed_row_list(struct store_tx *tx, enum sealed_kind kind, int64_t key_id,
    const struct sealed_row *behind, size_t max, struct arena *a, struct sealed_row **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;

/* What a row is given instead. */
struct sealed_fresh {
    struct str sealed;
    struct str fingerprint;
    int64_t key_id;
};
/*
 * Only if the row still is what it was: *ret_done is false when somebody wrote or deleted it
 * meanwhile, which is fine.
 */
enum err sealed_row_replace(struct store_tx *tx, const struct sealed_row *was,
    const struct sealed_fresh *fresh, bool *ret_done, struct error *e) MUST_CHECK;

struct sealed_count {
    int64_t key_id;
    int64_t rows;
};
/* How many rows there are under each key that has any, by key. */
enum err sealed_row_count(struct store_tx *tx, struct arena *a, struct sealed_count **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;

/*
 * No row may be sealed under this key from now on. ERR_CONFLICT while there are any; fine when it is
 * retired already.
 */
enum err sealed_key_retire(
    struct store_tx *tx, int64_t key_id, int64_t now_ms, struct error *e) MUST_CHECK;
enum err sealed_key_is_retired(
    struct store_tx *tx, int64_t key_id, bool *ret, struct error *e) MUST_CHECK;
/* ERR_CONFLICT when the key is retired. For every write of sealed bytes. */
enum err sealed_key_check(struct store_tx *tx, int64_t key_id, struct error *e) MUST_CHECK;

#endif
