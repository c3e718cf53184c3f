/* Before cmocka, whose macro fail() would take base/error.h's fail() apart. */
#include "base/yaml.h"

#include "unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static enum err
parse(struct arena *a, struct str text, const struct yaml_node **ret, struct error *e)
{
    struct yaml_doc doc = {.arena = a, .file = "f", .code = ERR_SETTINGS_INVALID};
    enum err err = yaml_parse(&doc, text, e);

    *ret = doc.root;
    return err;
}

static void
keeps_order_lines_and_kinds(void **state)
{
    AUTO_ARENA struct arena a;
    const struct yaml_node *root, *list;
    struct error e;

    arena_init(&a);
    assert_int_equal(parse(&a, STR("# c\nb: 1\na:\n  - x\n  - {k: 'v'}\n"), &root, &e), ERR_OK);
    assert_int_equal(root->kind, YAML_MAP);
    assert_int_equal(root->n, 2);
    assert_str(root->child->key, "b");
    assert_int_equal(root->child->line, 2);
    list = yaml_find(root, STR("a"));
    assert_int_equal(list->kind, YAML_LIST);
    assert_int_equal(list->line, 3);
    assert_int_equal(list->child->line, 4);
    assert_str(list->child->text, "x");
    assert_str(yaml_find(list->child->next, STR("k"))->text, "v");
    assert_true(yaml_find(list->child->next, STR("k"))->quoted);
    assert_null(yaml_find(root, STR("c")));
}

static const struct {
    const char *text, *error;
} bad[] = {
    {"", "f:1: the file is empty"},
    {"# only a comment\n", "f:2: the file is empty"},
    {"a: 1\na: 2\n", "f:2: \"a\" is here twice (first on line 1)"},
    {"a: &x 1\n", "f:1: anchors, aliases and tags are not accepted"},
    {"a: 1\nb: *a\n", "f:2: "},
    {"a: !!int 1\n", "f:1: anchors, aliases and tags are not accepted"},
    {"&k a: 1\n", "f:1: anchors and tags are not accepted"},
    {"? [x]\n: 1\n", "f:1: a key must be plain text"},
    {"'': 1\n", "f:1: a key must not be empty"},
    {"a: 1\n---\nb: 1\n", "f:2: more than one YAML document"},
    {"a: [1\n", "f:2: "},
    {"a: \"\\xq\"\n", "f:1: "},
    {"a:\n\t- 1\n", "f:2: "},
    {"a: \xff\n", "f:1: "},
    {"[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]", "f:1: nested too deep"},
};

static void
refuses_what_is_not_plain_with_its_line(void **state)
{
    for (size_t i = 0; i < COUNT(bad); i++) {
        AUTO_ARENA struct arena a;
        const struct yaml_node *root;
        struct error e = {0};

        arena_init(&a);
        if (parse(&a, str_from_cstr(bad[i].text), &root, &e) != ERR_SETTINGS_INVALID)
            fail_msg("accepted: %s", bad[i].text);
        if (!str_starts_with(str_from_cstr(e.text), str_from_cstr(bad[i].error)))
            fail_msg("%s: got \"%s\"", bad[i].text, e.text);
        assert_null(root);
    }
}

static void
refuses_what_is_too_big(void **state)
{
    AUTO_ARENA struct arena a;
    const struct yaml_node *root;
    struct error e;
    size_t n = YAML_BYTES_MAX + 1;
    char *big = malloc(n);

    arena_init(&a);
    memset(big, 'a', n);
    assert_int_equal(parse(&a, (struct str){big, n}, &root, &e), ERR_SETTINGS_INVALID);
    /* Many small values, within the size. */
    big[0] = '[';
    for (size_t i = 1; i + 1 < n; i += 2)
        memcpy(big + i, "a,", 2);
    big[n - 3] = ']';
    assert_int_equal(parse(&a, (struct str){big, n - 2}, &root, &e), ERR_SETTINGS_INVALID);
    assert_string_equal(e.text, "f:1: too many values");
    free(big);
}

static void
reads_typed_values_and_refuses_others(void **state)
{
    AUTO_ARENA struct arena a;
    struct yaml_doc doc = {.arena = &a, .file = "f", .code = ERR_SETTINGS_INVALID};
    struct error e;
    struct str text = STR("before");
    bool flag = false;
    int64_t number = 7;
    const struct yaml_node *node = NULL;

    arena_init(&a);
    assert_int_equal(yaml_parse(&doc,
                         STR("t: x\nn: -5\nb: true\nnull1: null\nnull2: ~\nnull3:\nq: 'null'\n"
                             "l: [1]\nyes: yes\nf: 1.5\n"),
                         &e),
        ERR_OK);
    assert_int_equal(yaml_get_text(&doc, doc.root, STR("t"), YAML_REQUIRED, &text, &e), ERR_OK);
    assert_str(text, "x");
    assert_int_equal(yaml_get_text(&doc, doc.root, STR("q"), YAML_REQUIRED, &text, &e), ERR_OK);
    assert_str(text, "null");
    assert_int_equal(yaml_get_bool(&doc, doc.root, STR("b"), YAML_REQUIRED, &flag, &e), ERR_OK);
    assert_true(flag);
    assert_int_equal(
        yaml_get_i64(&doc, doc.root, STR("n"), YAML_REQUIRED, -5, 5, &number, &e), ERR_OK);
    assert_int_equal(number, -5);
    assert_int_equal(
        yaml_get_node(&doc, doc.root, STR("l"), YAML_REQUIRED, YAML_LIST, &node, &e), ERR_OK);
    assert_int_equal(node->n, 1);
    /* Absent and optional: untouched. Absent and required: an error. */
    assert_int_equal(yaml_get_text(&doc, doc.root, STR("z"), YAML_OPTIONAL, &text, &e), ERR_OK);
    assert_str(text, "null");
    assert_int_not_equal(yaml_get_text(&doc, doc.root, STR("z"), YAML_REQUIRED, &text, &e), ERR_OK);
    assert_string_equal(e.text, "f:1: \"z\" is missing");
    /* Of another type. */
    assert_int_not_equal(yaml_get_text(&doc, doc.root, STR("null1"), YAML_REQUIRED, &text, &e), 0);
    assert_int_not_equal(yaml_get_text(&doc, doc.root, STR("null2"), YAML_REQUIRED, &text, &e), 0);
    assert_int_not_equal(yaml_get_text(&doc, doc.root, STR("null3"), YAML_REQUIRED, &text, &e), 0);
    assert_int_not_equal(yaml_get_text(&doc, doc.root, STR("l"), YAML_REQUIRED, &text, &e), 0);
    assert_int_not_equal(yaml_get_bool(&doc, doc.root, STR("yes"), YAML_REQUIRED, &flag, &e), 0);
    assert_int_not_equal(
        yaml_get_i64(&doc, doc.root, STR("f"), YAML_REQUIRED, 0, 9, &number, &e), 0);
    assert_int_not_equal(
        yaml_get_i64(&doc, doc.root, STR("n"), YAML_REQUIRED, -4, 9, &number, &e), 0);
    assert_int_not_equal(
        yaml_get_node(&doc, doc.root, STR("l"), YAML_REQUIRED, YAML_MAP, &node, &e), 0);
    assert_int_equal(number, -5);
}

static void
hints_at_the_field_that_was_meant(void **state)
{
    static const struct str keys[] = {STR_INIT("listen"), STR_INIT("state")};
    AUTO_ARENA struct arena a;
    struct yaml_doc doc = {.arena = &a, .file = "f", .code = ERR_SETTINGS_INVALID};
    struct error e;

    arena_init(&a);
    assert_int_equal(yaml_parse(&doc, STR("state: x\nlisten_: y\n"), &e), ERR_OK);
    assert_int_equal(yaml_check_map(&doc, doc.root, "the settings", keys, COUNT(keys), &e),
        ERR_SETTINGS_INVALID);
    assert_string_equal(
        e.text, "f:2: unknown field \"listen_\" in the settings (did you mean \"listen\"?)");
    assert_int_equal(yaml_parse(&doc, STR("zebra: x\n"), &e), ERR_OK);
    assert_int_not_equal(yaml_check_map(&doc, doc.root, "s", keys, COUNT(keys), &e), ERR_OK);
    assert_string_equal(e.text, "f:1: unknown field \"zebra\" in s");
    assert_str(yaml_nearest(STR("opne"), (struct str[]){STR("open"), STR("close")}, 2), "open");
    assert_str(yaml_nearest(STR("xyz"), (struct str[]){STR("open"), STR("close")}, 2), "");
    assert_str(yaml_nearest(STR("x"), NULL, 0), "");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(keeps_order_lines_and_kinds),
        TEST(refuses_what_is_not_plain_with_its_line),
        TEST(refuses_what_is_too_big),
        TEST(reads_typed_values_and_refuses_others),
        TEST(hints_at_the_field_that_was_meant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
