/* Tokens: what parses has its kind's prefix and full length, and one changed byte spoils it. */
#include "base/error.h"
#include "core/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    enum token_kind kind;
    uint8_t random[TOKEN_RANDOM_BYTES] = {0};
    char made[TOKEN_TEXT_BYTES];

    if (token_parse(text, &kind))
        ENSURE(kind < TOKEN_KIND_COUNT && n <= TOKEN_TEXT_BYTES &&
            str_starts_with(text, token_prefix(kind)));
    memcpy(random, data, n < sizeof(random) ? n : sizeof(random));
    for (int k = 0; k < TOKEN_KIND_COUNT; k++) {
        text = (struct str){made, token_format((enum token_kind)k, random, made)};
        ENSURE(token_parse(text, &kind) && (int)kind == k);
        made[text.n - 1 - (n % 40)] ^= 1;
        ENSURE(!token_parse(text, &kind));
    }
    return 0;
}
