#include "cli/backup_manifest.h"

#include "unit.h"

enum { KNOWN = 4 };

static void
takes_what_a_backup_writes(void **state)
{
    struct str text =
        STR("{\"format\": 1, \"purser\": \"0.1.0\", \"migration\": 4, \"files\": [{\"name\": "
            "\"purser.db\", \"bytes\": 1, \"sha256\": \"00\"}]}");
    json_t *manifest = NULL;
    struct error e;

    assert_int_equal(backup_manifest_parse(text, "folder", KNOWN, &manifest, &e), ERR_OK);
    assert_int_equal(json_array_size(json_object_get(manifest, "files")), 1);
    json_decref(manifest);
}

static void
refuses_anything_else_with_a_sentence(void **state)
{
    static const struct {
        const char *text;
        enum err err;
        const char *says;
    } cases[] = {
        {"", ERR_INVALID_REQUEST, "folder is no backup"},
        {"[]", ERR_INVALID_REQUEST, "folder is no backup"},
        {"{\"files\": []}", ERR_INVALID_REQUEST, "no readable backup.json"},
        {"{\"format\": 1, \"format\": 1, \"migration\": 1, \"files\": []}", ERR_INVALID_REQUEST,
            "no readable"},
        {"{\"format\": \"1\", \"migration\": 1, \"files\": []}", ERR_INVALID_REQUEST,
            "no readable"},
        {"{\"format\": 1, \"migration\": 1}", ERR_INVALID_REQUEST, "list of files"},
        {"{\"format\": 1, \"migration\": 1, \"files\": [{\"name\": \"purser.db\"}]}",
            ERR_INVALID_REQUEST, "list of files"},
        {"{\"format\": 1, \"migration\": 1, \"files\": [7]}", ERR_INVALID_REQUEST, "list of files"},
        {"{\"format\": 2, \"migration\": 1, \"files\": []}", ERR_STORE_TOO_NEW,
            "later purser (it does not say which)"},
        {"{\"format\": 1, \"purser\": \"9.9\", \"migration\": 5, \"files\": []}", ERR_STORE_TOO_NEW,
            "later purser (9.9)"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        json_t *manifest = NULL;
        struct error e;

        assert_int_equal(
            backup_manifest_parse(str_from_cstr(cases[i].text), "folder", KNOWN, &manifest, &e),
            cases[i].err);
        assert_null(manifest);
        if (strstr(e.text, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].text, e.text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_what_a_backup_writes),
        cmocka_unit_test(refuses_anything_else_with_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
