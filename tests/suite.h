/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The main() of a test program: its tests, one after the other, each in a process of its own.
 *
 *     int main(void) {
 *             return SUITE_RUN("policy", refuses_other_names, accepts_own_directory);
 *     }
 */

#include <check.h>
#include <stddef.h>
#include <stdlib.h>

enum {
        SUITE_TIMEOUT =
                120, /* seconds: for a test that hangs, under a sanitizer on a busy machine */
};

static inline int suite_run(const char *name, const TTest *const *tests) {
        TCase *tests_case = tcase_create(name);
        Suite *suite = suite_create(name);
        SRunner *runner;
        int failed;

        for (; *tests; tests++)
                tcase_add_test(tests_case, *tests);
        tcase_set_timeout(tests_case, SUITE_TIMEOUT);
        suite_add_tcase(suite, tests_case);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define SUITE_RUN(name, ...) suite_run(name, (const TTest *const[]){__VA_ARGS__, NULL})
