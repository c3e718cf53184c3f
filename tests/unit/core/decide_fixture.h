/* The embedded registry and short ways to ask it, for the tests of decisions. */
#ifndef DECIDE_FIXTURE_H
#define DECIDE_FIXTURE_H

/* Before cmocka, whose macro fail() would take base/error.h's fail() apart. */
#include "core/envplan.h"
#include "registry/registry_load.h"

#include "unit.h"

enum { NAMES_MAX = 8 };

/* The registry under test; set by fixture_load(), freed by fixture_free(). */
static struct registry_set *fixture_set;

static inline int
fixture_load(void **state)
{
    struct error e;

    if (registry_load_embedded(&fixture_set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    return 0;
}

static inline int
fixture_free(void **state)
{
    registry_free(fixture_set);
    fixture_set = NULL;
    return 0;
}

static inline const struct registry *
fixture_registry(void)
{
    return registry_block(fixture_set);
}

/* names: "A B C" split at spaces into views of it. */
static inline size_t
fixture_names(const char *names, struct str ret[static NAMES_MAX])
{
    struct str rest = str_from_cstr(names);
    size_t n = 0;

    while (rest.n > 0) {
        size_t space = str_find_char(rest, ' ');

        assert_true(n < NAMES_MAX);
        ret[n++] = str_slice(rest, 0, space);
        rest = str_slice(rest, space < rest.n ? space + 1 : rest.n, rest.n);
    }
    return n;
}

static inline struct derive_input
fixture_input(const char *runtime, const char *model, const struct str *names, size_t names_n)
{
    return (struct derive_input){.registry = fixture_registry(),
        .match = registry_match,
        .match_ctx = fixture_set,
        .runtime = str_from_cstr(runtime),
        .model = str_from_cstr(model),
        .auth_names = names,
        .auth_names_n = names_n};
}

#endif
