/* SPDX-License-Identifier: Apache-2.0 */

#include "client/session.h"

#include "tests/test.h"
#include "tests/unit/client/capture.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- names ---- */

START_TEST(lists_file_systems_in_words) {
        static const struct {
                uint32_t flags;
                const char *text;
        } cases[] = {
                {0, ""},
                {MOUNTAT_PROC, "proc"},
                {MOUNTAT_SYSFS, "sysfs"},
                {MOUNTAT_DEV, "dev"},
                {MOUNTAT_PROC | MOUNTAT_SYSFS, "proc and sysfs"},
                {MOUNTAT_PROC | MOUNTAT_DEV, "proc and dev"},
                {MOUNTAT_SYSFS | MOUNTAT_DEV, "sysfs and dev"},
                {MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_DEV, "proc, sysfs and dev"},
                {UINT32_MAX, "proc, sysfs and dev"},
                {MOUNTAT_CREATE | MOUNTAT_READ_ONLY | MOUNTAT_PROC, "proc"},
        };
        char text[SESSION_FILE_SYSTEMS_MAX];

        for (size_t i = 0; i < N_ELEMENTS(cases); i++)
                ck_assert_str_eq(session_file_systems(cases[i].flags, text), cases[i].text);
}
END_TEST

/* ---- connecting ---- */

START_TEST(may_be_closed_unopened_and_twice) {
        struct session session = SESSION_NONE;

        session_close(&session);
        ck_assert_ptr_null(session.mountat);
        scripted_start(peer_obliging);
        ck_assert_int_eq(session_connect(&session, &(struct arguments){.socket = scripted.path}),
                         0);
        session_close(&session);
        ck_assert_ptr_null(session.mountat);
        session_close(&session);
}
END_TEST

static int open_nowhere(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;
        const struct arguments arguments = {.socket = "/nowhere/socket"};

        (void)argument;
        ck_assert_int_eq(session_open(&session, &arguments), -ENOENT);
        ck_assert_ptr_nonnull(session.mountat);
        return 0;
}

static int connect_nowhere(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;
        const struct arguments arguments = {.socket = "/nowhere/socket"};

        (void)argument;
        return session_connect(&session, &arguments) == -ENOENT ? 0 : 1;
}

START_TEST(connect_reports_failure_and_open_does_not) {
        ck_assert_int_eq(capture(open_nowhere, NULL), 0);
        ck_assert_str_eq(captured.errors, "");
        ck_assert_int_eq(capture(connect_nowhere, NULL), 0);
        expect_errors("/nowhere/socket");
}
END_TEST

/* ---- mounting ---- */

enum {
        ALL = MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_DEV,
};

/* Mounts below the scripted root. */
static int open_and_mount(struct session *session, uint32_t flags) {
        static char path[128];
        int r = session_connect(
                session,
                &(struct arguments){.socket = scripted.path, .flags = flags, .timeout = 5000});

        snprintf(path, sizeof(path), "%s/root", scripted.dir);
        return r < 0 ? r : session_mount(session, path);
}

static int mount_and_unmount(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;

        (void)argument;
        ck_assert_int_eq(session_unmount(&session), 0); /* of nothing */
        ck_assert_int_eq(open_and_mount(&session, ALL | MOUNTAT_CREATE), 0);
        ck_assert_uint_eq(session.lease, SCRIPTED_LEASE);
        ck_assert_int_ge(fcntl(session.root, F_GETFD), FD_CLOEXEC);
        ck_assert(is_there("proc") && is_there("sys") && is_there("dev"));
        ck_assert_int_eq(session_unmount(&session), 0);
        ck_assert_uint_eq(session.lease, 0);
        ck_assert_int_eq(session_unmount(&session), 0);
        ck_assert(!is_there("proc") && !is_there("sys") && !is_there("dev"));
        return 0;
}

START_TEST(unmounts_once) {
        scripted_start(peer_obliging);
        ck_assert_int_eq(capture(mount_and_unmount, NULL), 0);
        ck_assert_str_eq(captured.errors, "");
}
END_TEST

static int mount_below(const void *path) {
        SESSION_AUTO struct session session = SESSION_NONE;

        ck_assert_int_eq(session_connect(&session, &(struct arguments){.socket = scripted.path}),
                         0);
        return -session_mount(&session, path);
}

START_TEST(refuses_what_is_no_directory) {
        scripted_start(peer_obliging);
        ck_assert_int_eq(capture(mount_below, "/nowhere\x1b"), ENOENT);
        expect_errors("root directory /nowhere\\x1b: No such file or directory");
        scripted_kill();
        scripted_start(peer_obliging);
        ck_assert_int_eq(capture(mount_below, "/dev/null"), ENOTDIR);
        expect_errors("root directory /dev/null: Not a directory");
}
END_TEST

static const struct {
        uint32_t flags;
        uint32_t target; /* at fault */
        const char *named;
} culprits[] = {
        {ALL, 0, "cannot mount proc below "},
        {ALL, 1, "cannot mount sysfs below "},
        {ALL, 2, "cannot mount dev below "},
        {MOUNTAT_DEV, 0, "cannot mount dev below "},
        {MOUNTAT_PROC | MOUNTAT_DEV, 1, "cannot mount dev below "},
        {ALL, STATUS_NO_TARGET, "cannot mount proc, sysfs and dev below "},
        {MOUNTAT_SYSFS, 7, "cannot mount sysfs below "},
};

static size_t culprit;

static void blaming(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(connection, &request,
                            request.operation == PROTOCOL_HELLO
                                    ? (struct wire_reply){.flags = SCRIPTED_FEATURES}
                                    : (struct wire_reply){.status = STATUS_WRONG_NAME,
                                                          .target = culprits[culprit].target,
                                                          .text = "not here"});
        }
}

static int mount_refused(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;

        (void)argument;
        ck_assert_int_lt(open_and_mount(&session, culprits[culprit].flags | MOUNTAT_CREATE), 0);
        ck_assert_uint_eq(session.lease, 0);
        return 0;
}

START_TEST(refusal_names_the_file_system_at_fault) {
        for (culprit = 0; culprit < N_ELEMENTS(culprits); culprit++) {
                scripted_start(blaming);
                ck_assert_int_eq(capture(mount_refused, NULL), 0);
                expect_errors(culprits[culprit].named);
                expect_errors("/root: wrong-name: not here\n");
                ck_assert(!is_there("proc") && !is_there("dev"));
                scripted_kill();
        }
}
END_TEST

static void failing_to_unmount(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                peer_answer(connection, &request,
                            request.operation == PROTOCOL_MOUNT
                                    ? (struct wire_reply){.lease = SCRIPTED_LEASE}
                                    : (struct wire_reply){.status = STATUS_HOST_FAILED,
                                                          .error = EIO,
                                                          .text = "it is stuck"});
        }
}

static int unmount_refused(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;

        (void)argument;
        ck_assert_int_eq(open_and_mount(&session, MOUNTAT_PROC | MOUNTAT_CREATE), 0);
        ck_assert_int_lt(session_unmount(&session), 0);
        ck_assert_uint_eq(session.lease, SCRIPTED_LEASE); /* may be retried */
        return 0;
}

START_TEST(failed_unmount_keeps_the_lease) {
        scripted_start(failing_to_unmount);
        ck_assert_int_eq(capture(unmount_refused, NULL), 0);
        expect_errors("cannot unmount proc below ");
        expect_errors("/root: host-failed: it is stuck");
}
END_TEST

/* ---- restarts of the daemon ---- */

START_TEST(watches_nothing_without_a_lease) {
        SESSION_AUTO struct session session = SESSION_NONE;

        scripted_start(peer_obliging);
        ck_assert_int_eq(session_connect(&session, &(struct arguments){.socket = scripted.path}),
                         0);
        ck_assert_int_eq(session_fd(&session), -EBADF);
        ck_assert_int_eq(session_patience(&session), -1);
        ck_assert_int_eq(session_tend(&session), 0);
}
END_TEST

/* Mounts, then ends the peer. */
static void mount_and_lose(struct session *session) {
        scripted_start(peer_obliging);
        ck_assert_int_eq(open_and_mount(session, MOUNTAT_PROC | MOUNTAT_CREATE), 0);
        mount_on("proc");
        ck_assert_int_eq(session_patience(session), -1);
        scripted_stop();
}

static int go_through_restarts(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;

        (void)argument;
        mount_and_lose(&session);
        for (int i = 0; i < 2; i++) {
                struct pollfd poller = {.fd = session_fd(&session), .events = POLLIN};

                scripted_stop();
                ck_assert_int_eq(poll(&poller, 1, -1), 1);
                scripted_listen();
                scripted_start(peer_obliging);
                ck_assert_int_eq(session_tend(&session), 0);
                ck_assert_int_eq(session_fd(&session), poller.fd);
                ck_assert_int_eq(session_patience(&session), -1);
                ck_assert_uint_eq(session.lease, SCRIPTED_LEASE);
        }
        unmount_from("proc");
        ck_assert_int_eq(session_unmount(&session), 0);
        return 0;
}

MOUNT_TEST(reports_only_the_first_restart) {
        ck_assert_int_eq(capture(go_through_restarts, NULL), 0);
        expect_errors("mountatctl: mountatd was restarted: ");
        ck_assert_ptr_eq(strchr(captured.errors, '\n'), strrchr(captured.errors, '\n'));
}

/*
 * Until the timeout, session_tend() prints nothing and is to be called again. A shortage of
 * descriptors fails an attempt at once; waiting for a listener would take seconds.
 */
static int wait_and_give_up(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;
        const int *filled;

        (void)argument;
        mount_and_lose(&session);
        filled = descriptors_leave(0, STDIN_FILENO);
        ck_assert_int_eq(session_tend(&session), 0);
        ck_assert_uint_eq(session.lease, SCRIPTED_LEASE);
        ck_assert_int_gt(session_patience(&session), 0);
        session.retry_at = 1; /* the pause is over, whatever else there was to do in it */
        ck_assert_int_eq(session_patience(&session), 0);
        ck_assert_int_eq(session_tend(&session), 0);
        ck_assert_int_gt(session_patience(&session), 0);
        fputs("later\n", stderr);

        session.lost_until = 1; /* the timeout is over */
        ck_assert_int_lt(session_tend(&session), 0);
        ck_assert_uint_eq(session.lease, 0);
        ck_assert_int_eq(session_fd(&session), -EBADF);
        ck_assert_int_eq(session_patience(&session), -1);
        ck_assert_int_eq(session_tend(&session), 0);
        ck_assert_int_eq(session_unmount(&session), 0);
        descriptors_give_back(filled);
        unmount_from("proc");
        return 0;
}

MOUNT_TEST(gives_up_after_the_timeout) {
        ck_assert_int_eq(capture(wait_and_give_up, NULL), 0);
        ck_assert_int_eq(strncmp(captured.errors, "later\nmountatctl: ", 18), 0);
}

/* The mounts are gone, so the next instance has nothing to adopt. */
static int lose_the_lease(const void *argument) {
        SESSION_AUTO struct session session = SESSION_NONE;

        (void)argument;
        mount_and_lose(&session);
        unmount_from("proc");
        scripted_listen();
        scripted_start(peer_obliging);
        ck_assert_int_eq(session_tend(&session), -ENOENT);
        ck_assert_uint_eq(session.lease, 0);
        ck_assert_int_eq(session_tend(&session), 0);
        return 0;
}

MOUNT_TEST(reports_a_lost_lease_at_once) {
        ck_assert_int_eq(capture(lose_the_lease, NULL), 0);
        ck_assert_str_ne(captured.errors, "");
        ck_assert_ptr_null(strstr(captured.errors, "mountatd was restarted"));
}

int main(void) {
        Suite *suite = suite_create("session");
        TCase *tests = scripted_case(suite, "session");

        scripted_isolate();
        tcase_add_test(tests, lists_file_systems_in_words);
        tcase_add_test(tests, may_be_closed_unopened_and_twice);
        tcase_add_test(tests, connect_reports_failure_and_open_does_not);
        tcase_add_test(tests, unmounts_once);
        tcase_add_test(tests, refuses_what_is_no_directory);
        tcase_add_test(tests, refusal_names_the_file_system_at_fault);
        tcase_add_test(tests, failed_unmount_keeps_the_lease);
        tcase_add_test(tests, watches_nothing_without_a_lease);
        tcase_add_test(tests, reports_only_the_first_restart);
        tcase_add_test(tests, gives_up_after_the_timeout);
        tcase_add_test(tests, reports_a_lost_lease_at_once);
        return suite_run_all(suite);
}
