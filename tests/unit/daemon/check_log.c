/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/log.h"

#include "tests/test.h"
#include "tests/unit/daemon/log_capture.h"
#include "tests/unit/daemon/until.h"

#include <errno.h>
#include <pthread.h>
#include <sys/ioctl.h>

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

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                ck_assert_int_eq(log_level_from_name(names[i].name), names[i].level);
                ck_assert_str_eq(log_level_name(names[i].level), names[i].name);
        }
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

/* 50 lines in a window of 10 seconds: this takes less than a tenth of a second. */
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

/* Otherwise lines of a disabled debug level would use up the budget of others. */
START_TEST(line_that_is_not_written_does_not_count) {
        int fd = capture();

        log_open(LOG_INFO);
        for (unsigned i = 0; i < 500; i++)
                log_write_limited(LOG_DEBUG, NULL, "%u", i);
        log_write_limited(LOG_INFO, NULL, "here");
        ck_assert_uint_eq(count_lines(captured(fd)), 1);
}
END_TEST

/* ---- the log's thread ---- */

/* A series of lines numbered from 0: in order, and each either present or counted. */
static void expect_numbers(FILE *file, unsigned total) {
        unsigned next = 0, here = 0, left_out = 0;

        while (next < total) {
                const char *line = read_line(file);
                unsigned number;
                char rest[64];

                if (sscanf(line, "line %u%63s", &number, rest) == 1) {
                        ck_assert_uint_eq(number, next);
                        next++;
                        here++;
                } else {
                        ck_assert_msg(sscanf(line, "%u lines dropped %63s", &number, rest) == 2,
                                      "%s", line);
                        ck_assert_uint_gt(number, 0);
                        next += number;
                        left_out += number;
                }
        }
        ck_assert_uint_eq(here + left_out, total);
        ck_assert_uint_ge(here, total < LOG_WAITING_MAX / 2 ? total : LOG_WAITING_MAX / 2);
}

static FILE *start_in_pipe(void) {
        FILE *file = fdopen(capture_in_pipe(0), "r");

        ck_assert_ptr_nonnull(file);
        log_open(LOG_DEBUG);
        ck_assert_int_eq(log_start(), 0);
        return file;
}

/* Logs until the log's thread is stuck in a write: the pipe is full. */
static void get_stuck(FILE *file) {
        const int line = LOG_MESSAGE_SIZE - 1; /* 128 of them exceed a pipe of 64 KiB */
        int size = fcntl(fileno(file), F_GETPIPE_SZ), waiting;

        for (unsigned i = 0; i < LOG_WAITING_MAX / 2; i++)
                log_write(LOG_INFO, NULL, "%*s", line, "stuck");
        do
                ck_assert_int_eq(ioctl(fileno(file), FIONREAD, &waiting), 0);
        while (waiting <= size - line);
}

static void get_unstuck(FILE *file) {
        for (unsigned i = 0; i < LOG_WAITING_MAX / 2; i++)
                ck_assert_ptr_nonnull(strstr(read_line(file), "stuck"));
}

START_TEST(lines_come_in_order) {
        FILE *file = start_in_pipe();

        for (unsigned i = 0; i < LOG_WAITING_MAX; i++)
                log_write(LOG_INFO, NULL, "line %u", i);
        expect_numbers(file, LOG_WAITING_MAX);
}
END_TEST

/* A failure would hang here, not just be slow. */
START_TEST(full_pipe_holds_nobody_up_and_what_does_not_fit_is_counted) {
        FILE *file = start_in_pipe();

        for (unsigned round = 0; round < 3; round++) {
                get_stuck(file);
                for (unsigned i = 0; i < 10000; i++)
                        log_write(LOG_INFO, NULL, "line %u", i);
                get_unstuck(file);
                expect_numbers(file, 10000);
        }
        log_write(LOG_INFO, NULL, "and then");
        ck_assert_str_eq(read_line(file), "and then");
}
END_TEST

START_TEST(journal_that_nobody_reads_holds_nobody_up) {
        int journal, file = capture();

        journal = journal_new();
        if (journal < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        set_journal_stream(0);
        log_open(LOG_INFO);
        ck_assert_str_eq(log_target(), "journal");
        ck_assert_int_eq(log_start(), 0);
        for (unsigned i = 0; i < 10000; i++)
                log_write(LOG_INFO, NULL, "line %u", i);
        log_stop();
        ck_assert_str_eq(captured(file), "");
}
END_TEST

START_TEST(line_that_waits_is_a_copy) {
        FILE *file = start_in_pipe();
        char target[] = "/a", message[] = "line 0";
        struct log_subject subject = {.target = target};

        get_stuck(file);
        log_write(LOG_INFO, &subject, "%s", message);
        memset(target, 'x', sizeof(target) - 1);
        memset(message, 'x', sizeof(message) - 1);
        subject = (struct log_subject){.error = -EIO};
        get_unstuck(file);
        ck_assert_str_eq(read_line(file), "line 0: /a");
}
END_TEST

/* ---- the end ---- */

/* On a machine so busy that log_stop() gives up, the lines come a moment later. */
START_TEST(stop_writes_what_waits) {
        int fd = capture();
        struct stat written;
        double begin;
        bool gave_up;

        log_open(LOG_INFO);
        ck_assert_int_eq(log_start(), 0);
        for (unsigned i = 0; i < 10; i++)
                log_write(LOG_INFO, NULL, "line %u", i);
        begin = until_now();
        log_stop();
        gave_up = until_now() - begin >= LOG_STOP_MS / 1000.0;
        UNTIL(!gave_up || (fstat(fd, &written) == 0 && written.st_size >= 10 * 7));
        ck_assert_uint_eq(count_lines(captured(fd)), 10);
        log_write(LOG_EMERG, NULL, "too late");
        log_stop();
        ck_assert_str_eq(captured(fd), "");
}
END_TEST

/* Nor does the end of the process, which is this test's. */
START_TEST(stop_does_not_wait_for_a_reader_that_is_none) {
        FILE *file = start_in_pipe();

        get_stuck(file);
        log_stop();
        for (unsigned i = 0; i < 1000; i++)
                log_write(LOG_INFO, NULL, "too late");
        log_stop();
        ck_assert_ptr_nonnull(strstr(read_line(file), "stuck"));
}
END_TEST

START_TEST(stop_of_a_log_that_was_not_started_changes_nothing) {
        int fd = capture();

        log_open(LOG_INFO);
        log_stop();
        log_write(LOG_INFO, NULL, "line");
        ck_assert_uint_eq(count_lines(captured(fd)), 1);
}
END_TEST

/* ---- the counts of limited lines ---- */

static void log_limited(unsigned clients, unsigned host) {
        for (unsigned i = 0; i < clients; i++)
                log_write_limited(LOG_INFO, NULL, "client");
        for (unsigned i = 0; i < host; i++)
                log_write_limited(LOG_WARNING, NULL, "host");
}

static void expect_limited(FILE *file) {
        for (unsigned i = 0; i < LOG_WINDOW_LINES; i++)
                ck_assert_str_eq(read_line(file), "client");
        for (unsigned i = 0; i < LOG_WINDOW_LINES; i++)
                ck_assert_str_eq(read_line(file), "host");
}

static void expect_counts(FILE *file) {
        ck_assert_str_eq(read_line(file),
                         "10 lines about clients suppressed: at most 50 are logged in 10 s");
        ck_assert_str_eq(read_line(file),
                         "3 warnings and errors suppressed: at most 50 are logged in 10 s");
}

/*
 * Takes the 10 seconds. The level doesn't suppress the count, since it stands for lines that the
 * level allows.
 */
START_TEST(count_is_told_without_a_further_line) {
        FILE *file = start_in_pipe();

        log_limited(LOG_WINDOW_LINES, LOG_WINDOW_LINES);
        expect_limited(file);
        usleep(10000); /* most likely the log's thread sleeps by now, and must be woken */
        log_limited(10, 3);
        log_set_level(LOG_EMERG);
        expect_counts(file);
        log_set_level(LOG_INFO);
        log_write_limited(LOG_INFO, NULL, "again");
        ck_assert_str_eq(read_line(file), "again");
}
END_TEST

START_TEST(stop_tells_the_counts) {
        FILE *file = start_in_pipe();

        log_limited(LOG_WINDOW_LINES + 10, LOG_WINDOW_LINES + 3);
        log_stop();
        expect_limited(file);
        expect_counts(file);
}
END_TEST

START_TEST(stop_tells_the_counts_without_a_thread) {
        FILE *file = fdopen(capture_in_pipe(0), "r");

        log_open(LOG_INFO);
        log_limited(LOG_WINDOW_LINES + 10, LOG_WINDOW_LINES + 3);
        log_stop();
        expect_limited(file);
        expect_counts(file);
}
END_TEST

/* ---- many at once ---- */

enum {
        THREADS = 8,
        LINES = 2000,
};

static void *log_much(void *argument) {
        unsigned thread = *(unsigned *)argument;

        for (unsigned i = 0; i < LINES; i++) {
                log_write(LOG_INFO, NULL, "thread %u line %u", thread, i);
                log_write_limited(LOG_INFO, NULL, "limited");
                if (i % 100 == 0) {
                        log_set_level(i % 200 == 0 ? LOG_DEBUG : LOG_INFO);
                        log_set_target("console");
                }
        }
        return NULL;
}

/* Each line is present or counted, and the lines of one thread are in order. */
static void expect_lines_of_all(FILE *file) {
        unsigned next[THREADS] = {0}, accounted = 0;

        while (accounted < THREADS * LINES) {
                const char *line = read_line(file);
                unsigned thread, number;
                char rest[64];

                if (sscanf(line, "thread %u line %u%63s", &thread, &number, rest) == 2) {
                        ck_assert_uint_lt(thread, THREADS);
                        ck_assert_uint_ge(number, next[thread]);
                        next[thread] = number + 1;
                        accounted++;
                } else if (sscanf(line, "%u lines dropped %63s", &number, rest) == 2) {
                        accounted += number;
                } else {
                        ck_assert_msg(strcmp(line, "limited") == 0 ||
                                              strstr(line, " lines about clients suppressed"),
                                      "%s", line);
                }
        }
}

START_TEST(many_threads_log_at_once) {
        FILE *file = start_in_pipe();
        unsigned numbers[THREADS];
        pthread_t threads[THREADS];

        for (unsigned i = 0; i < THREADS; i++) {
                numbers[i] = i;
                ck_assert_int_eq(pthread_create(&threads[i], NULL, log_much, &numbers[i]), 0);
        }
        expect_lines_of_all(file);
        for (unsigned i = 0; i < THREADS; i++)
                pthread_join(threads[i], NULL);
        log_stop();
}
END_TEST

int main(void) {
        return SUITE_RUN("log", knows_the_names_of_the_levels, writes_up_to_its_level,
                         limits_what_clients_can_cause_and_nothing_else,
                         line_that_is_not_written_does_not_count, lines_come_in_order,
                         full_pipe_holds_nobody_up_and_what_does_not_fit_is_counted,
                         journal_that_nobody_reads_holds_nobody_up, line_that_waits_is_a_copy,
                         stop_writes_what_waits, stop_does_not_wait_for_a_reader_that_is_none,
                         stop_of_a_log_that_was_not_started_changes_nothing,
                         count_is_told_without_a_further_line, stop_tells_the_counts,
                         stop_tells_the_counts_without_a_thread, many_threads_log_at_once);
}
