/*
 * A pattern in the first line, a model behind it: compiling and matching stay within their limits.
 */
#include "base/cleanup.h"
#include "registry/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    size_t line = str_find_char(text, '\n');
    struct pattern_list *list = pattern_list_new();
    char reason[160] = "";
    uint32_t id;

    if (pattern_list_add(list, str_slice(text, 0, line), &id, reason)) {
        struct str model = str_slice(text, line < n ? line + 1 : n, n);

        ENSURE(pattern_list_match(list, id, model) == pattern_list_match(list, id, model));
    } else {
        ENSURE(reason[0] != '\0');
    }
    pattern_list_free(list);
    return 0;
}
