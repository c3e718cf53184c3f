/* What the gateway does with calls to one provider: how long it waits, and when a client leaves. */
#include "registry/loader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { WAIT_MAX_S = 3600 };

static enum err
read_seconds(const struct loader *l, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, uint32_t *ret_ms, struct error *e)
{
    int64_t seconds = 0;
    enum err err = yaml_get_i64(&l->doc, map, key, presence, 1, WAIT_MAX_S, &seconds, e);

    if (err == ERR_OK)
        *ret_ms = (uint32_t)seconds * 1000;
    return err;
}

static enum err
read_timeouts(const struct loader *l, const struct yaml_node *provider, struct registry_provider *p,
    struct error *e)
{
    static const struct str fields[] = {
        STR_INIT("connect_s"), STR_INIT("first_byte_s"), STR_INIT("idle_s")};
    const struct yaml_node *map = NULL;
    enum err err =
        yaml_get_node(&l->doc, provider, STR("timeouts"), YAML_OPTIONAL, YAML_MAP, &map, e);

    if (err != ERR_OK || map == NULL)
        return err;
    err = yaml_check_map(&l->doc, map, "timeouts", fields, COUNT(fields), e);
    if (err == ERR_OK)
        err = read_seconds(l, map, fields[0], YAML_OPTIONAL, &p->connect_ms, e);
    if (err == ERR_OK)
        err = read_seconds(l, map, fields[1], YAML_OPTIONAL, &p->first_byte_ms, e);
    if (err == ERR_OK)
        err = read_seconds(l, map, fields[2], YAML_OPTIONAL, &p->idle_ms, e);
    return err;
}

static enum err
read_drain(const struct loader *l, const struct yaml_node *map, struct registry_provider *p,
    struct error *e)
{
    static const struct str fields[] = {STR_INIT("drain_s"), STR_INIT("max_usd")};
    struct str usd = STR("");
    int64_t micro_usd = 0;
    enum err err = yaml_check_map(&l->doc, map, "on_client_abort", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = read_seconds(l, map, fields[0], YAML_REQUIRED, &p->drain_ms, e);
    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, fields[1], YAML_OPTIONAL, &usd, e);
    if (err == ERR_OK && usd.n > 0 && (!loader_parse_usd(usd, &micro_usd) || micro_usd == 0))
        err = yaml_fail(&l->doc, yaml_find(map, fields[1]), e,
            "\"max_usd\" must be USD above 0 with at most six decimals, not \"%.*s\"",
            STR_ARG(usd));
    p->drain_nano_usd = micro_usd * 1000;
    return err;
}

/* "cancel", which is also what holds without it, or a map: drain for so long. */
static enum err
read_on_client_abort(const struct loader *l, const struct yaml_node *provider,
    struct registry_provider *p, struct error *e)
{
    const struct yaml_node *node = yaml_find(provider, STR("on_client_abort"));

    if (node == NULL || (node->kind == YAML_TEXT && str_equal(node->text, STR("cancel"))))
        return ERR_OK;
    if (node->kind != YAML_MAP)
        return yaml_fail(&l->doc, node, e,
            "on_client_abort is \"cancel\", or {drain_s: SECONDS, max_usd: USD} to read the answer "
            "to its end");
    return read_drain(l, node, p, e);
}

enum err
loader_read_routing(struct loader *l, const struct yaml_node *provider, struct registry_provider *p,
    struct error *e)
{
    bool bills_answered = false;
    enum err err = read_timeouts(l, provider, p, e);

    if (err == ERR_OK)
        err = read_on_client_abort(l, provider, p, e);
    if (err == ERR_OK)
        err = yaml_get_bool(
            &l->doc, provider, STR("bills_answered_model"), YAML_OPTIONAL, &bills_answered, e);
    p->bills_answered = bills_answered;
    return err;
}
