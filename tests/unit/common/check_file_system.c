/* SPDX-License-Identifier: Apache-2.0 */

#include "common/file_system.h"

#include "common/protocol.h"
#include "tests/test.h"

static const struct {
        uint32_t number;
        const char *name, *directory;
} known[] = {
        {PROTOCOL_PROC, "proc", "proc"},
        {PROTOCOL_SYSFS, "sysfs", "sys"},
        {PROTOCOL_DEV, "dev", "dev"},
};

enum { N_KNOWN = sizeof(known) / sizeof(known[0]) };

START_TEST(each_has_a_name_and_a_directory) {
        for (size_t i = 0; i < N_KNOWN; i++) {
                ck_assert_str_eq(file_system_name(known[i].number), known[i].name);
                ck_assert_str_eq(file_system_directory(known[i].number), known[i].directory);
                ck_assert_uint_eq(file_system_from_name(known[i].name), known[i].number);
        }
}
END_TEST

START_TEST(others_are_unknown) {
        static const uint32_t numbers[] = {0, N_KNOWN + 1, 255, 256, UINT32_MAX};
        static const char *const names[] = {"", "sys", "devtmpfs", "Proc", "proc ", "p"};

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                ck_assert_ptr_null(file_system_name(numbers[i]));
                ck_assert_ptr_null(file_system_directory(numbers[i]));
        }
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_uint_eq(file_system_from_name(names[i]), 0);
}
END_TEST

int main(void) {
        return SUITE_RUN("file_system", each_has_a_name_and_a_directory, others_are_unknown);
}
