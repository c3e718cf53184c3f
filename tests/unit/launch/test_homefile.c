/* Files in a HOME that somebody else may have prepared. */
#include "base/cleanup.h"
#include "launch/homefile.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char root[] = "/tmp/purser-homefile-XXXXXX";
static char home[64];
static struct homefile_place place;
static struct error e;

static int
setup(void **state)
{
    snprintf(root, sizeof(root), "/tmp/purser-homefile-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(home, sizeof(home), "%s/home", root);
    assert_int_equal(mkdir(home, 0700), 0);
    place = (struct homefile_place){.home = home};
    place.notes = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(place.notes >= 0);
    return 0;
}

static int
teardown(void **state)
{
    char command[128];

    close(place.notes);
    snprintf(command, sizeof(command), "rm -rf %s", root);
    return system(command);
}

static void
sync_one(const char *path, const char *content, unsigned char stamp, bool refreshed)
{
    struct homefile file = {
        .path = path, .content = str_from_cstr(content), .stamp = {stamp}, .refreshed = refreshed};

    if (homefile_sync(&place, &file, 1, &e) != ERR_OK)
        fail_msg("%s", e.text);
}

static const char *
read_back(const char *path)
{
    static char text[256];
    char whole[256];
    ssize_t n;
    AUTO_CLOSE int fd = -1;

    snprintf(whole, sizeof(whole), "%s/%s", home, path);
    fd = open(whole, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return NULL;
    n = read(fd, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void
put_back(const char *path, const char *text)
{
    char whole[256];
    AUTO_CLOSE int fd = -1;

    snprintf(whole, sizeof(whole), "%s/%s", home, path);
    fd = open(whole, O_WRONLY | O_TRUNC | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void
makes_a_file_and_the_folders_above_it(void **state)
{
    struct stat st;
    char whole[256];

    sync_one("a/b/c", "one", 1, false);
    assert_string_equal(read_back("a/b/c"), "one");
    snprintf(whole, sizeof(whole), "%s/a/b/c", home);
    assert_int_equal(stat(whole, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    sync_one("a/b/c", "two", 1, false);
    assert_string_equal(read_back("a/b/c"), "two");
}

/* Its inode tells a file from what was put in its place. Held by a second link, so that no other
 * file gets the same one. */
static ino_t
inode_of(const char *path)
{
    static int links;
    char whole[128], held[128];
    struct stat st;

    snprintf(whole, sizeof(whole), "%s/%s", root, path);
    snprintf(held, sizeof(held), "%s/held%d", root, links++);
    assert_int_equal(link(whole, held), 0);
    assert_int_equal(stat(whole, &st), 0);
    return st.st_ino;
}

/* A start that changes nothing writes nothing: neither the file nor the note of it. */
static void
leaves_alone_what_is_as_it_should_be(void **state)
{
    ino_t file, note;

    sync_one("a/c", "one", 1, false);
    file = inode_of("home/a/c");
    note = inode_of("files");
    sync_one("a/c", "one", 1, false);
    assert_int_equal(inode_of("home/a/c"), file);
    assert_int_equal(inode_of("files"), note);
    sync_one("a/c", "two", 2, false); /* a token, say: another one at each start */
    assert_int_not_equal(inode_of("home/a/c"), file);
    assert_int_equal(inode_of("files"), note);
    put_back("a/c", "two and more of the agent's");
    sync_one("a/c", "two", 2, false);
    assert_string_equal(read_back("a/c"), "two");
}

static void
leaves_what_the_agent_renewed_until_its_source_changes(void **state)
{
    sync_one("login", "one", 1, true);
    put_back("login", "renewed");
    sync_one("login", "one", 1, true);
    assert_string_equal(read_back("login"), "renewed");
    sync_one("login", "two", 2, true);
    assert_string_equal(read_back("login"), "two");
    assert_int_equal(unlinkat(place.notes, "home/login", 0), 0);
    sync_one("login", "two", 2, true);
    assert_string_equal(read_back("login"), "two");
}

static void
takes_away_what_no_longer_applies_and_nothing_else(void **state)
{
    sync_one("x/ours", "one", 1, false);
    put_back("theirs", "theirs");
    sync_one("other", "two", 1, false);
    assert_null(read_back("x/ours"));
    assert_string_equal(read_back("other"), "two");
    assert_int_equal(homefile_sync(&place, NULL, 0, &e), ERR_OK);
    assert_null(read_back("other"));
    assert_string_equal(read_back("theirs"), "theirs");
}

/* Also as root: links are not followed, so what they lead to stays as it is. */
static void
follows_no_link(void **state)
{
    struct homefile file = {.path = "dir/file", .content = STR("ours")};
    char link[128], bait[128];

    snprintf(bait, sizeof(bait), "%s/bait", root);
    assert_int_equal(mkdir(bait, 0700), 0);
    snprintf(link, sizeof(link), "%s/dir", home);
    assert_int_equal(symlink(bait, link), 0);
    assert_int_equal(homefile_sync(&place, &file, 1, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "dir/file"));
    assert_int_equal(rmdir(bait), 0); /* still empty */
    snprintf(link, sizeof(link), "%s/file", home);
    assert_int_equal(symlink("/etc/passwd", link), 0);
    sync_one("file", "ours", 1, false);
    assert_string_equal(read_back("file"), "ours");
}

static void
garbled_notes_count_as_none(void **state)
{
    char path[128];
    AUTO_CLOSE int fd = -1;

    sync_one("login", "one", 1, true);
    put_back("login", "renewed");
    snprintf(path, sizeof(path), "%s/files", root);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_true(fd >= 0 && write(fd, "zz\n\n01 x\n", 9) == 9);
    sync_one("login", "one", 1, true);
    assert_string_equal(read_back("login"), "one");
}

static void
says_which_file_cannot_be_made(void **state)
{
    struct homefile files[] = {
        {.path = "good", .content = STR("x")}, {.path = "full", .content = STR("x")}};

    assert_int_equal(mkdirat(place.notes, "home/full", 0700), 0);
    assert_int_equal(homefile_sync(&place, files, 2, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "full"));
}

#define HOME_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        HOME_TEST(makes_a_file_and_the_folders_above_it),
        HOME_TEST(leaves_alone_what_is_as_it_should_be),
        HOME_TEST(leaves_what_the_agent_renewed_until_its_source_changes),
        HOME_TEST(takes_away_what_no_longer_applies_and_nothing_else),
        HOME_TEST(follows_no_link),
        HOME_TEST(garbled_notes_count_as_none),
        HOME_TEST(says_which_file_cannot_be_made),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
