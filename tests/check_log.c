/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/log.h"

#include "tests/log_capture.h"
#include "tests/suite.h"

#include <errno.h>

static const struct {
        const char *name;
        int level;
} names[] = {
        {"emerg", LOG_EMERG},     {"alert", LOG_ALERT},   {"crit", LOG_CRIT}, {"err", LOG_ERR},
        {"warning", LOG_WARNING}, {"notice", LOG_NOTICE}, {"info", LOG_INFO}, {"debug", LOG_DEBUG},
};

START_TEST(knows_the_names_of_the_levels) {
        static const char *const wrong[] = {"",      "Info", "INFO",  "warn",
                                            "error", "6",    "infos", "inf"};

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                ck_assert_int_eq(log_level_from_name(names[i].name), names[i].level);
        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                ck_assert_int_eq(log_level_from_name(wrong[i]), -EINVAL);
}
END_TEST

START_TEST(writes_up_to_its_level) {
        int fd = capture();

        for (int level = LOG_EMERG; level <= LOG_DEBUG; level++) {
                log_open(level);
                ck_assert_int_eq(log_level(), level);
                for (int priority = LOG_EMERG; priority <= LOG_DEBUG; priority++) {
                        log_write(priority, NULL, "line");
                        ck_assert_uint_eq(count_lines(captured(fd)), priority <= level);
                }
        }
        log_set_level(LOG_ERR);
        log_write_limited(LOG_INFO, NULL, "line");
        ck_assert_str_eq(captured(fd), "");
}
END_TEST

/* 50 lines in a window of 10 seconds: this doesn't take a tenth of a second. */
START_TEST(limits_what_clients_can_cause_and_nothing_else) {
        int fd = capture();

        log_open(LOG_INFO);
        for (unsigned i = 0; i < 500; i++)
                log_write_limited(LOG_INFO, NULL, "%u", i);
        ck_assert_uint_eq(count_lines(captured(fd)), 50);
        for (unsigned i = 0; i < 100; i++)
                log_write(LOG_INFO, NULL, "%u", i);
        ck_assert_uint_eq(count_lines(captured(fd)), 100);
}
END_TEST

/* Else a debug level that is off would use up the lines of the others. */
START_TEST(line_that_is_not_written_does_not_count) {
        int fd = capture();

        log_open(LOG_INFO);
        for (unsigned i = 0; i < 500; i++)
                log_write_limited(LOG_DEBUG, NULL, "%u", i);
        log_write_limited(LOG_INFO, NULL, "here");
        ck_assert_uint_eq(count_lines(captured(fd)), 1);
}
END_TEST

int main(void) {
        return SUITE_RUN("log", knows_the_names_of_the_levels, writes_up_to_its_level,
                         limits_what_clients_can_cause_and_nothing_else,
                         line_that_is_not_written_does_not_count);
}
