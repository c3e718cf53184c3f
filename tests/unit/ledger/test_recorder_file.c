#include "unit.h"

#include "ledger/recorder_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/purser-recorder-XXXXXX";
static char path[64];
static struct recorder_file_options options;

static int
set_up(void **state)
{
    options = (struct recorder_file_options){.path = str_from_cstr(path), .slots = 256};
    unlink(path);
    return 0;
}

static struct recorder_file
opened(uint32_t slots)
{
    struct recorder_file f;
    struct error e;

    options.slots = slots;
    if (recorder_file_open(&options, &f, &e) != ERR_OK)
        fail_msg("%s", e.text);
    return f;
}

static off_t
file_bytes(void)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 >= st.st_size); /* a hole would kill who writes into it */
    return st.st_size;
}

/* Somebody else has it open, as nginx does: the byte that says so, or a lane. */
static int
lock_byte(off_t byte, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

static bool
resized(struct recorder_file *f, uint32_t slots)
{
    bool reached = false;
    struct error e;

    if (recorder_file_resize(f, slots, &reached, &e) != ERR_OK)
        fail_msg("%s", e.text);
    assert_int_equal(file_bytes(),
        recorder_bytes(recorder_lanes(&f->recorder), f->recorder.header->slots_per_lane));
    return reached;
}

static void
open_slot(const struct recorder_file *f, uint32_t slot)
{
    struct recorder_open open = {.attempt = slot};

    recorder_slot_open(&f->recorder, slot, &open);
}

static void
check_refused(const char *const *words)
{
    struct recorder_file f;
    struct error e;

    assert_int_equal(recorder_file_open(&options, &f, &e), ERR_STATE_UNUSABLE);
    for (; *words != NULL; words++) {
        if (strstr(e.text, *words) == NULL)
            fail_msg("\"%s\" says nothing of \"%s\"", e.text, *words);
    }
}

static void
every_size_is_about_what_was_asked_for(void **state)
{
    static const uint32_t sizes[] = {64, 79, 100, 1000, 20000};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct recorder_file f = opened(sizes[i]);

        assert_in_range(f.recorder.slots_n, sizes[i] - sizes[i] / 16, sizes[i]);
        assert_true(recorder_lanes(&f.recorder) >= 16);
        assert_true(resized(&f, sizes[i]));
        assert_in_range(f.recorder.slots_n, sizes[i] - sizes[i] / 16, sizes[i]);
        assert_true(file_bytes() > sizes[i] * (off_t)RECORDER_SLOT_BYTES * 15 / 16);
        recorder_file_close(&f);
        unlink(path);
    }
}

static void
it_grows_under_those_who_write_it(void **state)
{
    struct recorder_file f = opened(256), worker = opened(256);

    open_slot(&worker, 255);
    assert_true(resized(&f, 4096));
    assert_int_equal(f.recorder.slots_n, 4096);
    assert_int_equal(recorder_lanes(&worker.recorder), recorder_lanes(&f.recorder));
    open_slot(&worker, 4095);
    assert_int_equal(recorder_slot_state(&f.recorder, 255), RECORDER_OPEN);
    assert_int_equal(recorder_slot_state(&f.recorder, 4095), RECORDER_OPEN);
    assert_int_equal(recorder_slot_at(&f.recorder, 4095)->open.attempt, 4095);
    recorder_file_close(&worker);
    recorder_file_close(&f);
    /* The next purserd finds it as it is, whatever its settings say. */
    f = opened(256);
    assert_int_equal(f.recorder.slots_n, 4096);
    assert_int_equal(recorder_slot_at(&f.recorder, 4095)->open.attempt, 4095);
    recorder_file_close(&f);
}

static void
it_shrinks_as_far_as_its_end_is_free_and_nobodys(void **state)
{
    struct recorder_file f = opened(256);
    int worker = lock_byte(RECORDER_LOCK_OFF + 12, F_WRLCK);

    open_slot(&f, 9 * 16 + 3);
    assert_false(resized(&f, 64));
    assert_int_equal(recorder_lanes(&f.recorder), 13); /* lane 12 is somebody's */
    close(worker);
    assert_false(resized(&f, 64));
    assert_int_equal(recorder_lanes(&f.recorder), 10); /* lane 9 holds a call */
    recorder_slot_free(&f.recorder, 9 * 16 + 3);
    assert_true(resized(&f, 64));
    assert_int_equal(recorder_lanes(&f.recorder), 4);
    /* Its locks are free again, and it grows over the same place. */
    close(lock_byte(RECORDER_LOCK_OFF + 12, F_WRLCK));
    assert_true(resized(&f, 256));
    open_slot(&f, 255);
    recorder_file_close(&f);
}

static void
beyond_the_most_lanes_it_stays_as_it_is(void **state)
{
    struct recorder_file f = opened(64);
    bool reached = true;
    struct error e;

    assert_true(resized(&f, 4 * RECORDER_LANES_MAX));
    assert_int_equal(
        recorder_file_resize(&f, 4 * RECORDER_LANES_MAX + 4, &reached, &e), ERR_STATE_UNUSABLE);
    assert_non_null(strstr(e.text, "16384"));
    assert_false(reached);
    assert_int_equal(f.recorder.slots_n, 4 * RECORDER_LANES_MAX);
    recorder_file_close(&f);
}

static void
an_empty_one_is_made_anew_unless_somebody_has_it(void **state)
{
    struct recorder_file f = opened(64);
    int nginx = lock_byte(RECORDER_USE_OFF, F_RDLCK);

    recorder_file_close(&f);
    f = opened(8192);
    assert_int_equal(f.recorder.slots_n, 64);
    recorder_file_close(&f);
    close(nginx);
    f = opened(8192);
    assert_int_equal(f.recorder.slots_n, 8192);
    recorder_file_close(&f);
}

static void
set_version(uint32_t version)
{
    int fd = open(path, O_RDWR);

    assert_int_equal(
        pwrite(fd, &version, sizeof(version), offsetof(struct recorder_header, version)),
        sizeof(version));
    close(fd);
}

/* Calls in another layout are neither thrown away nor misread: they are for whoever wrote them. */
static void
another_layout_is_refused_while_it_holds_calls(void **state)
{
    struct recorder_file f = opened(256);
    int nginx;

    open_slot(&f, 7);
    set_version(RECORDER_VERSION - 1);
    check_refused(
        (const char *const[]){path, "1 calls", "(3, this one has 4)", "start that one", NULL});
    set_version(RECORDER_VERSION + 1);
    check_refused((const char *const[]){"(5, this one has 4)", NULL});
    recorder_slot_free(&f.recorder, 7);
    nginx = lock_byte(RECORDER_LOCK_OFF + 3, F_WRLCK); /* a worker of the older layout has a lane */
    check_refused((const char *const[]){"nginx still runs", "stop it", NULL});
    close(nginx);
    recorder_file_close(&f);
    f = opened(256); /* empty: nothing is lost */
    assert_int_equal(f.recorder.header->version, RECORDER_VERSION);
    recorder_file_close(&f);
}

static void
what_is_cut_or_something_else_is_left_alone(void **state)
{
    struct recorder_file f = opened(256);
    int fd;

    open_slot(&f, 7);
    recorder_file_close(&f);
    assert_int_equal(truncate(path, file_bytes() - 4096), 0);
    check_refused((const char *const[]){"1 calls", "end is missing", NULL});
    assert_int_equal(truncate(path, 100), 0);
    check_refused((const char *const[]){"is not a recorder", NULL});
    fd = open(path, O_RDWR | O_TRUNC);
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    assert_int_equal(pwrite(fd, "SQLite format 3", 15, 0), 15);
    close(fd);
    check_refused((const char *const[]){"is not a recorder", NULL});
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_size_is_about_what_was_asked_for, set_up),
        cmocka_unit_test_setup(it_grows_under_those_who_write_it, set_up),
        cmocka_unit_test_setup(it_shrinks_as_far_as_its_end_is_free_and_nobodys, set_up),
        cmocka_unit_test_setup(beyond_the_most_lanes_it_stays_as_it_is, set_up),
        cmocka_unit_test_setup(an_empty_one_is_made_anew_unless_somebody_has_it, set_up),
        cmocka_unit_test_setup(another_layout_is_refused_while_it_holds_calls, set_up),
        cmocka_unit_test_setup(what_is_cut_or_something_else_is_left_alone, set_up),
    };
    int failed;

    if (mkdtemp(dir) == NULL)
        return 1;
    snprintf(path, sizeof(path), "%s/recorder", dir);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return rmdir(dir) == 0 ? failed : 1;
}
