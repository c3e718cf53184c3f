#include "unit.h"

#include "cli/dotenv.h"

enum { ENTRIES_MAX = 8 };

static enum err
parse(const char *text, size_t n, struct dotenv_entry *ret, size_t *ret_n, struct error *e)
{
    static char room[4096];

    assert_true(n < sizeof(room));
    memcpy(room, text, n);
    return dotenv_parse(room, n, ENTRIES_MAX, ret, ret_n, e);
}

static void
reads_what_people_write(void **state)
{
    static const struct {
        const char *text, *name, *value;
    } cases[] = {
        {"NAME=value", "NAME", "value"},
        {"NAME=value\n", "NAME", "value"},
        {"  NAME = value  \r\n", "NAME", "value"},
        {"export NAME=value", "NAME", "value"},
        {"export\tNAME=value", "NAME", "value"},
        {"export=value", "export", "value"},
        {"\xef\xbb\xbfNAME=value", "NAME", "value"},
        {"# a comment\n\n   \n\t# another\nlower_2=x", "lower_2", "x"},
        {"NAME=value # a comment", "NAME", "value"},
        {"NAME=value#not one", "NAME", "value#not one"},
        {"NAME=two words", "NAME", "two words"},
        {"NAME=a=b", "NAME", "a=b"},
        {"NAME='it stands: \\n $HOME # \"x\"'", "NAME", "it stands: \\n $HOME # \"x\""},
        {"NAME=\"a \\\"b\\\" \\\\ \\$ \\n\\t\\r \\d\"", "NAME", "a \"b\" \\ $ \n\t\r \\d"},
        {"NAME=\"-----BEGIN\nline 2\n-----END\"  # pem", "NAME", "-----BEGIN\nline 2\n-----END"},
        {"NAME=\"$HOME ${X} `id`\"", "NAME", "$HOME ${X} `id`"},
        {"NAME=\"  kept  \"", "NAME", "  kept  "},
        {"NAME=val\"ue", "NAME", "val\"ue"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dotenv_entry entries[ENTRIES_MAX];
        struct error e = {0};
        size_t n = 0;

        if (parse(cases[i].text, strlen(cases[i].text), entries, &n, &e) != ERR_OK)
            fail_msg("%s: %s", cases[i].text, e.text);
        assert_int_equal(n, 1);
        if (!str_equal(entries[0].name, str_from_cstr(cases[i].name)) ||
            !str_equal(entries[0].value, str_from_cstr(cases[i].value)))
            fail_msg("%s: %.*s = [%.*s]", cases[i].text, STR_ARG(entries[0].name),
                STR_ARG(entries[0].value));
    }
}

static void
refuses_with_the_line_and_never_with_a_value(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"A=1\nsk-CANARY-key", "line 2"},
        {"A=1\n\n1A=CANARY", "line 3"},
        {"A=1\nA-B=CANARY", "line 2"},
        {"=CANARY", "line 1"},
        {"export CANARY", "line 1"},
        {"A=\"CANARY\nCANARY\n", "line 1"},
        {"A='CANARY\nCANARY'", "line 1"},
        {"X=\"\n\n\"\nA='CANARY", "line 4"},
        {"A=\"CANARY\" CANARY", "line 1"},
        {"A=\"\n\" CANARY", "line 2"},
        {"A=1\nB=", "line 2: B has no value"},
        {"A=''", "line 1"},
        {"A=# CANARY", "line 1"},
        {"A=1\nB=2\n a=CANARY", "line 3: a stands in line 1 already"},
        {"A=1\nB=1\nC=1\nD=1\nE=1\nF=1\nG=1\nH=1\nI=CANARY", "line 9"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct dotenv_entry entries[ENTRIES_MAX];
        struct error e = {0};
        size_t n = 99;

        if (parse(cases[i].text, strlen(cases[i].text), entries, &n, &e) != ERR_USAGE)
            fail_msg("taken: %s", cases[i].text);
        if (strstr(e.text, cases[i].says) == NULL || strstr(e.text, "CANARY") != NULL)
            fail_msg("%s: says %s", cases[i].text, e.text);
        assert_int_equal(n, 99);
    }
}

static void
a_nul_byte_is_no_text(void **state)
{
    struct dotenv_entry entries[ENTRIES_MAX];
    struct error e;
    size_t n = 0;

    assert_int_equal(parse("A=1\0B", 5, entries, &n, &e), ERR_USAGE);
    assert_int_equal(parse("", 0, entries, &n, &e), ERR_OK);
    assert_int_equal(n, 0);
}

/* No cut of a good file reads past its end, or reads a value that is not there. */
static void
every_cut_is_read_or_refused(void **state)
{
    static const char text[] = "# c\nexport A=\"x\\n\ny\" # d\nB='z'\nC=plain # e\n";

    for (size_t cut = 0; cut < sizeof(text); cut++) {
        struct dotenv_entry entries[ENTRIES_MAX];
        char *copy = malloc(cut + 1); /* the sanitizer sees a read behind it */
        struct error e;
        size_t n = 0;

        assert_non_null(copy);
        memcpy(copy, text, cut);
        if (dotenv_parse(copy, cut, ENTRIES_MAX, entries, &n, &e) != ERR_OK)
            assert_int_equal(n, 0);
        free(copy);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_people_write),
        TEST(refuses_with_the_line_and_never_with_a_value),
        TEST(a_nul_byte_is_no_text),
        TEST(every_cut_is_read_or_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
