#include "unit.h"

#include "base/cleanup.h"
#include "vault/vault.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[96];

static struct vault *
open_vault(void)
{
    struct vault *v = NULL;
    struct error e = {0};

    if (vault_open(str_from_cstr(path), true, &v, &e) != ERR_OK)
        fail_msg("vault_open: %s", e.text);
    return v;
}

static int
fresh_folder(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/test-vault-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/master-key", folder);
    return 0;
}

static int
drop_folder(void **state)
{
    unlink(path);
    return rmdir(folder);
}

static struct id
id_of(int n)
{
    struct id id = {{0}};

    id.b[15] = (uint8_t)n;
    return id;
}

static void
first_start_makes_a_private_file_and_keeps_it(void **state)
{
    struct vault_place place = {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("NAME"), 1};
    AUTO_ARENA struct arena a = {0};
    AUTO_SECRET struct secret *value = NULL;
    uint8_t before[VAULT_FINGERPRINT_BYTES], after[VAULT_FINGERPRINT_BYTES];
    struct vault_sealed sealed;
    struct vault *v = open_vault();
    struct stat st;
    struct error e;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    vault_fingerprint(v, STR("value"), before);
    assert_int_equal(vault_seal(v, &place, STR("value"), &a, &sealed, &e), ERR_OK);
    vault_close(v);

    v = open_vault();
    vault_fingerprint(v, STR(" value\n"), after);
    assert_memory_equal(before, after, sizeof(before));
    assert_int_equal(vault_unseal(v, &place, &sealed, &value, &e), ERR_OK);
    assert_str(secret_expose(value), "value");
    vault_close(v);
}

static void
seals_values_of_any_size(void **state)
{
    static const size_t sizes[] = {0, 1, 40, 65536};
    struct vault_place place = {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("NAME"), 1};
    struct vault *v = open_vault();

    for (size_t i = 0; i < 4; i++) {
        AUTO_ARENA struct arena a = {0};
        AUTO_FREE char *plain = malloc(sizes[i] + 1);
        AUTO_SECRET struct secret *value = NULL;
        struct vault_sealed sealed;
        struct error e;

        memset(plain, 'p', sizes[i]);
        assert_int_equal(
            vault_seal(v, &place, (struct str){plain, sizes[i]}, &a, &sealed, &e), ERR_OK);
        assert_int_equal(sealed.bytes.n, sizes[i] + VAULT_OVERHEAD_BYTES);
        if (sizes[i] > 8)
            assert_null(memmem(sealed.bytes.p, sealed.bytes.n, plain, 8));
        assert_int_equal(vault_unseal(v, &place, &sealed, &value, &e), ERR_OK);
        assert_int_equal(secret_bytes(value), sizes[i]);
        assert_memory_equal(secret_expose(value).p, plain, sizes[i]);
    }
    vault_close(v);
}

/* Each pair of places must refuse the other's bytes: all kinds of "moved to another row". */
static void
swapped_ciphertexts_do_not_open(void **state)
{
    const struct vault_place places[] = {
        {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("OPENAI_API_KEY"), 1},
        {VAULT_SCOPE_ORG, id_of(2), id_of(0), STR("OPENAI_API_KEY"), 1},
        {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("OPENAI_API_KEY"), 2},
        {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("OPENAI_API_KEYS"), 1},
        {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("OPENAI_API_KE"), 1},
        {VAULT_SCOPE_WORKSPACE, id_of(1), id_of(0), STR("OPENAI_API_KEY"), 1},
        {VAULT_SCOPE_WORKSPACE, id_of(1), id_of(3), STR("OPENAI_API_KEY"), 1},
        {VAULT_SCOPE_WORKSPACE, id_of(1), id_of(4), STR("OPENAI_API_KEY"), 1},
        {VAULT_SCOPE_WORKSPACE, id_of(3), id_of(1), STR("OPENAI_API_KEY"), 1},
        {VAULT_SCOPE_PLATFORM, id_of(0), id_of(1), STR("openai"), 1},
        {VAULT_SCOPE_PLATFORM, id_of(0), id_of(2), STR("openai"), 1},
        {VAULT_SCOPE_PLATFORM, id_of(0), id_of(1), STR("anthropic"), 1},
    };
    enum { N = sizeof(places) / sizeof(places[0]) };
    AUTO_ARENA struct arena a = {0};
    struct vault_sealed sealed[N];
    struct vault *v = open_vault();
    struct error e;

    for (int i = 0; i < N; i++)
        assert_int_equal(
            vault_seal(v, &places[i], STR("the same value"), &a, &sealed[i], &e), ERR_OK);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            AUTO_SECRET struct secret *value = NULL;
            enum err err = vault_unseal(v, &places[i], &sealed[j], &value, &e);

            if (err != (i == j ? ERR_OK : ERR_SECRET_UNREADABLE))
                fail_msg("place %d with the bytes of %d: %s", i, j, err_name(err));
            assert_int_equal(value != NULL, i == j);
        }
    }
    vault_close(v);
}

static void
any_flipped_bit_and_any_cut_is_refused(void **state)
{
    struct vault_place place = {VAULT_SCOPE_WORKSPACE, id_of(1), id_of(2), STR("KEY"), 7};
    AUTO_ARENA struct arena a = {0};
    struct vault_sealed sealed;
    struct vault *v = open_vault();
    struct secret *value = NULL;
    struct error e;

    assert_int_equal(vault_seal(v, &place, STR("secret"), &a, &sealed, &e), ERR_OK);
    for (size_t bit = 0; bit < sealed.bytes.n * 8; bit++) {
        struct vault_sealed altered = {arena_dup(&a, sealed.bytes), sealed.key_id};

        ((char *)altered.bytes.p)[bit / 8] ^= (char)(1 << bit % 8);
        assert_int_equal(vault_unseal(v, &place, &altered, &value, &e), ERR_SECRET_UNREADABLE);
    }
    for (size_t n = 0; n < sealed.bytes.n; n++) {
        struct vault_sealed cut = {{sealed.bytes.p, n}, sealed.key_id};

        assert_int_equal(vault_unseal(v, &place, &cut, &value, &e), ERR_SECRET_UNREADABLE);
    }
    sealed.key_id++;
    assert_int_equal(vault_unseal(v, &place, &sealed, &value, &e), ERR_SECRET_UNREADABLE);
    assert_null(value);
    vault_close(v);
}

static void
another_keyring_opens_nothing(void **state)
{
    struct vault_place place = {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("KEY"), 1};
    AUTO_ARENA struct arena a = {0};
    uint8_t one[VAULT_FINGERPRINT_BYTES], two[VAULT_FINGERPRINT_BYTES];
    struct vault_sealed sealed;
    struct vault *v = open_vault();
    struct secret *value = NULL;
    struct error e;

    assert_int_equal(vault_seal(v, &place, STR("secret"), &a, &sealed, &e), ERR_OK);
    vault_fingerprint(v, STR("secret"), one);
    vault_close(v);
    unlink(path);
    v = open_vault();
    assert_int_equal(vault_unseal(v, &place, &sealed, &value, &e), ERR_SECRET_UNREADABLE);
    vault_fingerprint(v, STR("secret"), two);
    assert_memory_not_equal(one, two, sizeof(one));
    vault_close(v);
}

static void
refuses(const char *name)
{
    struct vault *v = NULL;
    struct error e = {0};

    if (vault_open(str_from_cstr(path), true, &v, &e) != ERR_MASTER_KEY_UNREADABLE)
        fail_msg("%s: was opened, or another error: %s %s", name, err_name(e.code), e.text);
    assert_null(v);
    if (strstr(e.text, path) == NULL || strlen(e.text) < 40)
        fail_msg("%s: the sentence does not help: %s", name, e.text);
}

static void
write_file(const char *bytes, size_t n)
{
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
}

static void
every_cut_and_every_altered_byte_of_the_file_is_refused(void **state)
{
    char whole[1024], altered[1024];
    size_t n;

    vault_close(open_vault());
    {
        AUTO_CLOSE int fd = open(path, O_RDONLY);

        n = (size_t)read(fd, whole, sizeof(whole));
    }
    for (size_t cut = 0; cut < n; cut++) {
        write_file(whole, cut);
        refuses("cut");
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(altered, whole, n);
        altered[i] ^= 1;
        write_file(altered, n);
        refuses("altered");
    }
    memcpy(altered, whole, n);
    altered[n] = '\n';
    write_file(altered, n + 1);
    refuses("longer");
    /* And it was left as it is: the whole one still opens. */
    write_file(whole, n);
    vault_close(open_vault());
}

static void
wrong_permissions_and_owners_are_refused(void **state)
{
    static const mode_t modes[] = {0640, 0604, 0660, 0644, 0620, 0601};

    vault_close(open_vault());
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        chmod(path, modes[i]);
        refuses("mode");
    }
    chmod(path, 0600);
    if (geteuid() == 0) {
        assert_int_equal(chown(path, 65534, 65534), 0);
        refuses("owner");
        assert_int_equal(chown(path, 0, 0), 0);
    }
    vault_close(open_vault());
}

static void
links_folders_and_missing_files_are_refused(void **state)
{
    struct vault *v = NULL;
    struct error e = {0};
    char nowhere[128];

    assert_int_equal(vault_open(str_from_cstr(path), false, &v, &e), ERR_MASTER_KEY_UNREADABLE);
    assert_int_not_equal(access(path, F_OK), 0);
    snprintf(nowhere, sizeof(nowhere), "%s/no/such/folder", folder);
    assert_int_equal(vault_open(str_from_cstr(nowhere), true, &v, &e), ERR_MASTER_KEY_UNREADABLE);
    assert_int_equal(vault_open(STR(""), true, &v, &e), ERR_MASTER_KEY_UNREADABLE);

    assert_int_equal(symlink("elsewhere", path), 0);
    refuses("dangling link");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    refuses("folder");
    rmdir(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuses("fifo");
}

static void
several_keys_open_what_each_sealed(void **state)
{
    /* Key 1 and key 5, 5 current; the checksum is of these lines. */
    static const char text[] =
        "purser-keyring 1\n"
        "fingerprint 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
        "key 1 202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f\n"
        "key 5 404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f\n"
        "current 5\n"
        "check cb7859464acec37808b4bd0ce6dc01c14eb74ce2e10bf44518c234c416d5300a\n";
    struct vault_place place = {VAULT_SCOPE_ORG, id_of(1), id_of(0), STR("KEY"), 1};
    AUTO_ARENA struct arena a = {0};
    AUTO_SECRET struct secret *value = NULL;
    struct vault_sealed sealed;
    struct vault *v;
    struct error e;

    write_file(text, sizeof(text) - 1);
    v = open_vault();
    assert_int_equal(vault_current_key(v), 5);
    assert_int_equal(vault_seal(v, &place, STR("secret"), &a, &sealed, &e), ERR_OK);
    assert_int_equal(sealed.key_id, 5);
    assert_int_equal(vault_unseal(v, &place, &sealed, &value, &e), ERR_OK);
    sealed.key_id = 1;
    secret_free(TAKE(value));
    assert_int_equal(vault_unseal(v, &place, &sealed, &value, &e), ERR_SECRET_UNREADABLE);
    vault_close(v);
}

#define VAULT_TEST(function) cmocka_unit_test_setup_teardown(function, fresh_folder, drop_folder)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        VAULT_TEST(first_start_makes_a_private_file_and_keeps_it),
        VAULT_TEST(seals_values_of_any_size),
        VAULT_TEST(swapped_ciphertexts_do_not_open),
        VAULT_TEST(any_flipped_bit_and_any_cut_is_refused),
        VAULT_TEST(another_keyring_opens_nothing),
        VAULT_TEST(every_cut_and_every_altered_byte_of_the_file_is_refused),
        VAULT_TEST(wrong_permissions_and_owners_are_refused),
        VAULT_TEST(links_folders_and_missing_files_are_refused),
        VAULT_TEST(several_keys_open_what_each_sealed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
