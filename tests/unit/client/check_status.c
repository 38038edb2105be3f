/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In another order than is printed, with unknown properties. */
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

static void expect_output(const char *part) {
        ck_assert_msg(strstr(captured.output, part) != NULL, "no \"%s\" in: %s", part,
                      captured.output);
}

static void expect_status(int status, const char *output) {
        ck_assert_str_eq(captured.errors, "");
        ck_assert_str_eq(captured.output, output);
        ck_assert_int_eq(status, 0);
}

/* The colons are aligned. */
START_TEST(prints_a_line_per_property) {
        static const char *const values[] = {
                "mountatd 0.2",
                "keep,dev",
                "1",
                "2",
                "18446744073709551615",
                "0",
                "2048",
                "512",
                "64",
                "4294967295",
                "2048",
                "16",
                "none",
        };
        const char *line = captured.output;
        size_t column;

        bus_peer_start(answer_all);
        ck_assert_int_eq(CTL(command_status, NULL), 0);
        ck_assert_str_eq(captured.errors, "");
        column = strcspn(line, ":");
        for (size_t i = 0; i < N_ELEMENTS(values); i++) {
                const char *value = line + column + 2;

                ck_assert_uint_eq(strcspn(line, ":\n"), column);
                ck_assert_int_eq(strncmp(value, values[i], strlen(values[i])), 0);
                line = value + strlen(values[i]);
                ck_assert_int_eq(*line++, '\n');
        }
        ck_assert_str_eq(line, "");
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

START_TEST(missing_properties_are_null) {
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

/* One is a link itself, the other is below one. */
static int answer_links(sd_bus_message *call) {
        char link[128], below[128];

        snprintf(link, sizeof(link), "%s/link", scripted.dir);
        snprintf(below, sizeof(below), "%s/link/below", scripted.dir);
        return sd_bus_reply_method_return(call, "a{sv}", 1, "BuildDirectories", "a(su)", 2, link,
                                          UINT32_MAX, below, 1000);
}

START_TEST(shows_where_build_directories_lead_to) {
        char link[128], below[128], expected[512];

        snprintf(link, sizeof(link), "%s/link", scripted.dir);
        snprintf(below, sizeof(below), "%s/root/below", scripted.dir);
        ck_assert_int_eq(symlink("root", link), 0);
        ck_assert_int_eq(mkdir(below, 0755), 0);
        bus_peer_start(answer_links);
        ck_assert_int_eq(CTL(command_status, NULL), 0);
        ck_assert_int_eq(unlink(link), 0);
        ck_assert_int_eq(rmdir(below), 0);
        snprintf(expected, sizeof(expected),
                 "%s/link (here a link to %s/root), "
                 "%s/link/below:1000 (here a link to %s/root/below)\n",
                 scripted.dir, scripted.dir, scripted.dir, scripted.dir);
        expect_output(expected);
}
END_TEST

START_TEST(shows_user_and_state_of_build_directories) {
        char expected[512];

        bus_peer_start(answer_directories);
        ck_assert_int_eq(CTL(command_status, NULL), 0);
        snprintf(expected, sizeof(expected), "Build directories: %s/root, %s/socket:1000 (here ",
                 scripted.dir, scripted.dir);
        expect_output(expected);
        snprintf(expected, sizeof(expected), "not a directory), %s/\\x1b[2J:0 (missing here)\n",
                 scripted.dir);
        expect_output(expected);
}
END_TEST

enum {
        MANY = 500,
};

static int answer_many_directories(sd_bus_message *call) {
        MANAGER_MESSAGE_AUTO sd_bus_message *reply = NULL;

        peer_check(sd_bus_message_new_method_return(call, &reply) >= 0);
        peer_check(sd_bus_message_open_container(reply, 'a', "{sv}") >= 0);
        peer_check(sd_bus_message_open_container(reply, 'e', "sv") >= 0);
        peer_check(sd_bus_message_append(reply, "s", "BuildDirectories") >= 0);
        peer_check(sd_bus_message_open_container(reply, 'v', "a(su)") >= 0);
        peer_check(sd_bus_message_open_container(reply, 'a', "(su)") >= 0);
        for (uint32_t i = 0; i < MANY; i++)
                peer_check(sd_bus_message_append(reply, "(su)", "/nowhere/\u00e9", i) >= 0);
        for (int i = 0; i < 3; i++)
                peer_check(sd_bus_message_close_container(reply) >= 0);
        peer_check(sd_bus_message_append(reply, "{sv}", "MaxTargets", "u", 16) >= 0);
        peer_check(sd_bus_message_close_container(reply) >= 0);
        return sd_bus_send(NULL, reply, NULL);
}

/* And reads on. */
START_TEST(prints_any_number_of_directories) {
        char expected[64];

        bus_peer_start(answer_many_directories);
        ck_assert_int_eq(CTL(command_status, NULL), 0);
        expect_output("per request: 16\n");
        for (unsigned i = 0; i < MANY; i++) {
                snprintf(expected, sizeof(expected), "/nowhere/\u00e9:%u (missing here)%s", i,
                         i + 1 < MANY ? ", " : "\n");
                expect_output(expected);
        }
}
END_TEST

/* ---- failures ---- */

static int answer_another_type(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "a{sv}", 1, "Leases", "b", 1);
}

static int answer_nonsense(sd_bus_message *call) {
        return sd_bus_reply_method_return(call, "as", 1, "Leases");
}

START_TEST(refuses_a_malformed_answer) {
        bus_peer_serve *const serves[] = {answer_another_type, answer_nonsense};

        for (size_t i = 0; i < N_ELEMENTS(serves); i++) {
                bus_peer_start(serves[i]);
                ck_assert_int_eq(CTL(command_status, NULL), COMMAND_FAILED);
                ck_assert_str_eq(captured.output, "");
                ck_assert_str_ne(captured.errors, "");
        }
}
END_TEST

START_TEST(reports_a_missing_bus) {
        ck_assert_int_eq(CTL(command_status, NULL), COMMAND_FAILED);
        ck_assert_str_eq(captured.output, "");
        expect_errors("system bus");
}
END_TEST

START_TEST(quiet_prints_nothing) {
        bus_peer_start(answer_all);
        expect_status(CTL(command_status, "--quiet"), "");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("status");
        TCase *tests = scripted_case(suite, "status");

        tcase_add_test(tests, prints_a_line_per_property);
        tcase_add_test(tests, json_has_a_key_for_each_property);
        tcase_add_test(tests, missing_properties_are_null);
        tcase_add_test(tests, shows_user_and_state_of_build_directories);
        tcase_add_test(tests, shows_where_build_directories_lead_to);
        tcase_add_test(tests, prints_any_number_of_directories);
        tcase_add_test(tests, refuses_a_malformed_answer);
        tcase_add_test(tests, reports_a_missing_bus);
        tcase_add_test(tests, quiet_prints_nothing);
        return suite_run_all(suite);
}
