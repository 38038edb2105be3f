/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Polling for what other threads and processes do. */

#include <check.h>
#include <time.h>
#include <unistd.h>

enum { UNTIL_PATIENCE = 30 }; /* seconds, on a busy machine */

static inline double until_now(void) {
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return time.tv_sec + time.tv_nsec / 1e9;
}

/* Repeats `step` until the condition is true; the test fails if it never is. */
#define UNTIL_BY(condition, step)                                                                  \
        for (double until_ = until_now() + UNTIL_PATIENCE; !(condition); step)                     \
        ck_assert_msg(until_now() < until_, "never: %s", #condition)

#define UNTIL(condition) UNTIL_BY(condition, usleep(1000))
