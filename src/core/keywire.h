/*
 * How purserd hands the platform's keys to the gateway: one message over a Unix socket, then the
 * connection closes. Magic, number of keys, then for each key its id, its weight, the lengths, the
 * provider's name and the key. Both ends are on one machine: numbers are in its own byte order.
 */
#ifndef CORE_KEYWIRE_H
#define CORE_KEYWIRE_H

#include "core/str.h"

#include <stdint.h>

enum { KEYWIRE_MAGIC = 0x314b5350, KEYWIRE_MAX_BYTES = 1 << 20 };

struct keywire_header {
    uint32_t magic;
    uint32_t keys_n;
    uint32_t bytes; /* of the whole message */
};

struct keywire_key_header {
    uint8_t id[16];
    uint32_t weight; /* among the keys of one provider; at least 1 */
    uint32_t provider_n;
    uint32_t value_n;
};

struct keywire_key {
    uint8_t id[16];
    uint32_t weight;
    struct str provider;
    struct str value;
};

/*
 * Reads the key at *offset (0: the first) and moves *offset behind it. False at the end and on a
 * message that is not whole; keywire_is_whole() tells the two apart before.
 */
static inline bool
keywire_next(struct str message, size_t *offset, struct keywire_key *ret)
{
    struct keywire_key_header h;
    size_t at = *offset == 0 ? sizeof(struct keywire_header) : *offset;

    if (message.n < at || message.n - at < sizeof(h))
        return false;
    memcpy(&h, message.p + at, sizeof(h));
    at += sizeof(h);
    if (h.provider_n > message.n - at || h.value_n > message.n - at - h.provider_n)
        return false;
    memcpy(ret->id, h.id, sizeof(ret->id));
    ret->weight = h.weight;
    ret->provider = (struct str){message.p + at, h.provider_n};
    ret->value = (struct str){message.p + at + h.provider_n, h.value_n};
    *offset = at + h.provider_n + h.value_n;
    return true;
}

static inline bool
keywire_is_whole(struct str message)
{
    struct keywire_header h;
    struct keywire_key key;
    size_t offset = 0;

    if (message.n < sizeof(h))
        return false;
    memcpy(&h, message.p, sizeof(h));
    if (h.magic != KEYWIRE_MAGIC || h.bytes != message.n)
        return false;
    for (uint32_t i = 0; i < h.keys_n; i++) {
        if (!keywire_next(message, &offset, &key))
            return false;
    }
    return h.keys_n == 0 ? message.n == sizeof(h) : offset == message.n;
}

#endif
