/* SPDX-License-Identifier: Apache-2.0 */

/* mountatctl mount and unmount over the socket, with a scripted daemon and without a bus. */

#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct wire_reply able = {
        .flags = SCRIPTED_FEATURES,
        .text = "mountatd 0.2.0",
};

static char output[8192]; /* standard output and error */

/* Runs "mountatctl COMMAND --socket=…", in which the root is "root", and returns its exit status.
 */
static int __attribute__((format(printf, 1, 2))) ctl(const char *format, ...) {
        char command[1024], line[2048];
        va_list arguments;
        FILE *pipe;
        size_t size;
        int status;

        va_start(arguments, format);
        vsnprintf(command, sizeof(command), format, arguments);
        va_end(arguments);
        snprintf(line, sizeof(line),
                 "cd %s && DBUS_SYSTEM_BUS_ADDRESS=unix:path=%s/bus MOUNTATD_SOCKET=%s "
                 "%s %s 2>&1",
                 scripted.dir, scripted.dir, scripted.path, MOUNTATCTL_PROGRAM, command);
        pipe = popen(line, "re");
        ck_assert_ptr_nonnull(pipe);
        size = fread(output, 1, sizeof(output) - 1, pipe);
        output[size] = '\0';
        status = pclose(pipe);
        ck_assert(WIFEXITED(status));
        return WEXITSTATUS(status);
}

static void expect_output(const char *part) {
        ck_assert_msg(strstr(output, part) != NULL, "no \"%s\" in: %s", part, output);
}

/* Grants kept leases, and has one lease to unmount. */
static void keeping(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {0};

                if (request.operation == PROTOCOL_HELLO)
                        reply = able;
                else if (request.operation == PROTOCOL_MOUNT) {
                        peer_check(request.flags == PROTOCOL_KEEP);
                        reply.lease = SCRIPTED_LEASE;
                } else if (request.lease != SCRIPTED_LEASE)
                        reply.status = STATUS_NO_SUCH_LEASE;
                peer_answer(connection, &request, reply);
        }
}

/* Starts a new peer: the script of the last one ended with its client. */
static void start(void (*script)(int connection)) {
        scripted_kill();
        scripted_start(script);
}

START_TEST(mount_keeps_and_prints_the_lease) {
        start(keeping);
        ck_assert_int_eq(ctl("mount root"), 1);
        expect_output("--create");
        start(keeping);
        ck_assert_int_eq(ctl("mount --create root"), 0);
        ck_assert_str_eq(output, "0000001234567890\n");
        ck_assert(is_there("proc") && is_there("sys"));
        start(keeping);
        ck_assert_int_eq(ctl("mount --quiet --timeout 5 --file-system proc root"), 0);
        ck_assert_str_eq(output, "");
}
END_TEST

START_TEST(unmount_takes_a_lease_in_both_notations) {
        start(keeping);
        ck_assert_int_eq(ctl("unmount 0000001234567890"), 0);
        ck_assert_str_eq(output, "");
        start(keeping);
        ck_assert_int_eq(
                ctl("unmount --socket=%s %llu", scripted.path, (unsigned long long)SCRIPTED_LEASE),
                0);
        ck_assert_str_eq(output, "");
}
END_TEST

START_TEST(unmount_of_others_says_that_there_is_no_bus) {
        start(keeping);
        ck_assert_int_eq(ctl("unmount 0000000000000001"), 1);
        expect_output("cannot unmount lease 0000000000000001: no-such-lease");
        expect_output("system bus");
        start(keeping);
        ck_assert_int_eq(ctl("unmount root"), 1);
        expect_output("system bus");
        expect_output("give the lease's number");
}
END_TEST

static void old(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_check(request.operation == PROTOCOL_HELLO);
        peer_answer(connection, &request,
                    (struct wire_reply){.flags = 0x1f, .text = "mountatd 0.1.0"});
        peer_receive_only(connection);
}

START_TEST(mount_names_the_version_that_it_takes) {
        start(old);
        ck_assert_int_eq(ctl("mount --create root"), 1);
        expect_output("mountatd 0.1.0 can't keep mounts");
        expect_output("0.2 or later");
        ck_assert(!is_there("proc"));
}
END_TEST

static void refusing(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.status = STATUS_NOT_AUTHORISED};

                if (request.operation == PROTOCOL_HELLO)
                        reply = able;
                if (request.operation == PROTOCOL_UNMOUNT)
                        reply = (struct wire_reply){.status = STATUS_HOST_FAILED, .error = EIO};
                peer_answer(connection, &request, reply);
        }
}

START_TEST(mount_of_anothers_directory_names_the_other_way) {
        start(refusing);
        ck_assert_int_eq(ctl("mount --create root"), 1);
        expect_output("not-authorised");
        expect_output("MountPath");
}
END_TEST

/* The daemon has the lease, so D-Bus isn't tried. */
START_TEST(unmount_that_the_host_refuses_ends_there) {
        start(refusing);
        ck_assert_int_eq(ctl("unmount 0000001234567890"), 1);
        expect_output("host-failed");
        ck_assert_ptr_null(strstr(output, "bus"));
}
END_TEST

START_TEST(both_say_that_nobody_listens) {
        scripted_stop();
        unlink(scripted.path);
        ck_assert_int_eq(ctl("mount root"), 1);
        expect_output("mountatd.socket");
        ck_assert_int_eq(ctl("unmount 1"), 1);
        expect_output("mountatd.socket");
}
END_TEST

START_TEST(hello_names_keep_dev_and_check) {
        start(keeping);
        ck_assert_int_eq(ctl("hello"), 0);
        ck_assert_str_eq(output, "mountatd 0.2.0\nkeep\ndev\ncheck\n");
}
END_TEST

static const struct {
        const char *options;
        const char *mounted;
} selections[] = {
        {"", "proc and sysfs"},
        {"--dev", "proc, sysfs and dev"},
        {"--file-system proc", "proc"},
        {"--file-system proc --dev", "proc and dev"},
        {"--file-system sysfs --dev", "sysfs and dev"},
        {"--file-system dev", "dev"},
        {"--file-system dev --dev", "dev"},
        {"--dev --file-system sysfs --file-system proc", "proc, sysfs and dev"},
};

static void holding(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(
                        connection, &request,
                        request.operation == PROTOCOL_HELLO
                                ? able
                                : (struct wire_reply){.lease = request.operation == PROTOCOL_MOUNT
                                                                       ? SCRIPTED_LEASE
                                                                       : 0});
        }
}

START_TEST(options_say_what_is_mounted) {
        char expected[64];

        start(holding);
        ck_assert_int_eq(ctl("hold --create %s root </dev/null", selections[_i].options), 0);
        snprintf(expected, sizeof(expected), "mounted %s below root", selections[_i].mounted);
        expect_output(expected);
        ck_assert(!is_there("proc") && !is_there("sys") && !is_there("dev"));
}
END_TEST

START_TEST(pids_only_without_procfs_is_refused) {
        ck_assert_int_eq(ctl("mount --pids-only --file-system dev root"), 2);
        expect_output("--file-system proc");
        ck_assert_int_eq(ctl("mount --file-system devpts root"), 2);
        expect_output("--file-system takes proc, sysfs or dev, not devpts");
}
END_TEST

START_TEST(an_older_daemon_without_dev_is_named) {
        start(old);
        ck_assert_int_eq(ctl("hold --create --dev root </dev/null"), 1);
        expect_output("cannot mount proc, sysfs and dev below root: unsupported-file-system");
        expect_output("mountatd 0.1.0 can't mount a /dev");
        ck_assert(!is_there("proc") && !is_there("dev"));
}
END_TEST

static const struct {
        const char *options;
        uint32_t target;
        const char *named;
} culprits[] = {
        {"--dev", 0, "mount proc below"},
        {"--dev", 1, "mount sysfs below"},
        {"--dev", 2, "mount dev below"},
        {"--file-system dev", 0, "mount dev below"},
        {"--file-system proc --dev", 1, "mount dev below"},
        {"--dev", STATUS_NO_TARGET, "mount proc, sysfs and dev below"},
};

static uint32_t culprit;

static void blaming(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(connection, &request,
                            request.operation == PROTOCOL_HELLO
                                    ? able
                                    : (struct wire_reply){.status = STATUS_WRONG_NAME,
                                                          .target = culprit});
        }
}

START_TEST(a_failure_names_the_file_system_at_fault) {
        culprit = culprits[_i].target;
        start(blaming);
        ck_assert_int_eq(ctl("mount --create %s root", culprits[_i].options), 1);
        expect_output(culprits[_i].named);
        ck_assert(!is_there("dev"));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("ctl_socket");
        TCase *tests = scripted_case(suite, "ctl_socket");

        tcase_add_test(tests, mount_keeps_and_prints_the_lease);
        tcase_add_test(tests, unmount_takes_a_lease_in_both_notations);
        tcase_add_test(tests, unmount_of_others_says_that_there_is_no_bus);
        tcase_add_test(tests, mount_names_the_version_that_it_takes);
        tcase_add_test(tests, mount_of_anothers_directory_names_the_other_way);
        tcase_add_test(tests, unmount_that_the_host_refuses_ends_there);
        tcase_add_test(tests, both_say_that_nobody_listens);
        tcase_add_test(tests, hello_names_keep_dev_and_check);
        tcase_add_loop_test(tests, options_say_what_is_mounted, 0, N_ELEMENTS(selections));
        tcase_add_test(tests, pids_only_without_procfs_is_refused);
        tcase_add_test(tests, an_older_daemon_without_dev_is_named);
        tcase_add_loop_test(tests, a_failure_names_the_file_system_at_fault, 0,
                            N_ELEMENTS(culprits));
        return suite_run_all(suite);
}
