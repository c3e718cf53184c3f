/* Keys that come and go, and the file they are in: rotation, outer keys, what a crash leaves. */
#include "unit.h"

#include "base/cleanup.h"
#include "vault/vault.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static char path[96], outer_path[96];

/* Hexadecimal digits, 64 each. */
#define OLD_OUTER "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define NEW_OUTER "202122232425262728292A2B2C2D2E2F303132333435363738393a3b3c3d3e3f"

static int
fresh_folder(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/test-keyring-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/master-key", folder);
    snprintf(outer_path, sizeof(outer_path), "%s/purser-key", folder);
    return 0;
}

static int
drop_folder(void **state)
{
    unlink(path);
    unlink(outer_path);
    return rmdir(folder);
}

static void
write_file(const char *name, const char *text, mode_t mode)
{
    AUTO_CLOSE int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
}

static struct str
read_file(char room[static 16384])
{
    AUTO_CLOSE int fd = open(path, O_RDONLY);
    ssize_t n = read(fd, room, 16384);

    assert_true(n > 0);
    return (struct str){room, (size_t)n};
}

static struct vault *
open_under(const struct outer_source *source)
{
    struct outer_keys *outer = NULL;
    struct vault *v = NULL;
    struct error e = {0};

    if (outer_keys_read(source, &outer, &e) != ERR_OK ||
        vault_open_under(str_from_cstr(path), outer, true, &v, &e) != ERR_OK)
        fail_msg("%s", e.text);
    return v;
}

static struct vault *
open_plain(void)
{
    static const struct outer_source none;

    return open_under(&none);
}

static const struct vault_place place = {
    VAULT_SCOPE_ORG, {{1}}, {{0}}, STR_INIT("NAME"), 4611686018427387904};

static bool
opens(const struct vault *v, const struct vault_sealed *sealed)
{
    AUTO_SECRET struct secret *value = NULL;
    struct error e;

    return vault_unseal(v, &place, sealed, &value, &e) == ERR_OK &&
        str_equal(secret_expose(value), STR("the value"));
}

static void
a_rotated_key_opens_what_it_sealed_until_it_is_removed(void **state)
{
    AUTO_ARENA struct arena a = {0};
    struct vault_sealed first, second;
    uint8_t before[VAULT_FINGERPRINT_BYTES], after[VAULT_FINGERPRINT_BYTES];
    int64_t ids[VAULT_KEYS_MAX], id = 0;
    struct vault *v = open_plain();
    struct error e;

    assert_int_equal(vault_seal(v, &place, STR("the value"), &a, &first, &e), ERR_OK);
    assert_int_equal(vault_key_next(v, &id, &e), ERR_OK);
    assert_int_equal(id, 2);
    assert_int_equal(vault_seal(v, &place, STR("the value"), &a, &second, &e), ERR_OK);
    assert_int_equal(second.key_id, 2);
    assert_true(opens(v, &first) && opens(v, &second));
    /* Equal values under two keys do not show that they are equal. */
    assert_true(vault_row_fingerprint(v, 1, STR("the value"), before));
    assert_true(vault_row_fingerprint(v, 2, STR(" the value\n"), after));
    assert_memory_not_equal(before, after, sizeof(before));
    assert_true(vault_row_fingerprint(v, 2, STR("the value"), before));
    assert_memory_equal(before, after, sizeof(before));
    vault_close(v);

    v = open_plain(); /* it was in the file before it was in use */
    assert_int_equal(vault_current_key(v), 2);
    assert_true(opens(v, &first) && opens(v, &second));
    assert_int_equal(vault_key_remove(v, 1, &e), ERR_OK);
    assert_false(opens(v, &first));
    assert_true(opens(v, &second));
    assert_false(vault_row_fingerprint(v, 1, STR("the value"), before));
    vault_close(v);
    v = open_plain();
    assert_int_equal(vault_keys(v, ids), 1);
    assert_int_equal(ids[0], 2);
    /* Its number does not come again. */
    assert_int_equal(vault_key_add(v, &id, &e), ERR_OK);
    assert_int_equal(id, 3);
    assert_int_equal(vault_current_key(v), 2);
    assert_int_equal(vault_key_next(v, &id, &e), ERR_OK); /* the one that was added */
    assert_int_equal(id, 3);
    vault_close(v);
}

static void
the_key_in_use_and_newer_ones_stay(void **state)
{
    struct vault *v = open_plain();
    int64_t id = 0;
    struct error e;

    assert_int_equal(vault_key_remove(v, 1, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.text, "purser keys rotate"));
    assert_int_equal(vault_key_add(v, &id, &e), ERR_OK);
    assert_int_equal(vault_key_remove(v, 2, &e), ERR_CONFLICT);
    assert_int_equal(vault_key_remove(v, 9, &e), ERR_NOT_FOUND);
    for (int i = 3; i <= VAULT_KEYS_MAX; i++)
        assert_int_equal(vault_key_add(v, &id, &e), ERR_OK);
    assert_int_equal(vault_key_add(v, &id, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.text, "retire"));
    vault_close(v);
    vault_close(open_plain()); /* all of them fit into the file */
}

static void
a_change_that_cannot_be_written_changes_nothing(void **state)
{
    struct vault *v = open_plain();
    int64_t id = 0, ids[VAULT_KEYS_MAX];
    char aside[128];
    struct error e;

    snprintf(aside, sizeof(aside), "%s.new", path);
    assert_int_equal(mkdir(aside, 0700), 0); /* in the way of the new file */
    assert_int_equal(vault_key_next(v, &id, &e), ERR_MASTER_KEY_UNREADABLE);
    assert_int_equal(vault_current_key(v), 1);
    assert_int_equal(vault_keys(v, ids), 1);
    assert_int_equal(rmdir(aside), 0);
    write_file(aside, "half a keyring", 0600); /* of somebody who was killed */
    assert_int_equal(vault_key_next(v, &id, &e), ERR_OK);
    assert_int_not_equal(access(aside, F_OK), 0);
    vault_close(v);
    vault_close(open_plain());
}

static void
an_outer_key_seals_the_file_that_is_there(void **state)
{
    const struct outer_source source = {.file = outer_path};
    AUTO_ARENA struct arena a = {0};
    struct vault_sealed sealed;
    struct vault *v = open_plain();
    char room[16384];
    struct str text;
    struct error e;

    assert_int_equal(vault_seal(v, &place, STR("the value"), &a, &sealed, &e), ERR_OK);
    vault_close(v);
    write_file(outer_path, "# ours\n\n" OLD_OUTER "\n", 0400);
    v = open_under(&source);
    assert_true(opens(v, &sealed));
    text = read_file(room);
    assert_true(str_starts_with(text, STR("purser-keyring-sealed 1\n")));
    assert_null(memmem(text.p, text.n, "key 1", 5));
    {
        int64_t id = 0;

        assert_int_equal(vault_key_next(v, &id, &e), ERR_OK);
    }
    vault_close(v);
    assert_true(str_starts_with(read_file(room), STR("purser-keyring-sealed 1\n")));
    v = open_under(&source);
    assert_int_equal(vault_current_key(v), 2);
    assert_true(opens(v, &sealed));
    vault_close(v);
}

static void
another_outer_key_in_front_takes_over(void **state)
{
    const struct outer_source source = {.file = outer_path};
    struct outer_keys *outer = NULL;
    struct vault *v = NULL;
    struct error e;

    write_file(outer_path, OLD_OUTER "\n", 0600);
    vault_close(open_under(&source));
    write_file(outer_path, NEW_OUTER "\n" OLD_OUTER "\n", 0600);
    vault_close(open_under(&source));
    write_file(outer_path, NEW_OUTER "\n", 0600);
    vault_close(open_under(&source));
    write_file(outer_path, OLD_OUTER "\n", 0600);
    assert_int_equal(outer_keys_read(&source, &outer, &e), ERR_OK);
    assert_int_equal(
        vault_open_under(str_from_cstr(path), outer, true, &v, &e), ERR_MASTER_KEY_UNREADABLE);
    assert_null(v);
    assert_non_null(strstr(e.text, "outer key"));
}

static void
without_its_outer_key_the_file_says_what_is_missing(void **state)
{
    const struct outer_source source = {.file = outer_path};
    struct vault *v = NULL;
    char room[16384], altered[16384];
    struct error e;
    struct str text;

    write_file(outer_path, OLD_OUTER "\n", 0600);
    vault_close(open_under(&source));
    assert_int_equal(vault_open(str_from_cstr(path), true, &v, &e), ERR_MASTER_KEY_UNREADABLE);
    assert_non_null(strstr(e.text, "key_file"));
    text = read_file(room);
    for (size_t i = 0; i < text.n; i += 7) {
        struct outer_keys *outer = NULL;

        memcpy(altered, text.p, text.n);
        altered[text.n] = '\0';
        altered[i] ^= 1;
        write_file(path, altered, 0600);
        assert_int_equal(outer_keys_read(&source, &outer, &e), ERR_OK);
        if (vault_open_under(str_from_cstr(path), outer, true, &v, &e) != ERR_MASTER_KEY_UNREADABLE)
            fail_msg("altered at %zu, and it opens", i);
    }
}

static void
sources_that_are_no_key_are_refused(void **state)
{
    static const struct {
        const char *name, *text;
        mode_t mode;
    } files[] = {
        {"empty", "", 0600},
        {"only a comment", "# nothing\n", 0600},
        {"cut", "0001020304", 0600},
        {"no hex", "zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 0600},
        {"two on a line", OLD_OUTER " " NEW_OUTER, 0600},
        {"readable by others", OLD_OUTER, 0604},
        {"readable by the group", OLD_OUTER, 0640},
    };
    const struct outer_source source = {.file = outer_path};
    static const struct {
        const char *command, *says;
    } commands[] = {
        {"/bin/false", "exit code 1"},
        {"/no/such/program", "cannot be started"},
        {"echo nokey", "64 hexadecimal"},
        {"  ", "empty"},
    };
    struct outer_keys *outer = NULL;
    struct error e;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        write_file(outer_path, files[i].text, files[i].mode);
        if (outer_keys_read(&source, &outer, &e) != ERR_MASTER_KEY_UNREADABLE)
            fail_msg("%s: taken", files[i].name);
        if (strstr(e.text, outer_path) == NULL || strstr(e.text, "0102") != NULL)
            fail_msg("%s: %s", files[i].name, e.text);
    }
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct outer_source by_command = {.command = commands[i].command};

        if (outer_keys_read(&by_command, &outer, &e) != ERR_MASTER_KEY_UNREADABLE ||
            strstr(e.text, commands[i].says) == NULL)
            fail_msg("%s: %s", commands[i].command, e.text);
    }
    assert_null(outer);
}

static void
a_command_and_a_credential_of_systemd_give_the_key(void **state)
{
    const struct outer_source by_command = {.command = "echo   " OLD_OUTER};
    const struct outer_source by_systemd = {.credentials = folder};
    static const struct outer_source none;
    struct outer_keys *outer = NULL;
    struct vault *v = NULL;
    struct error e;

    vault_close(open_under(&by_command));
    write_file(outer_path, OLD_OUTER, 0440); /* as systemd shows it */
    vault_close(open_under(&by_systemd));
    assert_int_equal(outer_keys_read(&none, &outer, &e), ERR_OK);
    assert_null(outer);
    assert_int_equal(vault_open(str_from_cstr(path), true, &v, &e), ERR_MASTER_KEY_UNREADABLE);
}

static void
a_replaced_file_is_read_again_when_asked(void **state)
{
    struct vault *v = open_plain(), *other;
    int64_t id = 0;
    struct error e;

    other = open_plain();
    assert_int_equal(vault_key_next(other, &id, &e), ERR_OK);
    vault_close(other);
    assert_int_equal(vault_current_key(v), 1);
    assert_int_equal(vault_reload(v, &e), ERR_OK);
    assert_int_equal(vault_current_key(v), 2);
    write_file(path, "cut", 0600);
    assert_int_equal(vault_reload(v, &e), ERR_MASTER_KEY_UNREADABLE);
    assert_int_equal(vault_current_key(v), 2);
    vault_close(v);
}

static void
versions_do_not_come_again(void **state)
{
    int64_t seen[256];

    for (int i = 0; i < 256; i++) {
        seen[i] = vault_version();
        assert_true(seen[i] > 0);
        for (int k = 0; k < i; k++)
            assert_true(seen[k] != seen[i]);
    }
}

int
main(void)
{
#define FOLDER_TEST(f) cmocka_unit_test_setup_teardown(f, fresh_folder, drop_folder)
    const struct CMUnitTest tests[] = {
        FOLDER_TEST(a_rotated_key_opens_what_it_sealed_until_it_is_removed),
        FOLDER_TEST(the_key_in_use_and_newer_ones_stay),
        FOLDER_TEST(a_change_that_cannot_be_written_changes_nothing),
        FOLDER_TEST(an_outer_key_seals_the_file_that_is_there),
        FOLDER_TEST(another_outer_key_in_front_takes_over),
        FOLDER_TEST(without_its_outer_key_the_file_says_what_is_missing),
        FOLDER_TEST(sources_that_are_no_key_are_refused),
        FOLDER_TEST(a_command_and_a_credential_of_systemd_give_the_key),
        FOLDER_TEST(a_replaced_file_is_read_again_when_asked),
        FOLDER_TEST(versions_do_not_come_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
