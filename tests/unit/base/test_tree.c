#include "unit.h"

#include "base/tree.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void
make(const char *path, bool folder)
{
    char full[256];
    int fd;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    if (folder) {
        assert_int_equal(mkdir(full, 0700), 0);
        return;
    }
    fd = open(full, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static bool
is_there(const char *path)
{
    char full[256];
    struct stat st;

    snprintf(full, sizeof(full), "%s/%s", root, path);
    return lstat(full, &st) == 0;
}

static int
setup(void **state)
{
    snprintf(root, sizeof(root), "/tmp/test-tree-XXXXXX");
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int
teardown(void **state)
{
    struct error e;

    return tree_remove(root, &e) == ERR_OK && !is_there("") ? 0 : -1;
}

static void
a_folder_goes_with_all_that_is_in_it(void **state)
{
    char path[128];
    struct error e;

    make("home", true);
    make("home/file", false);
    make("home/.hidden", false);
    make("home/a", true);
    make("home/a/b", true);
    make("home/a/b/c", false);
    snprintf(path, sizeof(path), "%s/home", root);
    assert_int_equal(tree_remove(path, &e), ERR_OK);
    assert_false(is_there("home"));
    assert_int_equal(tree_remove(path, &e), ERR_OK); /* not there: fine */
}

static void
links_are_removed_and_not_followed(void **state)
{
    char kept[128], home[128], link_path[160];
    struct error e;

    make("kept", true);
    make("kept/file", false);
    make("home", true);
    snprintf(kept, sizeof(kept), "%s/kept", root);
    snprintf(home, sizeof(home), "%s/home", root);
    snprintf(link_path, sizeof(link_path), "%s/link", home);
    assert_int_equal(symlink(kept, link_path), 0);
    assert_int_equal(tree_remove(home, &e), ERR_OK);
    assert_false(is_there("home"));
    assert_true(is_there("kept/file"));
    assert_int_equal(symlink(kept, home), 0);
    assert_int_equal(tree_remove(home, &e), ERR_IO); /* itself a link: refused */
    assert_true(is_there("kept/file"));
}

int
main(void)
{
#define TREE_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TREE_TEST(a_folder_goes_with_all_that_is_in_it),
        TREE_TEST(links_are_removed_and_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
