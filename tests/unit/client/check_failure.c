/* SPDX-License-Identifier: Apache-2.0 */

#include "client/failure.h"

#include "client/mountat.h"
#include "tests/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ERRNO_MAX = 4095 }; /* the kernel's */

/* The table of libmountat(3). */
static const struct {
        uint32_t status;
        int error;
        const char *name;
} statuses[] = {
        {STATUS_MALFORMED, EINVAL, "malformed"},
        {STATUS_UNSUPPORTED_VERSION, EPROTONOSUPPORT, "unsupported-version"},
        {STATUS_UNKNOWN_OPERATION, ENOSYS, "unknown-operation"},
        {STATUS_WRONG_FD_COUNT, EINVAL, "wrong-fd-count"},
        {STATUS_NOT_A_DIRECTORY, ENOTDIR, "not-a-directory"},
        {STATUS_NOT_AUTHORISED, EPERM, "not-authorised"},
        {STATUS_WRONG_NAME, EINVAL, "wrong-name"},
        {STATUS_ALREADY_MOUNTED, EBUSY, "already-mounted"},
        {STATUS_FOREIGN_NAMESPACE, EXDEV, "foreign-namespace"},
        {STATUS_LIMIT_EXCEEDED, EDQUOT, "limit-exceeded"},
        {STATUS_NO_SUCH_LEASE, ENOENT, "no-such-lease"},
        {STATUS_HOST_FAILED, EIO, "host-failed"},
        {STATUS_SHUTTING_DOWN, ESHUTDOWN, "shutting-down"},
        {STATUS_TARGET_VANISHED, ESTALE, "target-vanished"},
        {STATUS_UNSUPPORTED_FILE_SYSTEM, EOPNOTSUPP, "unsupported-file-system"},
};

enum { N_STATUSES = sizeof(statuses) / sizeof(statuses[0]) };

/* What was there before must not show through. */
static struct failure stale(void) {
        struct failure failure;

        memset(&failure, 'x', sizeof(failure));
        return failure;
}

START_TEST(the_table_has_every_status) {
        ck_assert_uint_eq(N_STATUSES, STATUS_MAX - 1);
}
END_TEST

START_TEST(nothing_is_left_after_a_success) {
        struct failure failure = stale();

        failure_clear(&failure);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_OK);
        ck_assert_int_eq(failure.error, 0);
        ck_assert_uint_eq(failure.target, MOUNTAT_NO_TARGET);
        ck_assert_str_eq(failure.text, "");
        ck_assert_str_eq(failure_name(&failure), "ok");
}
END_TEST

START_TEST(a_failure_of_this_process_has_its_errno_and_sentence) {
        struct failure failure = stale();

        ck_assert_int_eq(failure_client(&failure, EMFILE, 3, "cannot open %s: %d", "it", 7),
                         -EMFILE);
        ck_assert_int_eq(failure.status, MOUNTAT_STATUS_CLIENT_FAILED);
        ck_assert_int_eq(failure.error, EMFILE);
        ck_assert_uint_eq(failure.target, 3);
        ck_assert_str_eq(failure.text, "cannot open it: 7");
        ck_assert_str_eq(failure_name(&failure), "client-failed");
}
END_TEST

START_TEST(a_status_seen_here_is_told_as_the_daemons) {
        for (unsigned i = 0; i < N_STATUSES; i++) {
                struct failure failure = stale();

                ck_assert_int_eq(failure_status(&failure, statuses[i].status, MOUNTAT_NO_TARGET,
                                                "%s", statuses[i].name),
                                 -statuses[i].error);
                ck_assert_int_eq(failure.status, (int)statuses[i].status);
                ck_assert_int_eq(failure.error, statuses[i].error);
                ck_assert_uint_eq(failure.target, MOUNTAT_NO_TARGET);
                ck_assert_str_eq(failure.text, statuses[i].name);
                ck_assert_str_eq(failure_name(&failure), statuses[i].name);
        }
}
END_TEST

START_TEST(a_sentence_that_is_too_long_is_cut) {
        struct failure failure = stale();
        char text[2 * sizeof(failure.text)];

        memset(text, 'a', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        failure_client(&failure, EINVAL, 0, "%s", text);
        ck_assert_uint_eq(strlen(failure.text), sizeof(failure.text) - 1);
        failure_status(&failure, STATUS_MALFORMED, 0, "%s", text);
        ck_assert_uint_eq(strlen(failure.text), sizeof(failure.text) - 1);
        ck_assert_int_eq(failure.error, EINVAL);
}
END_TEST

START_TEST(a_refusal_without_a_text_has_its_status_sentence) {
        for (unsigned i = 0; i < N_STATUSES; i++) {
                const struct wire_reply reply = {.status = statuses[i].status};
                struct failure failure = stale();

                ck_assert_int_eq(failure_reply(&failure, &reply, 1), -statuses[i].error);
                ck_assert_int_eq(failure.status, (int)statuses[i].status);
                ck_assert_int_eq(failure.error, statuses[i].error);
                ck_assert_str_eq(failure.text, status_sentence(statuses[i].status));
                ck_assert_str_eq(failure_name(&failure), statuses[i].name);
        }
}
END_TEST

START_TEST(a_newer_daemons_status_is_a_protocol_error) {
        static const struct {
                uint32_t status;
                int32_t told;
        } cases[] = {
                {STATUS_MAX, STATUS_MAX},
                {INT32_MAX, INT32_MAX},
                {INT32_MAX + 1U, INT32_MAX},
                {UINT32_MAX, INT32_MAX}, /* and not MOUNTAT_STATUS_CLIENT_FAILED */
        };

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const struct wire_reply reply = {.status = cases[i].status, .error = ENOSPC};
                struct failure failure = stale();

                ck_assert_int_eq(failure_reply(&failure, &reply, 1), -EPROTO);
                ck_assert_int_eq(failure.status, cases[i].told);
                ck_assert_str_eq(failure_name(&failure), "unknown-status");
                ck_assert_str_ne(failure.text, "");
        }
}
END_TEST

/* The errno of another status is none, and one that no kernel has would be a success to a caller.
 */
START_TEST(the_hosts_errno_is_taken_if_it_is_one) {
        static const struct {
                uint32_t status, host;
                int error;
        } cases[] = {
                {STATUS_HOST_FAILED, 0, EIO},
                {STATUS_HOST_FAILED, 1, EPERM},
                {STATUS_HOST_FAILED, ENOSPC, ENOSPC},
                {STATUS_HOST_FAILED, ERRNO_MAX, ERRNO_MAX},
                {STATUS_HOST_FAILED, ERRNO_MAX + 1, EIO},
                {STATUS_HOST_FAILED, INT32_MAX + 1U, EIO},
                {STATUS_HOST_FAILED, UINT32_MAX, EIO},
                {STATUS_NOT_AUTHORISED, ENOSPC, EPERM},
        };

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const struct wire_reply reply = {.status = cases[i].status, .error = cases[i].host};
                struct failure failure = stale();

                ck_assert_int_eq(failure_reply(&failure, &reply, 1), -cases[i].error);
                ck_assert_int_eq(failure.error, cases[i].error);
        }
}
END_TEST

START_TEST(a_target_is_one_of_the_requests_or_none) {
        static const struct {
                uint32_t target, count, told;
        } cases[] = {
                {0, 1, 0},
                {1, 2, 1},
                {2, 2, MOUNTAT_NO_TARGET},
                {0, 0, MOUNTAT_NO_TARGET},
                {STATUS_NO_TARGET, MOUNTAT_TARGETS_MAX, MOUNTAT_NO_TARGET},
        };

        for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                const struct wire_reply reply = {
                        .status = STATUS_WRONG_NAME,
                        .target = cases[i].target,
                };
                struct failure failure = stale();

                failure_reply(&failure, &reply, cases[i].count);
                ck_assert_uint_eq(failure.target, cases[i].told);
        }
}
END_TEST

START_TEST(the_daemons_text_is_printable) {
        const struct wire_reply reply = {
                .status = STATUS_WRONG_NAME,
                .text = "a\x1b[31m\n\xff \xc3\xa9",
        };
        struct failure failure = stale();

        failure_reply(&failure, &reply, 1);
        ck_assert_str_eq(failure.text, "a\\x1b[31m\\x0a\\xff \xc3\xa9");
}
END_TEST

/* Escapes are four times as long as what they stand for. */
START_TEST(the_longest_text_is_cut_before_an_escape) {
        struct wire_reply reply = {.status = STATUS_WRONG_NAME};
        struct failure failure = stale();
        size_t length;

        memset(reply.text, '\n', PROTOCOL_TEXT_MAX);
        failure_reply(&failure, &reply, 1);
        length = strlen(failure.text);
        ck_assert_uint_gt(length, sizeof(failure.text) - 5);
        ck_assert_str_eq(failure.text + length - 4, "\\x0a");
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "failure", the_table_has_every_status, nothing_is_left_after_a_success,
                a_failure_of_this_process_has_its_errno_and_sentence,
                a_status_seen_here_is_told_as_the_daemons, a_sentence_that_is_too_long_is_cut,
                a_refusal_without_a_text_has_its_status_sentence,
                a_newer_daemons_status_is_a_protocol_error, the_hosts_errno_is_taken_if_it_is_one,
                a_target_is_one_of_the_requests_or_none, the_daemons_text_is_printable,
                the_longest_text_is_cut_before_an_escape);
}
