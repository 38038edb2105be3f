/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/log_line.h"

#include "tests/test.h"
#include "tests/unit/daemon/log_capture.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>

static void __attribute__((format(printf, 3, 4)))
write_line(int priority, const struct log_subject *subject, const char *format, ...) {
        struct log_line line = {.priority = priority};
        va_list arguments;

        va_start(arguments, format);
        log_line_compose(&line, subject, format, arguments);
        va_end(arguments);
        log_line_write(&line);
}

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

        for (size_t i = 0; i < sizeof(subjects) / sizeof(subjects[0]); i++) {
                char wanted[256];

                write_line(LOG_INFO, &subjects[i].subject, "%s", "message");
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

        memset(target, '\n', sizeof(target) - 1);
        memset(message, 'm', sizeof(message) - 1);
        write_line(LOG_INFO, &subject, "%s", message);
        text = captured(fd);
        ck_assert_uint_eq(count_lines(text), 1);
        ck_assert_uint_lt(strlen(text), 1200);
        ck_assert_uint_gt(strlen(text), 900);
}
END_TEST

/* A text of `size` bytes is cut to `kept` bytes, without effect on what follows. */
static const struct {
        size_t size, kept;
} sizes[] = {
        {0, 0},
        {1, 1},
        {LOG_MESSAGE_SIZE - 2, LOG_MESSAGE_SIZE - 2},
        {LOG_MESSAGE_SIZE - 1, LOG_MESSAGE_SIZE - 1},
        {LOG_MESSAGE_SIZE, LOG_MESSAGE_SIZE - 1},
        {LOG_MESSAGE_SIZE + 1, LOG_MESSAGE_SIZE - 1},
        {4 * LOG_MESSAGE_SIZE, LOG_MESSAGE_SIZE - 1},
};

static const char *repeat(char character, size_t size) {
        static char texts[2][4 * LOG_MESSAGE_SIZE + 1];
        char *text = texts[character == 't'];

        memset(text, character, size);
        text[size] = '\0';
        return text;
}

START_TEST(texts_are_cut_at_their_sizes_and_nothing_else_is) {
        const unsigned n_sizes = sizeof(sizes) / sizeof(sizes[0]);
        int fd = capture();

        ck_assert_int_eq(LOG_TARGET_SIZE, LOG_MESSAGE_SIZE);
        for (unsigned i = 0; i < n_sizes * n_sizes; i++) {
                size_t message = i / n_sizes, target = i % n_sizes;
                struct log_subject subject = {.has_peer = true,
                                              .uid = 4294967295,
                                              .pid = 2147483647,
                                              .operation = "an operation",
                                              .target = repeat('t', sizes[target].size),
                                              .error = -EADDRNOTAVAIL};
                char wanted[2048];

                write_line(LOG_INFO, &subject, "%s", repeat('m', sizes[message].size));
                snprintf(wanted, sizeof(wanted),
                         "%s: uid 4294967295 (pid 2147483647): an operation: %s%s%s: %s\n",
                         program_invocation_short_name, repeat('m', sizes[message].kept),
                         sizes[target].kept > 0 ? ": " : "", repeat('t', sizes[target].kept),
                         strerror(EADDRNOTAVAIL));
                ck_assert_str_eq(captured(fd), wanted);
        }
}
END_TEST

START_TEST(message_is_cut_between_characters) {
        char message[LOG_MESSAGE_SIZE + 1];
        int fd = capture();
        const char *text;

        memset(message, 'm', LOG_MESSAGE_SIZE - 2);
        strcpy(message + LOG_MESSAGE_SIZE - 2, "\xc3\xa4");
        write_line(LOG_INFO, NULL, "%s", message);
        text = captured(fd);
        ck_assert_ptr_nonnull(strstr(text, "mm\n"));
        ck_assert_ptr_null(strchr(text, '\xc3'));
}
END_TEST

/* ---- standard error that accepts only a part ---- */

static void *read_all(void *file) {
        unsigned lines = 0;
        const char *line;

        do {
                line = read_line(file);
                ck_assert_uint_eq(strlen(line), LOG_MESSAGE_SIZE - 1);
        } while (++lines < 100);
        return NULL;
}

/* As a process that shares the file may have made it. */
START_TEST(full_pipe_that_does_not_block_is_waited_for) {
        FILE *file = fdopen(capture_in_pipe(0), "r");
        pthread_t reader;

        ck_assert_int_eq(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK), 0);
        ck_assert_int_eq(pthread_create(&reader, NULL, read_all, file), 0);
        for (unsigned i = 0; i < 100; i++)
                write_line(LOG_INFO, NULL, "%s", repeat('m', LOG_MESSAGE_SIZE));
        ck_assert_int_eq(pthread_join(reader, NULL), 0);
        fclose(file);
}
END_TEST

START_TEST(line_is_one_datagram) {
        int ends[2];
        char text[4096];
        ssize_t length;

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
        dup2(ends[1], STDERR_FILENO);
        write_line(LOG_INFO, &(struct log_subject){.target = repeat('t', LOG_TARGET_SIZE)}, "%s",
                   repeat('m', LOG_MESSAGE_SIZE));
        length = recv(ends[0], text, sizeof(text), MSG_DONTWAIT);
        ck_assert_int_gt(length, LOG_TARGET_SIZE + LOG_MESSAGE_SIZE - 2);
        ck_assert_int_eq(text[length - 1], '\n');
}
END_TEST

START_TEST(broken_pipe_and_closed_file_drop_the_line) {
        sigset_t signals;

        sigemptyset(&signals);
        sigaddset(&signals, SIGPIPE);
        sigprocmask(SIG_BLOCK, &signals, NULL);
        close(capture_in_pipe(0));
        write_line(LOG_INFO, NULL, "message");
        close(STDERR_FILENO);
        write_line(LOG_INFO, NULL, "message");
}
END_TEST

/* ---- the journal ---- */

START_TEST(writes_to_the_journal_with_fields_where_stderr_is_its) {
        static const char *const wanted[] = {
                ("MESSAGE=uid 1000 (pid 42): mount: message: /a\\x0aMESSAGE=forged: Input/output "
                 "error\n"),
                "PRIORITY=4\n",
                "SYSLOG_IDENTIFIER=check_log_line\n",
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
        log_set_target("auto");
        write_line(LOG_WARNING, &subject, "message");
        ck_assert_str_eq(captured(fd), "");
        length = recv(journal, text, sizeof(text) - 1, 0);
        ck_assert_int_gt(length, 0);
        text[length] = '\0';
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
                ck_assert_msg(strstr(text, wanted[i]), "%s is missing in\n%s", wanted[i], text);

        ck_assert_ptr_null(strstr(text, "CODE_FILE=")); /* always the same, with the build's path */

        write_line(LOG_INFO, NULL, "message");
        length = recv(journal, text, sizeof(text) - 1, 0);
        ck_assert_int_gt(length, 0);
        text[length] = '\0';
        ck_assert_ptr_nonnull(strstr(text, "MESSAGE=message\n"));
        ck_assert_ptr_null(strstr(text, "MOUNTAT_")); /* unknown fields are omitted */
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
        log_set_target("auto");
        write_line(LOG_INFO, NULL, "message");
        ck_assert_uint_eq(count_lines(captured(fd)), 1);
        ck_assert_int_eq(recv(journal, &byte, 1, 0), -1);
}
END_TEST

START_TEST(knows_its_targets_by_name) {
        capture(); /* which isn't the journal */
        ck_assert_int_eq(log_set_target("journal"), 0);
        ck_assert_str_eq(log_target(), "journal");
        ck_assert_int_eq(log_set_target("console"), 0);
        ck_assert_str_eq(log_target(), "console");
        ck_assert_int_eq(log_set_target("syslog"), -EINVAL);
        ck_assert_int_eq(log_set_target("journal"), 0);
        ck_assert_int_eq(log_set_target("auto"), 0);
        ck_assert_str_eq(log_target(), "console");
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "log_line", writes_one_line_of_what_is_known, long_text_is_cut_and_still_one_line,
                texts_are_cut_at_their_sizes_and_nothing_else_is, message_is_cut_between_characters,
                full_pipe_that_does_not_block_is_waited_for, line_is_one_datagram,
                broken_pipe_and_closed_file_drop_the_line,
                writes_to_the_journal_with_fields_where_stderr_is_its,
                stderr_that_is_not_the_journals_gets_text, knows_its_targets_by_name);
}
