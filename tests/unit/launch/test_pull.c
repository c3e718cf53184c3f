#include "launch/pull.h"

#include "unit.h"

struct seen {
    char lines[8][300];
    size_t n;
};

static void
see(void *ctx, struct str line)
{
    struct seen *s = ctx;

    assert_true(s->n < 8);
    snprintf(s->lines[s->n++], sizeof(s->lines[0]), "%.*s", STR_ARG(line));
}

static void
tells_each_line_and_the_problem_whatever_the_pieces(void **state)
{
    static const struct str said =
        STR_INIT("{\"status\":\"Pulling from x\",\"id\":\"latest\"}\n"
                 "not JSON\n\n[1]\n"
                 "{\"status\":\"Downloading\",\"progress\":\"[=> ]\"}\r\n"
                 "{\"error\":\"no such manifest\"}");

    for (size_t cut = 0; cut <= said.n; cut++) {
        struct seen seen = {0};
        struct pull p;

        pull_init(&p, see, &seen);
        assert_true(pull_feed(&p, str_slice(said, 0, cut)));
        assert_true(pull_feed(&p, str_slice(said, cut, said.n)));
        pull_end(&p);
        assert_int_equal(seen.n, 2);
        assert_string_equal(seen.lines[0], "latest Pulling from x");
        assert_string_equal(seen.lines[1], "Downloading [=> ]");
        assert_string_equal(p.problem, "no such manifest");
        pull_done(&p);
    }
}

/* Whether the line feed comes with the last piece or after it. */
static void
line_without_end_is_refused_in_any_pieces(void **state)
{
    static char said[64 * 1024 + 2];
    struct str all = {said, sizeof(said)};

    memset(said, 'x', sizeof(said));
    said[sizeof(said) - 1] = '\n';
    for (size_t cut = 0; cut < all.n; cut += all.n / 3) {
        struct pull p;

        pull_init(&p, NULL, NULL);
        assert_false(
            pull_feed(&p, str_slice(all, 0, cut)) && pull_feed(&p, str_slice(all, cut, all.n)));
        pull_done(&p);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_each_line_and_the_problem_whatever_the_pieces),
        cmocka_unit_test(line_without_end_is_refused_in_any_pieces),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
