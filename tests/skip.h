/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Check has passed and failed, but no skipped. A test that needs what the machine lacks says so by
 * test_skip("what is lacking") and returns; tests/run, which names the file in MOUNTATD_SKIPS,
 * counts it as skipped instead of passed.
 */

#include <stdio.h>
#include <stdlib.h>

#define test_skip(reason)                                                                          \
        do {                                                                                       \
                test_skip_report(__func__, reason);                                                \
                return;                                                                            \
        } while (0)

static inline void test_skip_report(const char *test, const char *reason) {
        const char *path = getenv("MOUNTATD_SKIPS");
        FILE *file = path ? fopen(path, "ae") : stderr;

        if (!file)
                abort();
        fprintf(file, "%s: %s\n", test, reason);
        if (file != stderr)
                fclose(file);
}
