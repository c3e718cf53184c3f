#include "unit.h"

#include "base/cleanup.h"
#include "edge/caps.h"

#include <sys/stat.h>

static char dir[] = "/tmp/purser-counters-XXXXXX";
static char path[64];
static struct error e;

static int
set_up(void **state)
{
    snprintf(path, sizeof(path), "%s/counters", dir);
    unlink(path);
    return 0;
}

static struct id
id_of_number(int n)
{
    struct id id = {{0}};

    memcpy(id.b + 12, &n, sizeof(n));
    return id;
}

static uint32_t
put(struct counters_file *f, int n, bool expected_new)
{
    const struct counters_budget b = {
        id_of_number(n), BUDGET_ORG, BUDGET_DAY, true, 1000 * (int64_t)n};
    uint32_t slot = 0;
    bool is_new = !expected_new;

    assert_int_equal(counters_file_budget(f, &b, &slot, &is_new, &e), ERR_OK);
    assert_int_equal(is_new, expected_new);
    return slot;
}

static void
sums_and_places_outlive_the_writer(void **state)
{
    struct counters_file f = {.fd = -1}, again = {.fd = -1};
    uint32_t slots[1000], slot;
    uint64_t generation;

    assert_int_equal(counters_file_open(path, 0, &f, &e), ERR_OK);
    for (int n = 1; n < 1000; n++)
        slots[n] = put(&f, n, true);
    generation = f.counters.header->generation;
    atomic_store(&f.counters.budgets[slots[700]].settled, 77);
    counters_file_done(&f);
    assert_int_equal(counters_file_open(path, 0, &again, &e), ERR_OK);
    assert_int_equal(again.counters.header->generation, generation);
    for (int n = 1; n < 1000; n++)
        assert_int_equal(put(&again, n, false), slots[n]);
    assert_int_equal(atomic_load(&again.counters.budgets[slots[700]].settled), 77);
    assert_int_equal(again.counters.budgets[slots[700]].limit_nano, 700000);
    assert_false(counters_file_budget_find(&again, id_of_number(1000), &slot));
    counters_file_done(&again);
}

static void
a_place_that_was_given_up_is_used_again_under_another_serial(void **state)
{
    struct counters_file f = {.fd = -1};
    uint32_t first, second, serial;

    assert_int_equal(counters_file_open(path, 0, &f, &e), ERR_OK);
    first = put(&f, 1, true);
    serial = f.counters.budgets[first].serial;
    put(&f, 2, true);
    counters_file_budget_drop(&f, id_of_number(1));
    assert_int_equal(atomic_load(&f.counters.budgets[first].limit_nano), BUDGET_GONE);
    second = put(&f, 3, true);
    assert_int_equal(second, first);
    assert_true(f.counters.budgets[second].serial > serial);
    counters_file_done(&f);
}

static void
the_file_has_space_only_for_what_is_used(void **state)
{
    struct counters_file f = {.fd = -1};
    struct stat st;

    assert_int_equal(counters_file_open(path, 0, &f, &e), ERR_OK);
    for (int n = 1; n <= 130; n++)
        put(&f, n, true);
    assert_int_equal(fstat(f.fd, &st), 0);
    assert_true(st.st_size > 100 << 20);
    assert_in_range(st.st_blocks * 512, 130 * 64, 64 << 10);
    counters_file_done(&f);
}

static void
many_ids_come_and_go_and_each_is_found(void **state)
{
    struct counters_file f = {.fd = -1};
    uint32_t slot;

    assert_int_equal(counters_file_open(path, 0, &f, &e), ERR_OK);
    for (int n = 1; n <= 500; n++)
        put(&f, n, true);
    for (int n = 1; n <= 500; n += 3)
        counters_file_budget_drop(&f, id_of_number(n));
    for (int n = 1; n <= 500; n++)
        assert_int_equal(counters_file_budget_find(&f, id_of_number(n), &slot), n % 3 != 1);
    counters_file_done(&f);
}

static void
a_file_of_another_version_is_superseded(void **state)
{
    struct counters_file f = {.fd = -1}, fresh = {.fd = -1};
    uint64_t generation;

    assert_int_equal(counters_file_open(path, 0, &f, &e), ERR_OK);
    generation = f.counters.header->generation;
    f.counters.header->version++;
    f.counters.header->generation = 1;
    assert_int_equal(counters_file_open(path, 0, &fresh, &e), ERR_OK);
    assert_false(counters_is_live(&f.counters));
    assert_true(fresh.counters.header->generation >= generation);
    counters_file_done(&f);
    counters_file_done(&fresh);
}

/* --- caps ------------------------------------------------------------------------------------ */

static struct policy_token
token_of(int org, int workspace, int token)
{
    struct policy_token t = {0};
    struct id id = id_of_number(org);

    memcpy(t.org_id, id.b, sizeof(t.org_id));
    id = id_of_number(workspace);
    memcpy(t.workspace_id, id.b, sizeof(t.workspace_id));
    id = id_of_number(token);
    memcpy(t.token_id, id.b, sizeof(t.token_id));
    return t;
}

static struct edge_budget
budget_of(int n, int org, int workspace)
{
    return (struct edge_budget){.id = id_of_number(n),
        .org = id_of_number(org),
        .workspace = workspace == 0 ? (struct id){{0}} : id_of_number(workspace),
        .period = BUDGET_DAY,
        .limit_nano = 5};
}

static void
a_token_gets_its_orgs_and_its_workspaces_budgets_and_nobody_elses(void **state)
{
    struct edge_budget budgets[] = {
        budget_of(901, 1, 0), budget_of(902, 1, 11), budget_of(903, 1, 12), budget_of(904, 2, 0)};
    struct policy_token mine = token_of(1, 11, 501), other = token_of(3, 31, 502);
    struct caps c = {.file.fd = -1};
    bool changed = false;

    assert_int_equal(counters_file_open(path, 0, &c.file, &e), ERR_OK);
    assert_int_equal(caps_set(&c, budgets, 4, NULL, 0, &changed, &e), ERR_OK);
    assert_true(changed && budgets[0].is_new);
    assert_int_equal(caps_token(&c, &mine, &e), ERR_OK);
    assert_int_equal(mine.budgets_n, 2);
    assert_int_equal(mine.budgets[0], budgets[0].slot);
    assert_int_equal(mine.budgets[1], budgets[1].slot);
    assert_int_equal(mine.limits[0], LIMIT_NONE);
    assert_int_equal(caps_token(&c, &other, &e), ERR_OK);
    assert_int_equal(other.budgets_n, 0);
    /* The same again changes no token; one less does, and its place is given up. */
    assert_int_equal(caps_set(&c, budgets, 4, NULL, 0, &changed, &e), ERR_OK);
    assert_false(changed || budgets[0].is_new);
    assert_int_equal(caps_set(&c, budgets + 1, 3, NULL, 0, &changed, &e), ERR_OK);
    assert_true(changed);
    assert_int_equal(caps_token(&c, &mine, &e), ERR_OK);
    assert_int_equal(mine.budgets_n, 1);
    caps_done(&c);
}

static void
limits_are_of_the_workspace_and_of_each_token(void **state)
{
    const struct edge_limit limits[] = {
        {.workspace = id_of_number(11), .requests_per_min = 7, .per_token = true},
        {.workspace = id_of_number(11), .concurrent = 3}};
    struct policy_token one = token_of(1, 11, 501), two = token_of(1, 11, 502);
    struct caps c = {.file.fd = -1};
    bool changed;

    assert_int_equal(counters_file_open(path, 0, &c.file, &e), ERR_OK);
    assert_int_equal(caps_set(&c, NULL, 0, limits, 2, &changed, &e), ERR_OK);
    assert_int_equal(caps_token(&c, &one, &e), ERR_OK);
    assert_int_equal(caps_token(&c, &two, &e), ERR_OK);
    assert_int_equal(one.limits[0], two.limits[0]);
    assert_int_not_equal(one.limits[1], two.limits[1]);
    assert_int_equal(c.file.counters.limits[one.limits[0]].concurrent_max, 3);
    assert_int_equal(c.file.counters.limits[two.limits[1]].requests_per_min, 7);
    caps_token_gone(&c, &one);
    assert_int_equal(c.file.counters.limits[one.limits[1]].requests_per_min, 0);
    assert_int_equal(caps_set(&c, NULL, 0, limits, 1, &changed, &e), ERR_OK);
    assert_int_equal(caps_token(&c, &two, &e), ERR_OK);
    assert_int_equal(two.limits[0], LIMIT_NONE);
    caps_done(&c);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(sums_and_places_outlive_the_writer, set_up),
        cmocka_unit_test_setup(
            a_place_that_was_given_up_is_used_again_under_another_serial, set_up),
        cmocka_unit_test_setup(the_file_has_space_only_for_what_is_used, set_up),
        cmocka_unit_test_setup(many_ids_come_and_go_and_each_is_found, set_up),
        cmocka_unit_test_setup(a_file_of_another_version_is_superseded, set_up),
        cmocka_unit_test_setup(
            a_token_gets_its_orgs_and_its_workspaces_budgets_and_nobody_elses, set_up),
        cmocka_unit_test_setup(limits_are_of_the_workspace_and_of_each_token, set_up),
    };
    char command[80];
    int failed;

    if (mkdtemp(dir) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? failed : 1;
}
