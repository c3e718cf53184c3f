/* Owners that clean up after themselves. Hand over with TAKE and nothing else. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void
cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void
cleanup_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void
cleanup_fclose(FILE **f)
{
    if (*f != NULL)
        fclose(*f);
}

#define AUTO_FREE __attribute__((cleanup(cleanup_free)))
#define AUTO_CLOSE __attribute__((cleanup(cleanup_close)))
#define AUTO_FCLOSE __attribute__((cleanup(cleanup_fclose)))
/* For other types: AUTO(arena_done) struct arena a = ...; the function takes a pointer. */
#define AUTO(function) __attribute__((cleanup(function)))

#define TAKE(pointer)                                                                              \
    ({                                                                                             \
        __typeof__(pointer) taken_ = (pointer);                                                    \
        (pointer) = NULL;                                                                          \
        taken_;                                                                                    \
    })
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int taken_ = (fd);                                                                         \
        (fd) = -1;                                                                                 \
        taken_;                                                                                    \
    })

#endif
