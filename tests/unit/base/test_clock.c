#include "base/ids.h"
#include "unit.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

static time_t ahead_s; /* of the machine's clock, as the program sees it */

/* In the place of libc's: as if somebody set the clock back while the kernel waits for us. */
int
clock_gettime(clockid_t id, struct timespec *t)
{
    int code = (int)syscall(SYS_clock_gettime, id, t);

    if (code == 0 && id == CLOCK_REALTIME)
        t->tv_sec += ahead_s;
    return code;
}

static void
waits_as_long_as_asked_when_the_clock_is_set(void **state)
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;

    for (ahead_s = -3600; ahead_s <= 3600; ahead_s += 3600) {
        int64_t began = clock_monotonic_ms();
        const struct timespec until = clock_deadline(50);

        alarm(30);
        pthread_mutex_lock(&mutex);
        while (clock_wait(&cond, &mutex, &until) == 0)
            continue;
        pthread_mutex_unlock(&mutex);
        alarm(0);
        assert_true(clock_monotonic_ms() - began >= 49);
    }
    ahead_s = 0;
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(waits_as_long_as_asked_when_the_clock_is_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
