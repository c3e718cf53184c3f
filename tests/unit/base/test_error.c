#include "base/error.h"

#include <errno.h>

#include "unit.h"

static void
sentence_keeps_whole_characters_and_replaces_other_bytes(void **state)
{
    static const struct {
        const char *said;
        const char *kept;
    } cases[] = {
        {"plain", "plain"},
        {"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
        {"\xc3", "?"}, {"\xe2\x82|", "??|"}, {"\xf0\x9f\x98", "???"}, {"\xff\xfe\x80", "???"},
        {"\xc0\xaf", "??"},           /* a longer form of '/' */
        {"\xe0\x80\xaf", "???"},      /* and another */
        {"\xed\xa0\x80", "???"},      /* half of a pair */
        {"\xf4\x90\x80\x80", "????"}, /* beyond the last character */
    };
    struct error e;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(fail(&e, ERR_CONFLICT, "%s", cases[i].said), ERR_CONFLICT);
        assert_string_equal(e.text, cases[i].kept);
    }
}

/* The last byte of the room falls on each of the three bytes once. */
static void
cut_sentence_ends_with_no_half_character(void **state)
{
    for (int ahead = 0; ahead < 3; ahead++) {
        char text[3 * 200 + 1];
        struct error e;
        size_t whole;

        for (size_t i = 0; i < sizeof(text) - 1; i++)
            text[i] = "\xe2\x82\xac"[i % 3];
        text[sizeof(text) - 1] = '\0';
        fail(&e, ERR_CONFLICT, "%.*s%s", ahead, "xx", text);
        assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
        whole = ((sizeof(e.text) - 1 - (size_t)ahead) / 3) * 3;
        assert_memory_equal(e.text + ahead, text, whole);
        for (const char *p = e.text + (size_t)ahead + whole; *p != '\0'; p++)
            assert_int_equal(*p, '?');
    }
}

static void
context_and_errno_are_kept_whole_too(void **state)
{
    struct error e;

    errno = ENOENT;
    fail_errno(&e, ERR_IO, "\xe2\x82");
    assert_string_equal(e.text, "??: No such file or directory");
    assert_int_equal(wrap(&e, "\xff"), ERR_IO);
    assert_string_equal(e.text, "?: ??: No such file or directory");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sentence_keeps_whole_characters_and_replaces_other_bytes),
        cmocka_unit_test(cut_sentence_ends_with_no_half_character),
        cmocka_unit_test(context_and_errno_are_kept_whole_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
