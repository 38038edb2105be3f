/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* How many descriptors this process has open: a test compares before and after. */

#include <check.h>
#include <dirent.h>
#include <stddef.h>

static inline unsigned descriptors_count(void) {
        DIR *directory = opendir("/proc/self/fd");
        unsigned count = 0;

        ck_assert_ptr_nonnull(directory);
        for (struct dirent *entry; (entry = readdir(directory));)
                count += entry->d_name[0] != '.';
        closedir(directory);
        return count - 1; /* that of the directory itself */
}
