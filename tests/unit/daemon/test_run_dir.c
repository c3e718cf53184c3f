#include "daemon/run_dir.h"

#include "launch/record.h"

#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static char run[] = "/tmp/purser-test-run-XXXXXX";

static int
folder(const char *name)
{
    char path[128];
    int dir;

    snprintf(path, sizeof(path), "%s/%s", run, name);
    mkdir(path, 0700);
    dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(dir >= 0);
    return dir;
}

/* Writes the record of one agent; its descriptor. */
static int
write_record(int shims, struct id workspace, enum launch_state state, bool reported)
{
    struct record r = {.state = state, .reported = reported, .workspace = workspace};
    struct error e = {0};
    int file = record_open(shims, workspace, true);

    assert_int_equal(record_write(file, &r, &e), ERR_OK);
    return file;
}

static void
stays_while_an_agent_runs_and_goes_after_it(void **state)
{
    struct id workspace = id_new();
    int shims, homes, file;

    assert_non_null(mkdtemp(run));
    shims = folder("shims");
    close(folder("tmp"));
    close(folder("tmp/body"));
    file = write_record(shims, workspace, LAUNCH_RUNNING, false);
    assert_false(run_dir_remove(run));
    close(file);
    file = write_record(shims, workspace, LAUNCH_EXITED, false);
    assert_false(run_dir_remove(run)); /* nobody was told of the end yet */
    close(file);
    file = write_record(shims, workspace, LAUNCH_EXITED, true);
    assert_true(record_lock(shims, workspace, file));
    assert_false(run_dir_remove(run)); /* a shim has it */
    record_unlock(file);
    close(file);
    close(folder("homes"));
    close(folder("homes/a"));
    assert_false(run_dir_remove(run));
    homes = folder("homes");
    assert_int_equal(unlinkat(homes, "a", AT_REMOVEDIR), 0); /* it was still there */
    close(homes);
    assert_true(run_dir_remove(run));
    assert_int_equal(access(run, F_OK), -1);
    close(shims);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {TEST(stays_while_an_agent_runs_and_goes_after_it)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
