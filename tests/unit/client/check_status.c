/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In an order of their own, with what a later version may have. */
static int answer_all(sd_bus_message *call) {
        return sd_bus_reply_method_return(
                call, "a{sv}", 15, "MaxTargets", "u", 16, "Later", "(sa{sv})", "x", 0, "Version",
                "s", "mountatd 0.2", "Features", "as", 2, "keep", "dev", "Leases", "u", 1,
                "Connections", "u", 2, "MountsTotal", "t", UINT64_MAX, "FailuresTotal", "t",
                UINT64_C(0), "MaxConnections", "u", 2048, "MaxConnectionsPerUser", "u", 512,
                "MaxNamespacesPerUser", "u", 64, "MaxMounts", "u", UINT32_MAX, "MaxMountsPerUser",
                "u", 2048, "BuildDirectories", "a(su)", 0, "Last", "b", 1);
}

static int answer_nothing(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "a{sv}", 0);
}

static void expect_status(int status, const char *output) {
        ck_assert_str_eq(captured.errors, "");
        ck_assert_str_eq(captured.output, output);
        ck_assert_int_eq(status, 0);
}

START_TEST(each_property_has_a_line) {
        bus_peer_start(answer_all);
        expect_status(CTL(command_status, NULL),
                      "                   Version: mountatd 0.2\n"
                      "                  Features: keep,dev\n"
                      "                    Leases: 1\n"
                      "               Connections: 2\n"
                      "    Mounts since the start: 18446744073709551615\n"
                      "         Refused or failed: 0\n"
                      "      Connections, at most: 2048\n"
                      "               Of one user: 512\n"
                      "In namespaces, of one user: 64\n"
                      "           Mounts, at most: 4294967295\n"
                      "               Of one user: 2048\n"
                      "       Targets per request: 16\n"
                      "         Build directories: none\n");
}
END_TEST

START_TEST(json_has_a_key_for_each_property) {
        bus_peer_start(answer_all);
        expect_status(CTL(command_status, "--json=short"),
                      "{\"Version\":\"mountatd 0.2\",\"Features\":[\"keep\",\"dev\"],\"Leases\":1,"
                      "\"Connections\":2,\"MountsTotal\":18446744073709551615,"
                      "\"FailuresTotal\":0,\"MaxConnections\":2048,\"MaxConnectionsPerUser\":512,"
                      "\"MaxNamespacesPerUser\":64,\"MaxMounts\":4294967295,"
                      "\"MaxMountsPerUser\":2048,\"MaxTargets\":16,"
                      "\"BuildDirectories\":\"none\"}\n");
}
END_TEST

/* As of an older daemon. */
START_TEST(what_the_daemon_does_not_tell_is_none) {
        bus_peer_start(answer_nothing);
        expect_status(CTL(command_status, "--json=short"),
                      "{\"Version\":\"-\",\"Features\":[],\"Leases\":null,\"Connections\":null,"
                      "\"MountsTotal\":null,\"FailuresTotal\":null,\"MaxConnections\":null,"
                      "\"MaxConnectionsPerUser\":null,\"MaxNamespacesPerUser\":null,"
                      "\"MaxMounts\":null,\"MaxMountsPerUser\":null,\"MaxTargets\":null,"
                      "\"BuildDirectories\":\"-\"}\n");
}
END_TEST

/* ---- build directories ---- */

static int answer_directories(sd_bus_message *call) {
        char there[128], file[128], missing[128];

        snprintf(there, sizeof(there), "%s/root", scripted.dir);
        snprintf(file, sizeof(file), "%s/socket", scripted.dir);
        snprintf(missing, sizeof(missing), "%s/\x1b[2J", scripted.dir);
        return sd_bus_reply_method_return(call, "a{sv}", 1, "BuildDirectories", "a(su)", 3, there,
                                          UINT32_MAX, file, 1000, missing, 0);
}

START_TEST(directories_are_told_with_their_user_and_what_is_wrong_with_them) {
        char expected[512];

        bus_peer_start(answer_directories);
        ck_assert_int_eq(CTL(command_status, NULL), 0);
        snprintf(expected, sizeof(expected),
                 "Build directories: %s/root, %s/socket:1000 (isn't a directory), "
                 "%s/\\x1b[2J:0 (isn't there)\n",
                 scripted.dir, scripted.dir, scripted.dir);
        ck_assert_msg(strstr(captured.output, expected) != NULL, "%s", captured.output);
}
END_TEST

static int answer_many_directories(sd_bus_message *call) {
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;

        peer_check(sd_bus_message_new_method_return(call, &reply) >= 0);
        peer_check(sd_bus_message_open_container(reply, 'a', "{sv}") >= 0);
        peer_check(sd_bus_message_open_container(reply, 'e', "sv") >= 0);
        peer_check(sd_bus_message_append(reply, "s", "BuildDirectories") >= 0);
        peer_check(sd_bus_message_open_container(reply, 'v', "a(su)") >= 0);
        peer_check(sd_bus_message_open_container(reply, 'a', "(su)") >= 0);
        for (uint32_t i = 0; i < 1000; i++)
                peer_check(sd_bus_message_append(reply, "(su)", "/var/lib/buildbarn", i) >= 0);
        for (int i = 0; i < 3; i++)
                peer_check(sd_bus_message_close_container(reply) >= 0);
        peer_check(sd_bus_message_append(reply, "{sv}", "MaxTargets", "u", 16) >= 0);
        peer_check(sd_bus_message_close_container(reply) >= 0);
        return sd_bus_send(NULL, reply, NULL);
}

START_TEST(directories_beyond_the_room_are_cut_and_read_over) {
        bus_peer_start(answer_many_directories);
        ck_assert_int_eq(CTL(command_status, NULL), 0);
        ck_assert_ptr_nonnull(strstr(captured.output, "Targets per request: 16\n"));
        ck_assert_ptr_nonnull(strstr(captured.output, "/var/lib/buildbarn:200"));
        ck_assert_ptr_null(strstr(captured.output, "/var/lib/buildbarn:999"));
}
END_TEST

/* ---- failures ---- */

static int answer_another_type(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "a{sv}", 1, "Leases", "b", 1);
}

static int answer_nonsense(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "as", 1, "Leases");
}

START_TEST(an_answer_that_is_none_is_a_failure) {
        bus_peer_serve *const serves[] = {answer_another_type, answer_nonsense};

        for (size_t i = 0; i < N_ELEMENTS(serves); i++) {
                bus_peer_start(serves[i]);
                ck_assert_int_eq(CTL(command_status, NULL), COMMAND_FAILED);
                ck_assert_str_eq(captured.output, "");
                ck_assert_str_ne(captured.errors, "");
        }
}
END_TEST

START_TEST(that_there_is_no_bus_is_told) {
        ck_assert_int_eq(CTL(command_status, NULL), COMMAND_FAILED);
        ck_assert_str_eq(captured.output, "");
        expect_errors("system bus");
}
END_TEST

static int status_to_nobody(const struct arguments *arguments) {
        return ctl_to_full_device(command_status, arguments);
}

START_TEST(a_status_that_cannot_be_written_is_a_failure) {
        bus_peer_start(answer_all);
        ck_assert_int_eq(CTL(status_to_nobody, NULL), COMMAND_FAILED);
        ck_assert_str_ne(captured.errors, "");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("status");
        TCase *tests = scripted_case(suite, "status");

        tcase_add_test(tests, each_property_has_a_line);
        tcase_add_test(tests, json_has_a_key_for_each_property);
        tcase_add_test(tests, what_the_daemon_does_not_tell_is_none);
        tcase_add_test(tests, directories_are_told_with_their_user_and_what_is_wrong_with_them);
        tcase_add_test(tests, directories_beyond_the_room_are_cut_and_read_over);
        tcase_add_test(tests, an_answer_that_is_none_is_a_failure);
        tcase_add_test(tests, that_there_is_no_bus_is_told);
        tcase_add_test(tests, a_status_that_cannot_be_written_is_a_failure);
        return suite_run_all(suite);
}
