/* The whole of our C test kit: a test is a function, a failed EXPECT says where and ends the run
 * with status 1. Names of tests are sentences. */
#ifndef WEIR_TESTS_TEST_H
#define WEIR_TESTS_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                            \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: expected %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

#define EXPECT_EQUAL(actual, expected)                                                     \
    do {                                                                                   \
        long long actual_ = (long long)(actual), expected_ = (long long)(expected);        \
        if (actual_ != expected_) {                                                        \
            fprintf(stderr, "%s:%d: %s is %lld, expected %s = %lld\n", __FILE__, __LINE__, \
                    #actual, actual_, #expected, expected_);                               \
            exit(1);                                                                       \
        }                                                                                  \
    } while (0)

#define EXPECT_STRING(actual, expected)                                                            \
    do {                                                                                           \
        const char *actual_ = (actual), *expected_ = (expected);                                   \
        if (strcmp(actual_, expected_) != 0) {                                                     \
            fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #actual, \
                    actual_, expected_);                                                           \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* How far a test goes: under ASan code takes several times as long, under TSan up to a hundred
 * times, and what they look for shows in a few of a sweep's steps. */
#if defined __SANITIZE_THREAD__
#define BY_SANITIZER(plain, asan, tsan) (tsan)
#elif defined __SANITIZE_ADDRESS__
#define BY_SANITIZER(plain, asan, tsan) (asan)
#else
#define BY_SANITIZER(plain, asan, tsan) (plain)
#endif

/* RUN(a_name_that_is_a_sentence) calls the function and says that it passed. */
#define RUN(test)                 \
    do {                          \
        test();                   \
        printf("ok %s\n", #test); \
        fflush(stdout);           \
    } while (0)

#endif
