/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/log.h"

#include "tests/fixtures/skip.h"
#include "tests/fixtures/suite.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Standard error goes to a file in memory from here on; the process is the test's own. */
static int capture(void) {
        int fd = memfd_create("stderr", MFD_CLOEXEC);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
        setvbuf(stderr, NULL, _IONBF, 0);
        return fd;
}

/* What has been written since the last time. */
static const char *captured(int fd) {
        static char text[65536];
        ssize_t length = pread(fd, text, sizeof(text) - 1, 0);

        ck_assert_int_ge(length, 0);
        text[length] = '\0';
        ck_assert_int_eq(ftruncate(fd, 0), 0);
        lseek(fd, 0, SEEK_SET);
        return text;
}

static unsigned count_lines(const char *text) {
        unsigned lines = 0;

        for (; *text; text++)
                lines += *text == '\n';
        return lines;
}

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

static const struct {
        struct log_subject subject;
        const char *line;
} subjects[] = {
        {{0}, "message"},
        {{.has_peer = true, .uid = 1000, .pid = 42}, "uid 1000 (pid 42): message"},
        {{.has_peer = true}, "uid 0 (pid 0): message"},
        {{.operation = "mount"}, "mount: message"},
        {{.target = "/r/proc"}, "message: /r/proc"},
        {{.error = -ENOENT}, "message: No such file or directory"},
        {{.error = -99999}, "message: unknown error"},
        {{.lease = 7}, "message"}, /* a field, not a part of the sentence */
        {{.target = "/a\n\x1b[2J\xff\\b"}, "message: /a\\x0a\\x1b[2J\\xff\\x5cb"},
        {{.target = ""}, "message"},
        {{.has_peer = true,
          .uid = 4294967294,
          .pid = 4194304,
          .operation = "unmount",
          .target = "/r/sys",
          .error = -EPERM},
         "uid 4294967294 (pid 4194304): unmount: message: /r/sys: Operation not permitted"},
};

START_TEST(writes_one_line_of_what_is_known) {
        int fd = capture();

        log_open(LOG_INFO);
        for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
                char wanted[256];

                log_write(LOG_INFO, &subjects[i].subject, "%s", "message");
                snprintf(wanted, sizeof(wanted), "%s: %s\n", program_invocation_short_name,
                         subjects[i].line);
                ck_assert_str_eq(captured(fd), wanted);
        }
}
END_TEST

START_TEST(long_text_is_cut_and_still_one_line) {
        static char target[5000], message[5000];
        struct log_subject subject = {.has_peer = true, .target = target, .error = -EIO};
        int fd = capture();
        const char *text;

        log_open(LOG_INFO);
        memset(target, '\n', sizeof(target) - 1);
        memset(message, 'm', sizeof(message) - 1);
        log_write(LOG_INFO, &subject, "%s", message);
        text = captured(fd);
        ck_assert_uint_eq(count_lines(text), 1);
        ck_assert_uint_lt(strlen(text), 1200);
        ck_assert_uint_gt(strlen(text), 900);
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

/* ---- the journal ---- */

/* A socket where the journal's would be, in a mount namespace of our own; -1: can't. */
static int journal_new(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX,
                                      .sun_path = "/run/systemd/journal/socket"};
        int fd;

        if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", "none", MS_REC | MS_PRIVATE, NULL) < 0)
                return -1;
        ck_assert_int_eq(mount("none", "/run", "tmpfs", 0, NULL), 0);
        ck_assert_int_eq(mkdir("/run/systemd", 0755), 0);
        ck_assert_int_eq(mkdir("/run/systemd/journal", 0755), 0);
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static void set_journal_stream(int offset) {
        struct stat stat;
        char text[64];

        ck_assert_int_eq(fstat(STDERR_FILENO, &stat), 0);
        snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)stat.st_dev,
                 (unsigned long long)stat.st_ino + offset);
        ck_assert_int_eq(setenv("JOURNAL_STREAM", text, 1), 0);
}

START_TEST(writes_to_the_journal_with_fields_where_stderr_is_its) {
        static const char *const wanted[] = {
                ("MESSAGE=uid 1000 (pid 42): mount: message: /a\\x0aMESSAGE=forged: Input/output "
                 "error\n"),
                "PRIORITY=4\n",
                "SYSLOG_IDENTIFIER=check_log\n",
                "MESSAGE_ID=a057c7bcc4a44a459a86d32ce816b41c\n",
                "MOUNTAT_OPERATION=mount\n",
                "MOUNTAT_LEASE=00000000000000ff\n",
                "MOUNTAT_PEER_UID=1000\n",
                "MOUNTAT_PEER_PID=42\n",
                "MOUNTAT_TARGET=/a\\x0aMESSAGE=forged\n",
                "ERRNO=5\n",
        };
        struct log_subject subject = {.event = LOG_EVENT_HOST_FAILED,
                                      .has_peer = true,
                                      .uid = 1000,
                                      .pid = 42,
                                      .operation = "mount",
                                      .target = "/a\nMESSAGE=forged",
                                      .lease = 255,
                                      .error = -EIO};
        int fd = capture(), journal = journal_new();
        char text[8192];
        ssize_t length;

        if (journal < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        set_journal_stream(0);
        log_open(LOG_INFO);
        log_write(LOG_WARNING, &subject, "message");
        ck_assert_str_eq(captured(fd), "");
        length = recv(journal, text, sizeof(text) - 1, 0);
        ck_assert_int_gt(length, 0);
        text[length] = '\0';
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
                ck_assert_msg(strstr(text, wanted[i]), "%s is missing in\n%s", wanted[i], text);

        ck_assert_ptr_null(strstr(text, "CODE_FILE=")); /* always the same, and of the build */

        log_write(LOG_INFO, NULL, "message");
        length = recv(journal, text, sizeof(text) - 1, 0);
        ck_assert_int_gt(length, 0);
        text[length] = '\0';
        ck_assert_ptr_nonnull(strstr(text, "MESSAGE=message\n"));
        ck_assert_ptr_null(strstr(text, "MOUNTAT_")); /* what isn't known isn't there */
        ck_assert_ptr_null(strstr(text, "MESSAGE_ID="));
        ck_assert_ptr_null(strstr(text, "ERRNO="));
}
END_TEST

START_TEST(stderr_that_is_not_the_journals_gets_text) {
        int fd = capture(), journal = journal_new();
        char byte;

        if (journal < 0)
                test_skip("a mount namespace of its own needs CAP_SYS_ADMIN");
        set_journal_stream(1);
        log_open(LOG_INFO);
        log_write(LOG_INFO, NULL, "message");
        ck_assert_uint_eq(count_lines(captured(fd)), 1);
        ck_assert_int_eq(recv(journal, &byte, 1, 0), -1);
}
END_TEST

int main(void) {
        return SUITE_RUN("log", knows_the_names_of_the_levels, writes_up_to_its_level,
                         writes_one_line_of_what_is_known, long_text_is_cut_and_still_one_line,
                         limits_what_clients_can_cause_and_nothing_else,
                         line_that_is_not_written_does_not_count,
                         writes_to_the_journal_with_fields_where_stderr_is_its,
                         stderr_that_is_not_the_journals_gets_text);
}
