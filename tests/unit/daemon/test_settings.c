#include "daemon/settings.h"

#include "unit.h"

#include <unistd.h>

static char directory[] = "/tmp/purser-test-settings-XXXXXX";
static char file[64];

static void
write_file(const char *text)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static size_t
row_index(const char *name)
{
    size_t n;
    const struct setting *rows = settings_table(&n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return i;
    }
    fail_msg("no row %s", name);
    return 0;
}

static void
defaults_need_nothing(void **state)
{
    struct settings s;
    struct error e = {0};

    assert_int_equal(settings_load(&(struct settings_input){0}, &s, &e), ERR_OK);
    assert_string_equal(s.listen, "127.0.0.1:8080");
    assert_string_equal(s.public_url, "http://127.0.0.1:8080");
    assert_true(s.state[0] == '/');
    assert_non_null(strstr(s.state, "/var"));
    assert_non_null(strstr(s.store, "/var/purser.db"));
    assert_int_equal(s.recorder_slots, 65536);
    assert_false(s.insecure_http);
    assert_int_equal(settings_log_level(&s), LOG_INFO);
    settings_done(&s);
}

static void
flag_beats_environment_beats_file_beats_default(void **state)
{
    const char *environment[] = {"PURSER_LISTEN=127.0.0.1:2", "PURSER_STATE=/env", "PURSERLISTEN=x",
        "HOME=/", "PURSER_LISTE=y", NULL};
    const char *flags[SETTINGS_MAX] = {NULL};
    struct settings_input in = {.config = file};
    struct settings s;
    struct error e = {0};

    write_file("listen: 127.0.0.1:1\nstate: /file\nlog_level: debug\nrecorder_slots: 128\n");
    assert_int_equal(settings_load(&in, &s, &e), ERR_OK);
    assert_string_equal(s.listen, "127.0.0.1:1");
    assert_int_equal(s.recorder_slots, 128);
    settings_done(&s);
    in.environment = environment;
    assert_int_equal(settings_load(&in, &s, &e), ERR_OK);
    assert_string_equal(s.listen, "127.0.0.1:2");
    assert_string_equal(s.state, "/env");
    settings_done(&s);
    in.flags = flags;
    flags[row_index("listen")] = "127.0.0.1:3";
    assert_int_equal(settings_load(&in, &s, &e), ERR_OK);
    assert_string_equal(s.listen, "127.0.0.1:3");
    assert_string_equal(s.state, "/env");
    assert_int_equal(settings_log_level(&s), LOG_DEBUG);
    settings_done(&s);
}

/* Each row: a file that must be refused, and what the sentence must hold. */
static void
refuses_bad_files_with_line_and_hint(void **state)
{
    static const struct {
        const char *text;
        const char *wanted[3];
    } cases[] = {
        {"listen: 127.0.0.1:1\nlisen: 127.0.0.1:1\n", {":2:", "lisen", "listen"}},
        {"# c\nrecorder_slot: 128\n", {":2:", "recorder_slots", "did you mean"}},
        {"zzzzzzzzzz: 1\n", {":1:", "zzzzzzzzzz", "no setting"}},
        {"vendor_override_url: http://127.0.0.1:1\n", {":1:", "no setting", ""}},
        {"recorder_slots: many\n", {":1:", "recorder_slots", "number"}},
        {"recorder_slots: 63\n", {":1:", "64", "16777216"}},
        {"insecure_http: yes\n", {":1:", "true or false", ""}},
        {"log_level: loud\n", {":1:", "log_level", "debug"}},
        {"log_level: warn|info\n", {":1:", "log_level", "debug"}},
        {"worker_user: \"a;b\"\n", {":1:", "worker_user", "quotes"}},
        {"listen: here\n", {"listen", "here", "127.0.0.1:8080"}},
        {"listen: 0.0.0.0:80\n", {"0.0.0.0:80", "tls_cert", "insecure_http"}},
        {"tls_cert: /c\n", {"tls_key is missing", "", ""}},
        {"tls_key: /c\n", {"tls_cert is missing", "", ""}},
        {"public_url: ftp://x\n", {"public_url", "https://", ""}},
        {"worker_processes: 0\n", {"worker_processes", "", ""}},
        {"listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", {":2:", "listen", ""}},
        {"- listen\n", {":1:", "", ""}},
        {"listen: [1]\n", {":1:", "", ""}},
        {"listen: &x 127.0.0.1:1\n", {":1:", "", ""}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct settings s;
        struct error e = {0};

        write_file(cases[i].text);
        if (settings_load(&(struct settings_input){.config = file}, &s, &e) != ERR_SETTINGS_INVALID)
            fail_msg("not refused: %s", cases[i].text);
        for (size_t k = 0; k < 3; k++) {
            if (cases[i].wanted[k] != NULL && strstr(e.text, cases[i].wanted[k]) == NULL)
                fail_msg(
                    "%s: \"%s\" does not say \"%s\"", cases[i].text, e.text, cases[i].wanted[k]);
        }
    }
}

static void
refuses_a_file_that_is_not_there_and_takes_an_empty_one(void **state)
{
    struct settings s;
    struct error e = {0};

    assert_int_equal(
        settings_load(&(struct settings_input){.config = "/nowhere/purser.yaml"}, &s, &e),
        ERR_SETTINGS_INVALID);
    assert_non_null(strstr(e.text, "/nowhere/purser.yaml"));
    write_file("# nothing yet\n\n");
    assert_int_equal(settings_load(&(struct settings_input){.config = file}, &s, &e), ERR_OK);
    settings_done(&s);
}

static void
refuses_bad_environment_and_flags_by_name(void **state)
{
    const char *environment[] = {"PURSER_INSECURE_HTTP=1", NULL};
    const char *flags[SETTINGS_MAX] = {NULL};
    struct settings s;
    struct error e = {0};

    assert_int_equal(settings_load(&(struct settings_input){.environment = environment}, &s, &e),
        ERR_SETTINGS_INVALID);
    assert_non_null(strstr(e.text, "insecure_http"));
    flags[row_index("on_shutdown")] = "maybe";
    assert_int_equal(settings_load(&(struct settings_input){.flags = flags}, &s, &e), ERR_USAGE);
    assert_string_equal(e.text, "--on-shutdown must be one of keep|stop");
    flags[row_index("on_shutdown")] = NULL;
    flags[row_index("stop_grace_ms")] = "x";
    assert_int_equal(settings_load(&(struct settings_input){.flags = flags}, &s, &e), ERR_USAGE);
    assert_string_equal(e.text, "--stop-grace-ms must be a number from 0 to 600000");
}

static void
listens_beyond_loopback_with_tls_or_consent(void **state)
{
    static const char *const good[] = {
        "listen: 0.0.0.0:80\ninsecure_http: true\n",
        "listen: 0.0.0.0:443\ntls_cert: /c\ntls_key: /k\n",
        "listen: \"[::1]:8080\"\n",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct settings s;
        struct error e = {0};

        write_file(good[i]);
        if (settings_load(&(struct settings_input){.config = file}, &s, &e) != ERR_OK)
            fail_msg("%s: %s", good[i], e.text);
        settings_done(&s);
    }
}

static void
tells_which_change_needs_a_restart(void **state)
{
    struct settings a, b;
    struct error e = {0};

    write_file("log_level: debug\nrecorder_slots: 128\n");
    assert_int_equal(settings_load(&(struct settings_input){0}, &a, &e), ERR_OK);
    assert_int_equal(settings_load(&(struct settings_input){.config = file}, &b, &e), ERR_OK);
    assert_null(settings_restart_needed(&a, &b));
    settings_done(&b);
    write_file("recorder_sync_ms: 128\n");
    assert_int_equal(settings_load(&(struct settings_input){.config = file}, &b, &e), ERR_OK);
    assert_string_equal(settings_restart_needed(&a, &b)->name, "recorder_sync_ms");
    settings_done(&b);
    settings_done(&a);
}

static int
make_directory(void **state)
{
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(file, sizeof(file), "%s/purser.yaml", directory);
    return 0;
}

static int
remove_directory(void **state)
{
    unlink(file);
    return rmdir(directory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(defaults_need_nothing),
        TEST(flag_beats_environment_beats_file_beats_default),
        TEST(refuses_bad_files_with_line_and_hint),
        TEST(refuses_a_file_that_is_not_there_and_takes_an_empty_one),
        TEST(refuses_bad_environment_and_flags_by_name),
        TEST(listens_beyond_loopback_with_tls_or_consent),
        TEST(tells_which_change_needs_a_restart),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
