/* SPDX-License-Identifier: Apache-2.0 */

/* Who may call what: the table, and what a row means for a caller. */

#include "daemon/authority.h"
#include "daemon/method.h"

#include <check.h>
#include <stdlib.h>

START_TEST(refuses_method_without_a_row) {
        static const char *const names[] = {"",           "Hello", "mount",    "MountPat",
                                            "MountPathX", "Adopt", "Unmount ", "Get"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_ptr_null(authority_rule(names[i]));
}
END_TEST

static const struct row {
        const char *member;
        bool is_method;
        enum authority_verdict root, holder, other;
} rows[] = {
        {"Mount", true, AUTHORITY_TRUSTED, AUTHORITY_USER, AUTHORITY_USER},
        {"Unmount", true, AUTHORITY_TRUSTED, AUTHORITY_USER, AUTHORITY_ASK},
        {"MountPath", true, AUTHORITY_TRUSTED, AUTHORITY_ASK, AUTHORITY_ASK},
        {"UnmountPath", true, AUTHORITY_TRUSTED, AUTHORITY_ASK, AUTHORITY_ASK},
        {"ListLeases", true, AUTHORITY_TRUSTED, AUTHORITY_ASK, AUTHORITY_ASK},
};

START_TEST(judges_each_method_as_the_table_says) {
        const struct row *row = &rows[_i];
        const struct authority_rule *rule = authority_rule(row->member);

        ck_assert_ptr_nonnull(rule);
        ck_assert_ptr_nonnull(method_find(row->member));
        ck_assert_int_eq(authority_judge(rule, 0, false), row->root);
        ck_assert_int_eq(authority_judge(rule, 0, true), row->root);
        ck_assert_int_eq(authority_judge(rule, 1000, true), row->holder);
        ck_assert_int_eq(authority_judge(rule, 1000, false), row->other);
}
END_TEST

/* Whatever asks needs something to ask for. */
START_TEST(every_rule_that_asks_has_an_action) {
        const struct authority_rule *rule = authority_rule(rows[_i].member);

        ck_assert(rows[_i].other != AUTHORITY_ASK || rule->action != NULL);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("authority");
        TCase *tests = tcase_create("authority");
        SRunner *runner;
        int failed;

        tcase_add_test(tests, refuses_method_without_a_row);
        tcase_add_loop_test(tests, judges_each_method_as_the_table_says, 0,
                            sizeof(rows) / sizeof(rows[0]));
        tcase_add_loop_test(tests, every_rule_that_asks_has_an_action, 0,
                            sizeof(rows) / sizeof(rows[0]));
        suite_add_tcase(suite, tests);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
