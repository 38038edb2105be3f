/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <string.h>

static struct wire_reply greeting; /* the peer's answer */

static void greeting_peer(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_check(request.operation == PROTOCOL_HELLO);
        peer_answer(connection, &request, greeting);
        peer_receive_only(connection);
}

static const struct {
        uint32_t features;
        const char *lines;
} cases[] = {
        {0, ""},
        {PROTOCOL_FEATURE_CLONES, "clones\n"},
        {PROTOCOL_FEATURE_STATMOUNT, "statmount\n"},
        {PROTOCOL_FEATURE_UNIQUE_IDS, "unique-ids\n"},
        {PROTOCOL_FEATURE_PIDS_ONLY, "pids-only\n"},
        {PROTOCOL_FEATURE_ADOPT, "adopt\n"},
        {PROTOCOL_FEATURE_ENTER, "enter\n"},
        {PROTOCOL_FEATURE_KEEP, "keep\n"},
        {PROTOCOL_FEATURE_DEV, "dev\n"},
        {PROTOCOL_FEATURE_CHECK, "check\n"},
        {0x1ff, "clones\nstatmount\nunique-ids\npids-only\nadopt\nenter\nkeep\ndev\ncheck\n"},
        {0x80000200 | PROTOCOL_FEATURE_KEEP, "keep\nunknown 0x80000200\n"},
};

START_TEST(prints_version_and_a_line_per_feature) {
        char expected[256];

        for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
                greeting = (struct wire_reply){.flags = cases[i].features, .text = "mountatd 1.2"};
                ctl_script(greeting_peer);
                ck_assert_int_eq(CTL(command_hello, NULL), 0);
                snprintf(expected, sizeof(expected), "mountatd 1.2\n%s", cases[i].lines);
                ck_assert_str_eq(captured.output, expected);
                ck_assert_str_eq(captured.errors, "");
        }
}
END_TEST

START_TEST(quiet_prints_nothing) {
        greeting = (struct wire_reply){.text = "mountatd 1.2"};
        ctl_script(greeting_peer);
        ck_assert_int_eq(CTL(command_hello, "-q"), 0);
        ck_assert_str_eq(captured.output, "");
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

START_TEST(reports_a_refusal) {
        greeting = (struct wire_reply){.status = STATUS_LIMIT_EXCEEDED, .text = "come again"};
        ctl_script(greeting_peer);
        ck_assert_int_eq(CTL(command_hello, NULL), COMMAND_FAILED);
        ck_assert_str_eq(captured.output, "");
        expect_errors("version: limit-exceeded: come again");
}
END_TEST

START_TEST(reports_a_missing_daemon) {
        scripted_stop();
        ck_assert_int_eq(CTL(command_hello, "--socket", "nowhere"), COMMAND_FAILED);
        expect_errors("nowhere");
        expect_errors("mountatd.socket");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("hello");
        TCase *tests = scripted_case(suite, "hello");

        tcase_add_test(tests, prints_version_and_a_line_per_feature);
        tcase_add_test(tests, quiet_prints_nothing);
        tcase_add_test(tests, reports_a_refusal);
        tcase_add_test(tests, reports_a_missing_daemon);
        return suite_run_all(suite);
}
