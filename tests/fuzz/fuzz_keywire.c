/* The keys' message: a reader never leaves it, and a whole one is read to its last byte. */
#include "base/error.h"
#include "core/keywire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str message = {(const char *)data, n};
    bool whole = keywire_is_whole(message);
    struct keywire_key key;
    size_t offset = 0, keys = 0;

    while (keywire_next(message, &offset, &key)) {
        ENSURE(offset <= n && key.provider.p >= message.p &&
            key.value.p + key.value.n == message.p + offset);
        keys++;
    }
    if (whole && keys > 0)
        ENSURE(offset == n);
    return 0;
}
