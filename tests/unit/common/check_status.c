/* SPDX-License-Identifier: Apache-2.0 */

#include "common/status.h"

#include "common/protocol.h"
#include "common/text.h"
#include "tests/test.h"

#include <errno.h>
#include <string.h>

/* The protocol's numbers and names, written a second time: they may never change. */
static const struct {
        uint32_t status;
        const char *name;
} names[] = {
        {0, "ok"},
        {1, "malformed"},
        {2, "unsupported-version"},
        {3, "unknown-operation"},
        {4, "wrong-fd-count"},
        {5, "not-a-directory"},
        {6, "not-authorised"},
        {7, "wrong-name"},
        {8, "already-mounted"},
        {9, "foreign-namespace"},
        {10, "limit-exceeded"},
        {11, "no-such-lease"},
        {12, "host-failed"},
        {13, "shutting-down"},
        {14, "target-vanished"},
        {15, "unsupported-file-system"},
};

START_TEST(names_every_status_of_the_protocol) {
        ck_assert_uint_eq(STATUS_MAX, sizeof(names) / sizeof(names[0]));
        for (size_t i = 0; i < STATUS_MAX; i++)
                ck_assert_str_eq(status_name(names[i].status), names[i].name);
}
END_TEST

START_TEST(names_what_it_does_not_know) {
        static const uint32_t unknown[] = {STATUS_MAX, STATUS_MAX + 1, 0x80000000, UINT32_MAX};

        for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
                ck_assert_str_eq(status_name(unknown[i]), "unknown-status");
                ck_assert_str_eq(status_sentence(unknown[i]), "unknown status");
        }
}
END_TEST

START_TEST(has_a_sentence_for_each_that_fits_into_a_reply) {
        for (uint32_t i = 0; i < STATUS_MAX; i++) {
                size_t length = strlen(status_sentence(i));

                ck_assert_uint_gt(length, 3);
                ck_assert_uint_eq(text_cut(status_sentence(i), PROTOCOL_TEXT_MAX), length);
                for (uint32_t j = 0; j < i; j++)
                        ck_assert_str_ne(status_sentence(i), status_sentence(j));
        }
}
END_TEST

START_TEST(refusal_carries_no_errno_and_no_text) {
        struct verdict verdict = verdict_refuse(STATUS_WRONG_NAME, 3);

        ck_assert_uint_eq(verdict.status, STATUS_WRONG_NAME);
        ck_assert_uint_eq(verdict.target, 3);
        ck_assert_int_eq(verdict.error, 0);
        ck_assert_str_eq(verdict.text, "");
}
END_TEST

START_TEST(explained_refusal_carries_its_own_text) {
        struct verdict verdict = verdict_explain(STATUS_MALFORMED, 2, "100% wrong");

        ck_assert_uint_eq(verdict.status, STATUS_MALFORMED);
        ck_assert_uint_eq(verdict.target, 2);
        ck_assert_int_eq(verdict.error, 0);
        ck_assert_str_eq(verdict.text, "100% wrong");
}
END_TEST

START_TEST(failure_of_the_host_carries_its_errno_and_text) {
        struct verdict verdict = verdict_host_failed(-ENOSPC, STATUS_NO_TARGET);

        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_uint_eq(verdict.target, UINT32_MAX);
        ck_assert_int_eq(verdict.error, ENOSPC);
        ck_assert_str_eq(verdict.text, "the host refused: No space left on device");

        verdict = verdict_host_failed(-99999, 0);
        ck_assert_int_eq(verdict.error, 99999);
        ck_assert_str_eq(verdict.text, "the host refused: unknown error");
}
END_TEST

START_TEST(success_names_no_target) {
        struct verdict verdict = VERDICT_OK;

        ck_assert_uint_eq(verdict.status, STATUS_OK);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
}
END_TEST

START_TEST(text_of_a_verdict_is_as_large_as_that_of_a_reply) {
        ck_assert_uint_eq(sizeof(((struct verdict *)NULL)->text), PROTOCOL_TEXT_MAX + 1);
}
END_TEST

int main(void) {
        return SUITE_RUN("status", names_every_status_of_the_protocol, names_what_it_does_not_know,
                         has_a_sentence_for_each_that_fits_into_a_reply,
                         refusal_carries_no_errno_and_no_text,
                         explained_refusal_carries_its_own_text,
                         failure_of_the_host_carries_its_errno_and_text, success_names_no_target,
                         text_of_a_verdict_is_as_large_as_that_of_a_reply);
}
