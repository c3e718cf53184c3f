/* What every unit test includes: cmocka with the headers it needs before it. */
#ifndef UNIT_H
#define UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* cmocka has a macro of that name; ours is base/error.h's. Tests use fail_msg(). */
#undef fail
#undef fail_msg
#define fail_msg(message, ...)                                                                     \
    do {                                                                                           \
        print_error("ERROR: " message "\n", ##__VA_ARGS__);                                        \
        _fail(__FILE__, __LINE__);                                                                 \
    } while (0)

#include "core/str.h"

#define TEST(function) cmocka_unit_test(function)

/* Compares a struct str with a literal and prints both on failure. */
#define assert_str(actual, expected)                                                               \
    do {                                                                                           \
        struct str actual_ = (actual);                                                             \
        struct str expected_ = str_from_cstr(expected);                                            \
        if (!str_equal(actual_, expected_))                                                        \
            fail_msg("%s: got \"%.*s\", expected \"%.*s\"", #actual, STR_ARG(actual_),             \
                STR_ARG(expected_));                                                               \
    } while (0)

#endif
