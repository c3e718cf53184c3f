#include "api/json.h"

#include "base/cleanup.h"

#include <malloc.h>
#include <sodium.h>

/* The blocks are plain malloc's, so others in this process may free jansson's texts as they like.
 */
void
json_wiping_free(void *p)
{
    if (p == NULL)
        return;
    sodium_memzero(p, malloc_usable_size(p));
    free(p);
}

void
json_wiping_init(void)
{
    json_set_alloc_funcs(malloc, json_wiping_free);
    /* Reads the seed now, single-threaded. */
    json_object_seed(0);
}

enum err
json_object_parse(struct str body, json_t **ret, struct error *e)
{
    json_error_t why;
    json_t *o;

    if (str_is_blank(body))
        return fail(e, ERR_INVALID_REQUEST, "the request has no body; a JSON object is expected");
    o = json_loadb(body.p, body.n, JSON_REJECT_DUPLICATES, &why);
    if (o == NULL) {
        /* jansson's text may quote the body, which may hold a secret: only the place is told. */
        return fail(e, ERR_INVALID_REQUEST, "the body is not valid JSON (line %d, column %d)",
            why.line, why.column);
    }
    if (!json_is_object(o)) {
        json_decref(o);
        return fail(e, ERR_INVALID_REQUEST, "the body must be a JSON object");
    }
    *ret = o;
    return ERR_OK;
}

enum err
json_get_str(json_t *o, const char *name, struct str *ret, struct error *e)
{
    json_t *v = json_object_get(o, name);

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_string(v))
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" must be a string", name);
    *ret = (struct str){json_string_value(v), json_string_length(v)};
    return ERR_OK;
}

enum err
json_get_bool(json_t *o, const char *name, bool *ret, struct error *e)
{
    json_t *v = json_object_get(o, name);

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_boolean(v))
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" must be true or false", name);
    *ret = json_is_true(v);
    return ERR_OK;
}

enum err
json_get_int(json_t *o, const char *name, int64_t *ret, struct error *e)
{
    json_t *v = json_object_get(o, name);

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_integer(v))
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" must be a whole number", name);
    *ret = json_integer_value(v);
    return ERR_OK;
}

enum err
json_get_strs(
    json_t *o, const char *name, struct arena *a, struct str **ret, size_t *ret_n, struct error *e)
{
    json_t *v = json_object_get(o, name);
    struct str *list;
    size_t n;

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_array(v))
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" must be a list of strings", name);
    n = json_array_size(v);
    list = arena_array(a, n + 1, sizeof(*list));
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(v, i);

        if (!json_is_string(item))
            return fail(e, ERR_INVALID_REQUEST, "\"%s\" must be a list of strings", name);
        list[i] = arena_dup(a, (struct str){json_string_value(item), json_string_length(item)});
    }
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

json_t *
json_str(struct str s)
{
    AUTO_FREE char *clean = NULL;
    json_t *j = json_stringn(s.n == 0 ? "" : s.p, s.n);

    if (j != NULL)
        return j;
    clean = malloc(s.n + 1);
    if (clean == NULL)
        return NULL;
    for (size_t i = 0; i < s.n; i++)
        clean[i] = (unsigned char)s.p[i] < 0x80 ? s.p[i] : '?';
    return json_stringn(clean, s.n);
}

json_t *
json_str_or_null(struct str s)
{
    return s.n == 0 ? json_null() : json_str(s);
}

json_t *
json_id(struct id id)
{
    char text[ID_TEXT_BYTES];

    if (id_is_zero(id))
        return json_null();
    id_text(id, text);
    return json_string(text);
}

json_t *
json_id_bytes(const uint8_t bytes[static 16])
{
    struct id id;

    memcpy(id.b, bytes, sizeof(id.b));
    return json_id(id);
}

json_t *
json_hex(const uint8_t *p, size_t n)
{
    AUTO_FREE char *text = calloc(2, n + 1);

    ENSURE(text != NULL);
    sodium_bin2hex(text, 2 * n + 1, p, n);
    return json_string(text);
}

json_t *
json_ms(int64_t ms)
{
    return ms == 0 ? json_null() : json_integer(ms);
}
