/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <unistd.h>

/* The second is in a container; the namespace of the third is unknown. */
static const struct manager_lease leases[] = {
        {.lease = 0x1234567890,
         .uid = 1000,
         .pid = 77,
         .origin = "socket",
         .age = 5,
         .file_systems = "dev",
         .place = "/srv/\\x1b"},
        {.lease = UINT64_MAX,
         .pid = 12345,
         .origin = "kept",
         .age = 100,
         .file_systems = "proc,sysfs",
         .elsewhere = true,
         .namespace = 4026531841,
         .place = "/"},
        {.lease = 1, .uid = 60001, .origin = "bus", .elsewhere = true, .place = ""},
};

static int answer_three(sd_bus_message *call) {
        return bus_peer_reply_leases(call, leases, N_ELEMENTS(leases));
}

static int answer_none(sd_bus_message *call) {
        return bus_peer_reply_leases(call, NULL, 0);
}

static void expect_list(int status, const char *output) {
        ck_assert_str_eq(captured.errors, "");
        ck_assert_str_eq(captured.output, output);
        ck_assert_int_eq(status, 0);
}

START_TEST(prints_a_row_per_lease) {
        bus_peer_start(answer_three);
        expect_list(CTL(command_list, NULL),
                    "LEASE              UID   PID ORIGIN SECONDS MOUNTED     NAMESPACE BELOW\n"
                    "0000001234567890  1000    77 socket       5 dev                 - /srv/\\x1b\n"
                    "ffffffffffffffff     0 12345 kept       100 proc,sysfs 4026531841 /\n"
                    "0000000000000001 60001     0 bus          0                     0 \n"
                    "\n3 leases.\n");
        expect_list(CTL(command_list, "--no-legend"),
                    "0000001234567890  1000    77 socket   5 dev                 - /srv/\\x1b\n"
                    "ffffffffffffffff     0 12345 kept   100 proc,sysfs 4026531841 /\n"
                    "0000000000000001 60001     0 bus      0                     0 \n");
}
END_TEST

START_TEST(json_has_a_key_for_each_column) {
        bus_peer_start(answer_three);
        expect_list(CTL(command_list, "--json=short"),
                    "[{\"lease\":\"0000001234567890\",\"uid\":1000,\"pid\":77,"
                    "\"origin\":\"socket\",\"age\":5,\"file_systems\":[\"dev\"],"
                    "\"mount_namespace\":null,\"place\":\"/srv/\\\\x1b\"},"
                    "{\"lease\":\"ffffffffffffffff\",\"uid\":0,\"pid\":12345,"
                    "\"origin\":\"kept\",\"age\":100,\"file_systems\":[\"proc\",\"sysfs\"],"
                    "\"mount_namespace\":4026531841,\"place\":\"/\"},"
                    "{\"lease\":\"0000000000000001\",\"uid\":60001,\"pid\":0,"
                    "\"origin\":\"bus\",\"age\":0,\"file_systems\":[],"
                    "\"mount_namespace\":0,\"place\":\"\"}]\n");
}
END_TEST

START_TEST(prints_an_empty_list) {
        bus_peer_start(answer_none);
        expect_list(CTL(command_list, NULL),
                    "LEASE UID PID ORIGIN SECONDS MOUNTED NAMESPACE BELOW\n\n0 leases.\n");
        expect_list(CTL(command_list, "--no-legend"), "");
        expect_list(CTL(command_list, "--json=pretty"), "[]\n");
}
END_TEST

/* More leases if an administrator may be asked. */
static int answer_with_consent(sd_bus_message *call) {
        return sd_bus_message_get_allow_interactive_authorization(call) ? answer_three(call)
                                                                        : answer_none(call);
}

START_TEST(all_allows_a_password_dialog) {
        bus_peer_start(answer_with_consent);
        ck_assert_int_eq(CTL(command_list, "--json=short"), 0);
        ck_assert_str_eq(captured.output, "[]\n");
        ck_assert_int_eq(CTL(command_list, "--all", "--json=short"), 0);
        ck_assert_str_ne(captured.output, "[]\n");
}
END_TEST

/* The second lease is malformed. Half a list would look like a whole one. */
static int answer_half(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "a(tuussasta{sv})", 2, UINT64_C(1), 0, 0, "", "bus",
                                          0, UINT64_C(0), 0, UINT64_C(2), 0, 0, "", "bus", 0,
                                          UINT64_C(0), 1, "MountNamespace", "s", "text");
}

START_TEST(prints_nothing_on_failure) {
        bus_peer_start(answer_half);
        ck_assert_int_eq(CTL(command_list, NULL), COMMAND_FAILED);
        ck_assert_str_eq(captured.output, "");
        expect_errors("mountatd's list");
        bus_peer_stop();
        ck_assert_int_eq(CTL(command_list, NULL), COMMAND_FAILED);
        ck_assert_str_eq(captured.output, "");
        expect_errors("system bus");
}
END_TEST

START_TEST(quiet_prints_nothing) {
        bus_peer_start(answer_three);
        expect_list(CTL(command_list, "-q"), "");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("list");
        TCase *tests = scripted_case(suite, "list");

        tcase_add_test(tests, prints_a_row_per_lease);
        tcase_add_test(tests, json_has_a_key_for_each_column);
        tcase_add_test(tests, prints_an_empty_list);
        tcase_add_test(tests, all_allows_a_password_dialog);
        tcase_add_test(tests, prints_nothing_on_failure);
        tcase_add_test(tests, quiet_prints_nothing);
        return suite_run_all(suite);
}
