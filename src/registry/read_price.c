#include "core/num.h"
#include "registry/loader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { RATE_DECIMALS = 6 };
/* 1,000,000 USD per million tokens: far above any price, far below what could overflow. */
#define RATE_MAX INT64_C(1000000000000)
#define DAY_MS INT64_C(86400000)

/* Decimal USD -> micro-USD, exactly: "0.003625" is 3625. More than six decimals are refused. */
bool
loader_parse_usd(struct str text, int64_t *ret)
{
    size_t dot = str_find_char(text, '.');
    struct str whole = str_slice(text, 0, dot);
    struct str part = dot == text.n ? STR("") : str_slice(text, dot + 1, text.n);
    uint64_t units, fraction = 0;

    if (!num_parse_u64(whole, &units) || units > (uint64_t)RATE_MAX / 1000000)
        return false;
    if (dot != text.n && (part.n > RATE_DECIMALS || !num_parse_u64(part, &fraction)))
        return false;
    for (size_t i = part.n; i < RATE_DECIMALS; i++)
        fraction *= 10;
    *ret = (int64_t)(units * 1000000 + fraction);
    return true;
}

/* An absent cache rate is the input rate: a prompt token without a price of its own is just that.
 */
static enum err
read_rate(const struct loader *l, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, int64_t *ret, struct error *e)
{
    const struct yaml_node *node = yaml_find(map, key);
    struct str text = STR("");
    enum err err = yaml_get_text(&l->doc, map, key, presence, &text, e);

    if (err != ERR_OK || node == NULL)
        return err;
    if (str_starts_with(text, STR("-")))
        return yaml_fail(&l->doc, node, e, "\"%.*s\": a price must not be negative", STR_ARG(key));
    if (!loader_parse_usd(text, ret))
        return yaml_fail(&l->doc, node, e,
            "\"%.*s\" must be USD per million tokens with at most six decimals, not \"%.*s\"",
            STR_ARG(key), STR_ARG(text));
    return ERR_OK;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar (years 1970 to 9999). */
static int64_t
days_from_civil(int64_t year, int64_t month, int64_t day)
{
    int64_t era_year = month <= 2 ? year - 1 : year;
    int64_t era = era_year / 400;
    int64_t year_of_era = era_year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
        719468;
}

static int64_t
days_in_month(int64_t year, int64_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

    return days[month - 1] + (month == 2 && leap ? 1 : 0);
}

static bool
parse_date(struct str text, int64_t *ret_ms)
{
    uint64_t year, month, day;

    if (text.n != 10 || text.p[4] != '-' || text.p[7] != '-' ||
        !num_parse_u64(str_slice(text, 0, 4), &year) ||
        !num_parse_u64(str_slice(text, 5, 7), &month) ||
        !num_parse_u64(str_slice(text, 8, 10), &day))
        return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1 ||
        (int64_t)day > days_in_month((int64_t)year, (int64_t)month))
        return false;
    *ret_ms = days_from_civil((int64_t)year, (int64_t)month, (int64_t)day) * DAY_MS;
    return true;
}

static enum err
read_price(const struct loader *l, const struct yaml_node *map, struct price *p, struct error *e)
{
    static const struct str fields[] = {STR_INIT("from"), STR_INIT("above_tokens"),
        STR_INIT("input"), STR_INIT("output"), STR_INIT("cache_read"), STR_INIT("cache_write_5m"),
        STR_INIT("cache_write_1h"), STR_INIT("web_search")};
    struct str from = STR("");
    enum err err = yaml_check_map(&l->doc, map, "a price", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, STR("from"), YAML_OPTIONAL, &from, e);
    if (err == ERR_OK && from.n > 0 && !parse_date(from, &p->from_ms))
        err = yaml_fail(&l->doc, yaml_find(map, STR("from")), e,
            "\"from\" must be a date like 2026-05-31, not \"%.*s\"", STR_ARG(from));
    if (err == ERR_OK)
        err = yaml_get_i64(&l->doc, map, STR("above_tokens"), YAML_OPTIONAL, 1, INT64_C(1) << 40,
            &p->above_tokens, e);
    if (err == ERR_OK)
        err = read_rate(l, map, STR("input"), YAML_REQUIRED, &p->input, e);
    if (err == ERR_OK)
        err = read_rate(l, map, STR("output"), YAML_REQUIRED, &p->output, e);
    p->cache_read = p->cache_write_5m = p->cache_write_1h = p->input;
    if (err == ERR_OK)
        err = read_rate(l, map, STR("cache_read"), YAML_OPTIONAL, &p->cache_read, e);
    if (err == ERR_OK)
        err = read_rate(l, map, STR("cache_write_5m"), YAML_OPTIONAL, &p->cache_write_5m, e);
    if (err == ERR_OK)
        err = read_rate(l, map, STR("cache_write_1h"), YAML_OPTIONAL, &p->cache_write_1h, e);
    if (err == ERR_OK)
        err = read_rate(l, map, STR("web_search"), YAML_OPTIONAL, &p->web_search, e);
    /* It is listed for a thousand uses, and kept for a million. */
    p->web_search *= 1000;
    return err;
}

/* Ordered by (from, above_tokens); each date begins with the row that holds for small prompts. */
static enum err
check_order(const struct loader *l, const struct yaml_node *node, const struct price *before,
    const struct price *p, struct error *e)
{
    bool same_date = before != NULL && before->from_ms == p->from_ms;

    if (before != NULL && p->from_ms < before->from_ms)
        return yaml_fail(&l->doc, node, e, "prices must be in the order of their \"from\"");
    if (!same_date && p->above_tokens != 0)
        return yaml_fail(
            &l->doc, node, e, "the first price of a date must be without \"above_tokens\"");
    if (same_date && p->above_tokens <= before->above_tokens)
        return yaml_fail(&l->doc, node, e,
            "prices of one date must differ and be in the order of their \"above_tokens\"");
    return ERR_OK;
}

static enum err
read_prices(struct loader *l, const struct yaml_node *model, struct rlist *ret, struct error *e)
{
    const struct yaml_node *list = NULL;
    struct price rows[LOADER_PRICES_MAX] = {0};
    size_t n = 0;
    enum err err = yaml_get_node(&l->doc, model, STR("prices"), YAML_REQUIRED, YAML_LIST, &list, e);

    if (err != ERR_OK)
        return err;
    if (list->n == 0 || list->n > LOADER_PRICES_MAX)
        return yaml_fail(&l->doc, list, e, "between 1 and %d prices", LOADER_PRICES_MAX);
    for (const struct yaml_node *node = list->child; node != NULL; node = node->next, n++) {
        err = read_price(l, node, &rows[n], e);
        if (err == ERR_OK)
            err = check_order(l, node, n == 0 ? NULL : &rows[n - 1], &rows[n], e);
        if (err != ERR_OK)
            return err;
    }
    *ret = block_add_list(&l->block, rows, n, sizeof(rows[0]));
    return ERR_OK;
}

static enum err
read_model(
    struct loader *l, const struct yaml_node *map, struct registry_vendor_model *m, struct error *e)
{
    static const struct str fields[] = {
        STR_INIT("max_output"), STR_INIT("max_prompt"), STR_INIT("prices")};
    enum err err = yaml_check_map(&l->doc, map, "a model", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = yaml_get_i64(
            &l->doc, map, STR("max_output"), YAML_OPTIONAL, 1, 100000000, &m->max_output, e);
    if (err == ERR_OK)
        err = yaml_get_i64(
            &l->doc, map, STR("max_prompt"), YAML_OPTIONAL, 1, 100000000, &m->max_prompt, e);
    if (err == ERR_OK)
        err = read_prices(l, map, &m->prices, e);
    if (err == ERR_OK && map->key.n > LOADER_TEXT_MAX)
        err = yaml_fail(&l->doc, map, e, "a model id of more than %d characters", LOADER_TEXT_MAX);
    if (err == ERR_OK)
        m->id = block_add_str(&l->block, map->key);
    return err;
}

enum err
loader_read_models(
    struct loader *l, const struct yaml_node *provider, struct rlist *ret, struct error *e)
{
    const struct yaml_node *map = NULL;
    struct registry_vendor_model *models;
    size_t n = 0;
    enum err err =
        yaml_get_node(&l->doc, provider, STR("models"), YAML_OPTIONAL, YAML_MAP, &map, e);

    if (err != ERR_OK || map == NULL)
        return err;
    models = arena_array(l->doc.arena, map->n, sizeof(*models));
    for (const struct yaml_node *node = map->child; node != NULL; node = node->next) {
        err = read_model(l, node, &models[n++], e);
        if (err != ERR_OK)
            return err;
    }
    *ret = block_add_list(&l->block, models, n, sizeof(*models));
    return ERR_OK;
}
