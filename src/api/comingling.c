#include "api/comingling.h"

#include "core/envplan.h"
#include "store/event_row.h"
#include "store/platform_key.h"

enum { TOLD_MAX = 20, CREDENTIAL_BYTES_MIN = 20 };

bool
comingling_is_credential(const struct registry *r, struct str name, struct str value)
{
    value = str_trim(value);
    if (registry_is_base_url(r, name) || str_equal(name, STR("MODEL")) ||
        str_equal(name, STR("MOLECULE_MODEL")))
        return false;
    if (registry_is_vendor_key(r, name))
        return value.n > 0;
    return value.n >= CREDENTIAL_BYTES_MIN && memmem(value.p, value.n, "://", 3) == NULL &&
        str_find_char(value, ' ') == value.n;
}

/* How much of the value is a prefix of this provider's keys; 0: none of it. */
static size_t
prefix_bytes(const struct registry *r, const struct registry_provider *p, struct str value)
{
    const struct rstr *prefixes = registry_strs(r, p->key_prefixes);
    size_t longest = 0;

    for (uint32_t i = 0; i < p->key_prefixes.n; i++) {
        if (prefixes[i].n > longest && str_starts_with(value, registry_str(r, prefixes[i])))
            longest = prefixes[i].n;
    }
    return longest;
}

static bool
has_slot(const struct registry *r, const struct registry_provider *p, struct str name)
{
    return registry_list_has_name(r, p->auth_env, name) ||
        registry_list_has_name(r, p->inject_env, name) ||
        registry_list_has_name(r, p->other_env, name);
}

/* Without an address of its own it takes whatever key fits the address it is given. */
static bool
has_endpoint(const struct registry_provider *p)
{
    for (int i = 0; i < DIALECT_COUNT; i++) {
        if (p->endpoint[i].present)
            return true;
    }
    return false;
}

const struct registry_provider *
comingling_misplaced(const struct registry *r, struct str name, struct str value)
{
    const struct registry_provider *owner = NULL;
    bool is_slot = false, fits = false;
    size_t longest = 0;

    value = str_trim(value);
    for (uint32_t i = 0; i < r->providers.n; i++) {
        const struct registry_provider *p = registry_provider_at(r, i);
        bool mine = has_slot(r, p, name);
        size_t bytes = prefix_bytes(r, p, value);

        is_slot |= mine && has_endpoint(p);
        if (bytes > longest) {
            longest = bytes;
            owner = p;
            fits = mine;
        } else if (bytes > 0 && bytes == longest) {
            fits |= mine;
        }
    }
    return is_slot && !fits ? owner : NULL;
}

bool
comingling_is_subscription(const struct registry *r, struct str name)
{
    bool subscribed = false;

    /* A name that buys by the call somewhere else says nothing. */
    for (uint32_t i = 0; i < r->providers.n; i++) {
        const struct registry_provider *p = registry_provider_at(r, i);

        if (!registry_list_has_name(r, p->auth_env, name))
            continue;
        if (p->kind != PROVIDER_SUBSCRIPTION)
            return false;
        subscribed = true;
    }
    return subscribed;
}

void
comingling_warn(
    const struct registry *r, struct id workspace, const struct secret_write *s, json_t *list)
{
    const struct registry_provider *owner = comingling_misplaced(r, s->name, s->value);

    if (owner != NULL) {
        AUTO_BUF struct buf text;

        buf_init(&text, 1024);
        buf_addf(&text,
            "the value begins as keys of %.*s do, and %.*s belongs to another vendor: the vendor "
            "will refuse it. Its name would be %.*s",
            STR_ARG(registry_str(r, owner->display_name)), STR_ARG(s->name),
            STR_ARG(registry_str(r, registry_strs(r, owner->auth_env)[0])));
        json_array_append_new(list,
            json_pack("{s:s, s:s}", "code", "KEY_OF_ANOTHER_VENDOR", "text", buf_cstr(&text)));
    }
    if (id_is_zero(workspace) && env_name_is_operator_scope(s->name))
        json_array_append_new(list,
            json_pack("{s:s, s:s}", "code", "OPERATOR_KEY_IN_ORG_SECRETS", "text",
                "operators' credentials must not reach agents: while this is stored for the whole "
                "org, none of its workspaces starts (store it in the one that needs it)"));
}

enum err
comingling_platform_tx(
    struct store_tx *tx, struct api *a, const struct secret_write *s, struct error *e)
{
    int64_t keys[VAULT_KEYS_MAX];
    size_t n = vault_keys(a->o.vault, keys);

    for (size_t i = 0; i < n; i++) {
        uint8_t print[VAULT_FINGERPRINT_BYTES];
        bool found = false;

        if (!vault_row_fingerprint(a->o.vault, keys[i], s->value, print))
            continue; /* retired just now: nothing is under it */
        if (platform_key_has_fingerprint(
                tx, (struct str){(const char *)print, sizeof(print)}, &found, e) != ERR_OK)
            return e->code;
        if (found)
            return fail(e, ERR_PLATFORM_KEY_IN_TENANT_STORE,
                "the value of %.*s is one of the platform's own keys; it may not be stored here",
                STR_ARG(s->name));
    }
    return ERR_OK;
}

static json_t *
place_json(const struct secret_row *row)
{
    return json_pack("{s:o, s:o, s:o}", "org_id", json_id(row->org), "workspace_id",
        id_is_zero(row->workspace) ? json_null() : json_id(row->workspace), "key",
        json_str(row->name));
}

/* Other orgs' rows with this value, under whichever key they are sealed; at most TOLD_MAX. */
static enum err
others_tx(struct store_tx *tx, struct api *a, struct arena *arena, struct id org, struct str value,
    json_t *list, struct error *e)
{
    int64_t keys[VAULT_KEYS_MAX];
    size_t keys_n = vault_keys(a->o.vault, keys);

    for (size_t i = 0; i < keys_n; i++) {
        uint8_t print[VAULT_FINGERPRINT_BYTES];
        struct secret_row *rows = NULL;
        size_t n = 0;

        if (!vault_row_fingerprint(a->o.vault, keys[i], value, print))
            continue;
        if (secret_row_list_equal(tx, (struct str){(const char *)print, sizeof(print)}, org,
                TOLD_MAX, arena, &rows, &n, e) != ERR_OK)
            return e->code;
        for (size_t k = 0; k < n; k++)
            json_array_append_new(list, place_json(&rows[k]));
    }
    return ERR_OK;
}

enum err
comingling_note_tx(struct store_tx *tx, struct api *a, struct arena *arena, struct id org,
    struct id workspace, const struct secret_write *s, struct error *e)
{
    struct registry_ref *registry = api_registry_acquire(a);
    bool is_credential = comingling_is_credential(registry->set.registry, s->name, s->value);
    const struct secret_row row = {.org = org, .workspace = workspace, .name = s->name};
    struct event_row event = {.type = STR("secret.comingled"), .created_ms = clock_ms()};
    AUTO_JSON json_t *details = place_json(&row);
    json_t *others = json_array();
    char *text;
    enum err err = ERR_OK;

    api_registry_release(a, registry);
    json_object_set_new(details, "also", others);
    if (is_credential)
        err = others_tx(tx, a, arena, org, s->value, others, e);
    if (err != ERR_OK || json_array_size(others) == 0)
        return err;
    text = json_dumps(details, JSON_COMPACT);
    ENSURE(text != NULL);
    event.json = arena_dup(arena, str_from_cstr(text));
    json_wiping_free(text);
    return event_row_append(tx, &event, NULL, e);
}
