/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl mount: what it asks for, what it prints, what it advises on failure. */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include <string.h>

static uint32_t targets; /* how many the request must have */

/* Grants kept leases only. */
static void keeping(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.flags = SCRIPTED_FEATURES, .text = "mountatd 0.2.0"};

                if (request.operation != PROTOCOL_HELLO) {
                        peer_check(request.operation == PROTOCOL_MOUNT &&
                                   request.flags == PROTOCOL_KEEP && request.n_targets == targets);
                        reply = (struct wire_reply){.lease = SCRIPTED_LEASE};
                }
                peer_answer(connection, &request, reply);
        }
}

START_TEST(keeps_the_lease_and_prints_it) {
        targets = 2;
        ctl_script(keeping);
        ck_assert_int_eq(CTL(command_mount, "--create", "root"), 0);
        ck_assert_str_eq(captured.output, "0000001234567890\n");
        ck_assert_str_eq(captured.errors, "");
        ck_assert(is_there("proc") && is_there("sys"));
}
END_TEST

START_TEST(quiet_prints_nothing) {
        targets = 1;
        make_mountpoints();
        ctl_script(keeping);
        ck_assert_int_eq(CTL(command_mount, "--quiet", "--file-system", "proc", "root"), 0);
        ck_assert_str_eq(captured.output, "");
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

START_TEST(creates_directories_only_on_request) {
        ctl_script(keeping);
        ck_assert_int_eq(CTL(command_mount, "root"), COMMAND_FAILED);
        ck_assert_str_eq(captured.output, "");
        expect_errors("--create");
        ck_assert(!is_there("proc"));
}
END_TEST

static int mount_to_nobody(const struct arguments *arguments) {
        return ctl_to_full_device(command_mount, arguments);
}

/* The lease stays, and its number is needed to unmount it. */
START_TEST(error_names_a_lease_that_cannot_be_printed) {
        targets = 2;
        make_mountpoints();
        ctl_script(keeping);
        ck_assert_int_eq(CTL(mount_to_nobody, "root"), COMMAND_FAILED);
        expect_errors("0000001234567890 stays");
}
END_TEST

static struct wire_reply refusal;

static void refusing(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(connection, &request,
                            request.operation == PROTOCOL_HELLO
                                    ? (struct wire_reply){.flags = SCRIPTED_FEATURES}
                                    : refusal);
        }
}

static const struct {
        enum status status;
        const char *name, *advice;
} refusals[] = {
        {STATUS_NOT_AUTHORISED, "not-authorised", "MountPath in org.mountat1(5)"},
        {STATUS_FOREIGN_NAMESPACE, "foreign-namespace", "mountatctl hold"},
        {STATUS_LIMIT_EXCEEDED, "limit-exceeded", NULL},
};

START_TEST(refusal_names_an_alternative) {
        for (size_t i = 0; i < N_ELEMENTS(refusals); i++) {
                refusal = (struct wire_reply){.status = refusals[i].status};
                ctl_script(refusing);
                ck_assert_int_eq(CTL(command_mount, "--create", "root"), COMMAND_FAILED);
                expect_errors(refusals[i].name);
                if (refusals[i].advice)
                        expect_errors(refusals[i].advice);
                else
                        ck_assert_ptr_eq(strchr(captured.errors, '\n'),
                                         strrchr(captured.errors, '\n'));
                ck_assert(!is_there("proc"));
        }
}
END_TEST

static void old(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_check(request.operation == PROTOCOL_HELLO);
        peer_answer(connection, &request,
                    (struct wire_reply){.flags = 0x1f, .text = "mountatd 0.1.0"});
        peer_receive_only(connection);
}

START_TEST(error_names_the_version_needed) {
        ctl_script(old);
        ck_assert_int_eq(CTL(command_mount, "--create", "root"), COMMAND_FAILED);
        expect_errors("mountatd 0.1.0 can't keep mounts");
        expect_errors("0.2 or later");
        ck_assert(!is_there("proc"));
}
END_TEST

START_TEST(reports_a_missing_daemon) {
        scripted_stop();
        unlink(scripted.path);
        ck_assert_int_eq(CTL(command_mount, "root"), COMMAND_FAILED);
        expect_errors("mountatd.socket");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("mount");
        TCase *tests = scripted_case(suite, "mount");

        tcase_add_test(tests, keeps_the_lease_and_prints_it);
        tcase_add_test(tests, quiet_prints_nothing);
        tcase_add_test(tests, creates_directories_only_on_request);
        tcase_add_test(tests, error_names_a_lease_that_cannot_be_printed);
        tcase_add_test(tests, refusal_names_an_alternative);
        tcase_add_test(tests, error_names_the_version_needed);
        tcase_add_test(tests, reports_a_missing_daemon);
        return suite_run_all(suite);
}
