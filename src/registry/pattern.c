#include "registry/pattern.h"

#include "base/cleanup.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    PATTERN_BYTES_MAX = 256,
    PATTERN_NESTING_MAX = 16,
    MATCH_STEPS_MAX = 20000,
    MATCH_DEPTH_MAX = 200,
    MATCH_HEAP_KIB_MAX = 256,
};

struct pattern_list {
    pcre2_code **codes;
    size_t n;
    pcre2_compile_context *compile;
    pcre2_match_context *match;
};

struct pattern_list *
pattern_list_new(void)
{
    struct pattern_list *l = calloc(1, sizeof(*l));

    ENSURE(l != NULL);
    l->compile = pcre2_compile_context_create(NULL);
    l->match = pcre2_match_context_create(NULL);
    ENSURE(l->compile != NULL && l->match != NULL);
    pcre2_set_max_pattern_length(l->compile, PATTERN_BYTES_MAX);
    pcre2_set_parens_nest_limit(l->compile, PATTERN_NESTING_MAX);
    pcre2_set_match_limit(l->match, MATCH_STEPS_MAX);
    pcre2_set_depth_limit(l->match, MATCH_DEPTH_MAX);
    pcre2_set_heap_limit(l->match, MATCH_HEAP_KIB_MAX);
    return l;
}

void
pattern_list_free(struct pattern_list *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->n; i++)
        pcre2_code_free(l->codes[i]);
    free(l->codes);
    pcre2_compile_context_free(l->compile);
    pcre2_match_context_free(l->match);
    free(l);
}

bool
pattern_list_add(
    struct pattern_list *l, struct str pattern, uint32_t *ret_id, char reason[static 160])
{
    /* DOLLAR_ENDONLY: "$" is the end and never "before a last line feed". */
    const uint32_t options = PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
        PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_AUTO_CAPTURE;
    int code;
    PCRE2_SIZE offset;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pattern.p, pattern.n, options, &code, &offset, l->compile);
    pcre2_code **grown;

    if (compiled == NULL) {
        PCRE2_UCHAR text[120];

        pcre2_get_error_message(code, text, sizeof(text));
        snprintf(reason, 160, "%s (at character %zu)", (const char *)text, offset + 1);
        return false;
    }
    /* May fail where memory must not be executable: then the interpreter does it. */
    (void)pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
    grown = reallocarray(l->codes, l->n + 1, sizeof(*grown));
    ENSURE(grown != NULL);
    l->codes = grown;
    l->codes[l->n] = compiled;
    *ret_id = (uint32_t)l->n++;
    return true;
}

bool
pattern_list_match(const struct pattern_list *l, uint32_t id, struct str subject)
{
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int found;

    ENSURE(data != NULL && id < l->n);
    found = pcre2_match(l->codes[id], (PCRE2_SPTR)subject.p, subject.n, 0, 0, data, l->match);
    pcre2_match_data_free(data);
    return found >= 0;
}
