/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A daemon that is going to be attacked, how it was before, and how long an honest user waits for
 * it meanwhile.
 */

#include "tests/real/hostile.h"

struct stage {
        struct service service;
        unsigned threads;
        unsigned fds;
};

/* One that lets everybody mount below the directory `build`; `notify` as in struct service_plan. */
struct stage stage_new(const char *notify, const char *option);

/* Such a one on a kernel that seems not to know that system call; 0: on this kernel as it is. */
struct stage stage_new_without(int call);

/* The workers that are lost: each has been replaced, so it is one thread more. */
unsigned stage_count_lost(const struct stage *stage);

/* Waits until threads, descriptors and mounts are as they were when nobody had used it. */
void stage_expect_as_before(const struct stage *stage);

struct stage_latency {
        unsigned p50; /* microseconds */
        unsigned p99;
        unsigned max;
};

/*
 * Of some hundreds of Alice's mounts and unmounts in her `root`, one after the other, each on a
 * connection of its own. All must succeed.
 */
struct stage_latency stage_measure(const struct stage *stage, const char *root);

void stage_print(const char *what, struct stage_latency latency);

/* As WORLD_TEST, skipped as well where there is no FUSE. */
#define HOSTILE_TEST(name)                                                                         \
        static void name##_attack(void);                                                           \
        WORLD_TEST(name) {                                                                         \
                const char *lacking = hostile_prepare();                                           \
                                                                                                   \
                if (lacking)                                                                       \
                        test_skip_report(#name, lacking);                                          \
                else                                                                               \
                        name##_attack();                                                           \
        }                                                                                          \
        static void name##_attack(void)
