/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl hold: what it prints, and what ends it. */

#include "tests/test.h"
#include "tests/unit/client/ctl_command.h"

#include "common/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* If a check fails, the peer exits and the client reports a lost connection. */
static void granting(int connection) {
        bool mounted = false;

        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.flags = SCRIPTED_FEATURES, .text = "mountatd 0.2.0"};

                if (request.operation == PROTOCOL_MOUNT) {
                        peer_check(!mounted && request.flags == 0);
                        reply = (struct wire_reply){.lease = SCRIPTED_LEASE};
                        mounted = true;
                }
                if (request.operation == PROTOCOL_UNMOUNT)
                        peer_check(mounted && request.lease == SCRIPTED_LEASE);
                peer_answer(connection, &request, reply);
        }
}

static const struct {
        const char *words[6];
        const char *mounted;
} selections[] = {
        {{"--create", "root"}, "proc and sysfs"},
        {{"--create", "--dev", "root"}, "proc, sysfs and dev"},
        {{"--create", "--file-system=proc", "root"}, "proc"},
        {{"--create", "--file-system=sysfs", "--dev", "root"}, "sysfs and dev"},
        {{"--create", "--file-system=dev", "root"}, "dev"},
};

START_TEST(announces_the_mounts_and_ends_with_its_input) {
        char expected[128];

        ctl_script(granting);
        for (size_t i = 0; i < N_ELEMENTS(selections); i++) {
                ck_assert_int_eq(ctl_command(command_hold, selections[i].words), 0);
                snprintf(expected, sizeof(expected),
                         "mounted %s below root, lease 0000001234567890\n", selections[i].mounted);
                ck_assert_str_eq(captured.output, expected);
                ck_assert_str_eq(captured.errors, "");
                ck_assert(!is_there("proc") && !is_there("sys") && !is_there("dev"));
        }
}
END_TEST

START_TEST(quiet_prints_nothing) {
        ctl_script(granting);
        ck_assert_int_eq(CTL(command_hold, "-q", "--create", "root"), 0);
        ck_assert_str_eq(captured.output, "");
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

START_TEST(discards_its_input) {
        static const char bytes[10000];

        ctl_script(granting);
        CTL_START(command_hold, "--create", "root");
        capture_await("lease 0000001234567890\n");
        ck_assert_int_eq(write(captured.input, bytes, sizeof(bytes)), sizeof(bytes));
        ck_assert(is_there("proc"));
        ck_assert_int_eq(capture_end(), 0);
        ck_assert(!is_there("proc"));
}
END_TEST

START_TEST(unmounts_on_a_signal) {
        static const int signals[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};

        ctl_script(granting);
        for (size_t i = 0; i < N_ELEMENTS(signals); i++) {
                CTL_START(command_hold, "--create", "root");
                capture_await("lease 0000001234567890\n");
                ck_assert_int_eq(kill(captured.pid, signals[i]), 0);
                capture_await_end();
                ck_assert_int_eq(capture_end(), 0);
                ck_assert_str_eq(captured.errors, "");
                ck_assert(!is_there("proc") && !is_there("sys"));
        }
}
END_TEST

static void granting_and_dying(int connection) {
        struct wire_request request;

        do {
                request = peer_receive_only(connection);
                peer_answer(connection, &request, (struct wire_reply){.lease = SCRIPTED_LEASE});
        } while (request.operation != PROTOCOL_MOUNT);
}

/* The next instance finds no mount to adopt. */
START_TEST(fails_when_the_lease_is_lost) {
        ctl_script(granting_and_dying);
        CTL_START(command_hold, "--create", "root");
        capture_await_end();
        ck_assert_int_eq(capture_end(), COMMAND_FAILED);
        ck_assert_str_ne(captured.errors, "");
}
END_TEST

static int hold_with_busy_input(const struct arguments *arguments) {
        FD_AUTO int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);

        if (dup2(zero, STDIN_FILENO) < 0)
                abort();
        return command_hold(arguments);
}

/* Without a free descriptor each attempt to reconnect fails at once. */
START_TEST(input_does_not_keep_it_from_recovery) {
        const struct rlimit limit = {3, 3}; /* enough for poll(2) */

        ctl_script(granting);
        CTL_START(hold_with_busy_input, "--create", "--timeout=1", "root");
        capture_await("lease 0000001234567890\n");
        ck_assert_int_eq(prlimit(captured.pid, RLIMIT_NOFILE, &limit, NULL), 0);
        scripted_stop();
        capture_await_end();
        ck_assert_int_eq(capture_end(), COMMAND_FAILED);
        ck_assert_str_ne(captured.errors, "");
}
END_TEST

static int hold_to_nobody(const struct arguments *arguments) {
        return ctl_to_full_device(command_hold, arguments);
}

START_TEST(unmounts_if_it_cannot_print) {
        ctl_script(granting);
        CTL_START(hold_to_nobody, "--create", "root");
        capture_await_end();
        ck_assert_int_eq(capture_end(), COMMAND_FAILED);
        expect_errors("standard output");
        ck_assert(!is_there("proc"));
}
END_TEST

START_TEST(fails_when_the_unmount_fails) {
        ctl_script(peer_fails_to_unmount);
        ck_assert_int_eq(CTL(command_hold, "--create", "root"), COMMAND_FAILED);
        expect_errors("cannot unmount proc and sysfs below root: host-failed");
}
END_TEST

static void old(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_check(request.operation == PROTOCOL_HELLO);
                peer_answer(connection, &request,
                            (struct wire_reply){.flags = 0x1f, .text = "mountatd 0.1.0"});
        }
}

START_TEST(error_names_a_daemon_without_dev) {
        ctl_script(old);
        ck_assert_int_eq(CTL(command_hold, "--create", "--dev", "root"), COMMAND_FAILED);
        expect_errors("cannot mount proc, sysfs and dev below root: unsupported-file-system");
        expect_errors("mountatd 0.1.0");
        ck_assert(!is_there("proc") && !is_there("dev"));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("hold");
        TCase *tests = scripted_case(suite, "hold");

        tcase_add_test(tests, announces_the_mounts_and_ends_with_its_input);
        tcase_add_test(tests, quiet_prints_nothing);
        tcase_add_test(tests, discards_its_input);
        tcase_add_test(tests, unmounts_on_a_signal);
        tcase_add_test(tests, fails_when_the_lease_is_lost);
        tcase_add_test(tests, input_does_not_keep_it_from_recovery);
        tcase_add_test(tests, unmounts_if_it_cannot_print);
        tcase_add_test(tests, fails_when_the_unmount_fails);
        tcase_add_test(tests, error_names_a_daemon_without_dev);
        return suite_run_all(suite);
}
