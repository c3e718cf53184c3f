#include "vault/keyring.h"

#include <sodium.h>
#include <stdio.h>

#include "core/num.h"

enum { HEX_BYTES = 2 * KEY_BYTES };

static const struct str title = STR_INIT("purser-keyring 1");

const struct seal_key *
keyring_find(const struct keyring *k, int64_t id)
{
    for (size_t i = 0; i < k->n; i++) {
        if (k->keys[i].id == id)
            return &k->keys[i].key;
    }
    return NULL;
}

static bool
hex_read(struct str hex, uint8_t ret[static KEY_BYTES])
{
    size_t n = 0;

    return hex.n == HEX_BYTES &&
        sodium_hex2bin(ret, KEY_BYTES, hex.p, hex.n, NULL, &n, NULL) == 0 && n == KEY_BYTES;
}

/* Takes a line off text: "WORD REST\n". False when it does not begin with word or has no end. */
static bool
take_line(struct str *text, struct str word, struct str *ret_rest)
{
    size_t end = str_find_char(*text, '\n');
    struct str line = str_slice(*text, 0, end);

    if (end == text->n || !str_starts_with(line, word) || line.n == word.n || line.p[word.n] != ' ')
        return false;
    *ret_rest = str_slice(line, word.n + 1, line.n);
    *text = str_slice(*text, end + 1, text->n);
    return true;
}

static bool
parse_key(struct str line, struct keyring *k)
{
    size_t space = str_find_char(line, ' ');
    int64_t id;

    if (space == line.n || k->n == KEYRING_KEYS_MAX ||
        !num_parse_i64(str_slice(line, 0, space), &id) ||
        id <= (k->n == 0 ? 0 : k->keys[k->n - 1].id))
        return false;
    k->keys[k->n].id = id;
    if (!hex_read(str_slice(line, space + 1, line.n), k->keys[k->n].key.b))
        return false;
    k->n++;
    return true;
}

bool
keyring_parse(struct str text, struct keyring *k)
{
    uint8_t check[KEY_BYTES], found[KEY_BYTES];
    const char *begin = text.p;
    struct str line;
    size_t checked;

    if (!str_starts_with(text, title) || text.n <= title.n || text.p[title.n] != '\n')
        return false;
    text = str_slice(text, title.n + 1, text.n);
    if (!take_line(&text, STR("fingerprint"), &line) || !hex_read(line, k->fingerprint.b))
        return false;
    while (take_line(&text, STR("key"), &line)) {
        if (!parse_key(line, k))
            return false;
    }
    if (!take_line(&text, STR("current"), &line) || !num_parse_i64(line, &k->current))
        return false;
    checked = (size_t)(text.p - begin);
    if (!take_line(&text, STR("check"), &line) || !hex_read(line, found) || text.n != 0)
        return false;
    crypto_hash_sha256(check, (const uint8_t *)begin, checked);
    return sodium_memcmp(check, found, sizeof(check)) == 0 && keyring_find(k, k->current) != NULL;
}

/* Appends; the room is KEYRING_TEXT_MAX, which holds KEYRING_KEYS_MAX keys. */
static size_t
add_key_line(char *room, size_t n, const char *word, const uint8_t key[static KEY_BYTES])
{
    char hex[HEX_BYTES + 1];

    sodium_bin2hex(hex, sizeof(hex), key, KEY_BYTES);
    n += (size_t)snprintf(room + n, KEYRING_TEXT_MAX - n, "%s %s\n", word, hex);
    sodium_memzero(hex, sizeof(hex));
    return n;
}

size_t
keyring_compose(const struct keyring *k, char room[static KEYRING_TEXT_MAX])
{
    uint8_t check[KEY_BYTES];
    char word[32];
    size_t n = (size_t)snprintf(room, KEYRING_TEXT_MAX, "%s\n", title.p);

    n = add_key_line(room, n, "fingerprint", k->fingerprint.b);
    for (size_t i = 0; i < k->n; i++) {
        snprintf(word, sizeof(word), "key %lld", (long long)k->keys[i].id);
        n = add_key_line(room, n, word, k->keys[i].key.b);
    }
    n += (size_t)snprintf(room + n, KEYRING_TEXT_MAX - n, "current %lld\n", (long long)k->current);
    crypto_hash_sha256(check, (const uint8_t *)room, n);
    return add_key_line(room, n, "check", check);
}

bool
keyring_add(struct keyring *k)
{
    if (k->n == KEYRING_KEYS_MAX)
        return false;
    k->keys[k->n].id = k->n == 0 ? 1 : k->keys[k->n - 1].id + 1;
    randombytes_buf(k->keys[k->n].key.b, KEY_BYTES);
    k->n++;
    return true;
}

void
keyring_fresh(struct keyring *k)
{
    *k = (struct keyring){.current = 1};
    randombytes_buf(k->fingerprint.b, KEY_BYTES);
    (void)keyring_add(k);
}

void
keyring_remove(struct keyring *k, int64_t id)
{
    size_t at = 0;

    while (at < k->n && k->keys[at].id != id)
        at++;
    if (at == k->n)
        return;
    memmove(&k->keys[at], &k->keys[at + 1], (k->n - at - 1) * sizeof(k->keys[0]));
    k->n--;
    sodium_memzero(&k->keys[k->n], sizeof(k->keys[0]));
}
