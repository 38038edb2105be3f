/* SPDX-License-Identifier: Apache-2.0 */

/* The table of methods: without a row nothing can be called, and what a row means for a caller. */

#include "daemon/call.h"
#include "daemon/manager.h"
#include "tests/fixtures/suite.h"

START_TEST(refuses_method_without_a_row) {
        static const char *const names[] = {"",           "Hello", "mount",    "Mount", "MountPat",
                                            "MountPathX", "Adopt", "Unmount ", "Get"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_ptr_null(manager_method(names[i]));
}
END_TEST

static const struct row {
        const char *member, *action;
        bool own_is_free; /* for others than root: without consent */
        bool shows_own;
} rows[] = {
        {"MountPath", "org.mountat1.mount", false, false},
        {"UnmountPath", "org.mountat1.unmount", false, false},
        {"Unmount", "org.mountat1.unmount-others", true, false},
        {"ListLeases", "org.mountat1.list-others", false, true},
};

enum {
        ROWS = sizeof(rows) / sizeof(rows[0]),
};

START_TEST(asks_for_consent_as_the_table_says) {
        for (size_t i = 0; i < ROWS; i++) {
                const struct call_method *method = manager_method(rows[i].member);

                ck_assert_ptr_nonnull(method);
                ck_assert_str_eq(method->action, rows[i].action);
                ck_assert(call_is_free(method, 0, false));
                ck_assert(call_is_free(method, 0, true));
                ck_assert(call_is_free(method, 1000, false) == rows[i].own_is_free);
                ck_assert(!call_is_free(method, 1000, true));
                ck_assert(!(method->traits & CALL_SHOWS_OWN) == !rows[i].shows_own);
        }
}
END_TEST

START_TEST(every_row_is_complete) {
        for (size_t i = 0; i < ROWS; i++) {
                const struct call_method *method = manager_method(rows[i].member);

                ck_assert(method->read && method->run && method->reply && method->action);
        }
}
END_TEST

/* A method without this would wait for a file system on the threads that are left for others. */
START_TEST(what_follows_paths_says_so) {
        ck_assert_uint_ne(manager_method("MountPath")->traits & CALL_FOLLOWS_PATH, 0);
        ck_assert_uint_ne(manager_method("UnmountPath")->traits & CALL_FOLLOWS_PATH, 0);
        ck_assert_uint_ne(manager_method("ListLeases")->traits & CALL_IS_LARGE, 0);
}
END_TEST

int main(void) {
        return SUITE_RUN("manager", refuses_method_without_a_row,
                         asks_for_consent_as_the_table_says, every_row_is_complete,
                         what_follows_paths_says_so);
}
