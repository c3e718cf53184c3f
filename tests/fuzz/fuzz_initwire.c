/* What purser-init takes over its socket: header and body, whole or not at all. */
#include "base/error.h"
#include "init/initwire.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t
check_list(char **list, uint32_t n)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < n; i++)
        bytes += strlen(list[i]) + 1;
    ENSURE(list[n] == NULL);
    return bytes;
}

static void
check_body(const struct initwire_header *header, const uint8_t *body)
{
    char *copy = malloc(header->body_bytes + (header->body_bytes == 0));
    char **argv = malloc((header->argv_n + 1) * sizeof(*argv));
    char **envp = malloc((header->env_n + 1) * sizeof(*envp));
    const char *work_dir;

    ENSURE(copy != NULL && argv != NULL && envp != NULL);
    memcpy(copy, body, header->body_bytes);
    if (initwire_read(header, copy, &work_dir, argv, envp))
        ENSURE(strlen(work_dir) + 1 + check_list(argv, header->argv_n) +
                check_list(envp, header->env_n) ==
            header->body_bytes);
    free(copy);
    free(argv);
    free(envp);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct initwire_header header;

    if (n < sizeof(header))
        return 0;
    memcpy(&header, data, sizeof(header));
    if (!initwire_header_check(&header))
        return 0;
    ENSURE(header.body_bytes <= INITWIRE_MAX_BODY_BYTES);
    header.body_bytes = (uint32_t)(n - sizeof(header)); /* purser-init waits for that many */
    if (header.body_bytes <= INITWIRE_MAX_BODY_BYTES)
        check_body(&header, data + sizeof(header));
    return 0;
}
