#include "init/initwire.h"

#include <stddef.h>
#include <string.h>

bool
initwire_header_check(const struct initwire_header *header)
{
    return header->magic == INITWIRE_MAGIC && header->body_bytes <= INITWIRE_MAX_BODY_BYTES &&
        header->argv_n > 0 && header->argv_n <= INITWIRE_MAX_STRINGS &&
        header->env_n <= INITWIRE_MAX_STRINGS;
}

/* The next string; NULL when the body is used up. */
static char *
take(char **p, const char *end)
{
    char *s = *p;
    size_t left = (size_t)(end - s), n = strnlen(s, left);

    if (n == left)
        return NULL;
    *p += n + 1;
    return s;
}

static bool
take_list(char **p, const char *end, uint32_t n, char **ret)
{
    for (uint32_t i = 0; i < n; i++) {
        ret[i] = take(p, end);
        if (ret[i] == NULL)
            return false;
    }
    ret[n] = NULL;
    return true;
}

bool
initwire_read(const struct initwire_header *header, char *body, const char **ret_work_dir,
    char **argv, char **envp)
{
    const char *end = body + header->body_bytes;

    *ret_work_dir = take(&body, end);
    return *ret_work_dir != NULL && take_list(&body, end, header->argv_n, argv) &&
        take_list(&body, end, header->env_n, envp) && body == end;
}
