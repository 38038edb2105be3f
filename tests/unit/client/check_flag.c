/* SPDX-License-Identifier: Apache-2.0 */

#include "client/flag.h"

#include "tests/test.h"

static const struct {
        uint32_t file_system, flag;
} known[] = {
        {PROTOCOL_PROC, MOUNTAT_PROC},
        {PROTOCOL_SYSFS, MOUNTAT_SYSFS},
        {PROTOCOL_DEV, MOUNTAT_DEV},
};

enum { N_KNOWN = sizeof(known) / sizeof(known[0]) };

START_TEST(each_file_system_has_a_flag) {
        for (unsigned i = 0; i < N_KNOWN; i++)
                ck_assert_uint_eq(flag_of(known[i].file_system), known[i].flag);
}
END_TEST

START_TEST(other_numbers_have_none) {
        static const uint32_t numbers[] = {0, FLAG_LAST + 1, 255, UINT32_MAX};

        for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
                ck_assert_uint_eq(flag_of(numbers[i]), 0);
}
END_TEST

/* Who goes from the first to the last meets each once, and no other flag. */
START_TEST(the_range_has_them_all) {
        uint32_t flags = 0;

        for (uint32_t i = FLAG_FIRST; i <= FLAG_LAST; i++) {
                ck_assert_uint_ne(flag_of(i), 0);
                ck_assert_uint_eq(flags & flag_of(i), 0);
                flags |= flag_of(i);
        }
        ck_assert_uint_eq(flags, FLAG_FILE_SYSTEMS);
        ck_assert_uint_eq(FLAG_COUNT, N_KNOWN);
}
END_TEST

int main(void) {
        return SUITE_RUN("flag", each_file_system_has_a_flag, other_numbers_have_none,
                         the_range_has_them_all);
}
