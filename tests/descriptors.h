/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The descriptors of this process. */

#include <check.h>
#include <dirent.h>
#include <stddef.h>
#include <sys/resource.h>

/* How many are open: a test compares before and after. */
static inline unsigned descriptors_count(void) {
        DIR *directory = opendir("/proc/self/fd");
        unsigned count = 0;

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        closedir(directory);
        return count - 1; /* that of the directory itself */
}

/* As many as it may have: what a process begins with is often 1024. */
static inline void descriptors_raise(void) {
        struct rlimit limit;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
        limit.rlim_cur = limit.rlim_max;
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}
