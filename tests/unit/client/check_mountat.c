/* SPDX-License-Identifier: Apache-2.0 */

/* Mounting and unmounting by libmountat, and what is left after a failure. */

#include "common/fd.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* One of each kind; check_failure has them all. */
static const struct refused {
        uint32_t status;
        uint32_t host;
        int error;
        const char *name;
} refused[] = {
        {STATUS_NOT_AUTHORISED, 0, EPERM, "not-authorised"},
        {STATUS_HOST_FAILED, ENOSPC, ENOSPC, "host-failed"},
        {UINT32_MAX, 0, EPROTO, "unknown-status"},
};

static const struct refused *wanted;

static void refusing(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.status = wanted->status, .error = wanted->host};

                peer_answer(connection, &request, reply);
        }
}

START_TEST(a_refusal_is_told_in_full_and_keeps_the_connection) {
        struct mountat_target target = {.fd = scripted.root,
                                        .file_system = MOUNTAT_FILE_SYSTEM_PROC};
        uint64_t lease = 77;

        wanted = &refused[_i];
        scripted_start_and_connect(refusing);
        expect_failure(mountat_mount(scripted.mountat, &target, 1, &lease), wanted->error,
                       wanted->status > INT32_MAX ? INT32_MAX : (int)wanted->status);
        ck_assert_str_eq(mountat_error_name(scripted.mountat), wanted->name);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 0);
        ck_assert_uint_eq(lease, 77);

        ck_assert_int_eq(mountat_unmount(scripted.mountat, 1), -wanted->error);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), MOUNTAT_NO_TARGET);
        ck_assert_int_ge(mountat_fd(scripted.mountat), 0);
}
END_TEST

START_TEST(targets_are_1_to_16) {
        struct mountat_target targets[MOUNTAT_TARGETS_MAX + 1];
        uint64_t lease = 77;

        for (size_t i = 0; i < N_ELEMENTS(targets); i++)
                targets[i] = (struct mountat_target){.fd = scripted.root,
                                                     .file_system = MOUNTAT_FILE_SYSTEM_SYSFS};

        scripted_start_and_connect(peer_obliging);
        expect_client_failure(mountat_mount(scripted.mountat, targets, 0, &lease), EINVAL);
        expect_client_failure(mountat_mount(scripted.mountat, targets, N_ELEMENTS(targets), &lease),
                              EINVAL);
        ck_assert_uint_eq(lease, 77);
        ck_assert_int_eq(mountat_mount(scripted.mountat, targets, MOUNTAT_TARGETS_MAX, &lease), 0);
        ck_assert_uint_eq(lease, SCRIPTED_LEASE);
}
END_TEST

START_TEST(a_descriptor_that_is_none_costs_the_request_alone) {
        struct mountat_target target = {.fd = -1, .file_system = MOUNTAT_FILE_SYSTEM_PROC};
        uint64_t lease = 77;

        scripted_start_and_connect(peer_obliging);
        expect_client_failure(mountat_mount(scripted.mountat, &target, 1, &lease), EBADF);
        ck_assert_int_eq(mountat_hello(scripted.mountat, NULL, NULL), 0);
        expect_client_failure(mountat_mount_root(scripted.mountat, -1, MOUNTAT_PROC, &lease),
                              EBADF);
        ck_assert_uint_eq(lease, 77);
}
END_TEST

/* Grants a mount of proc and sys in the root, with exactly these options. */
static void particular(int connection) {
        FDPASS_AUTO struct fdpass_set set;
        struct wire_request request = peer_receive(connection, &set);
        static const char *const names[] = {"proc", "sys"};

        peer_check(request.operation == PROTOCOL_MOUNT && request.n_targets == 2);
        peer_check(request.targets[0].file_system == PROTOCOL_PROC &&
                   request.targets[0].options == (PROTOCOL_READ_ONLY | PROTOCOL_PIDS_ONLY));
        peer_check(request.targets[1].file_system == PROTOCOL_SYSFS &&
                   request.targets[1].options == PROTOCOL_READ_ONLY);
        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                struct stat sent, expected;

                peer_check(fstat(set.fds[i], &sent) == 0);
                peer_check(fstatat(scripted.root, names[i], &expected, AT_SYMLINK_NOFOLLOW) == 0);
                peer_check(sent.st_ino == expected.st_ino && sent.st_dev == expected.st_dev);
        }
        peer_answer(connection, &request, (struct wire_reply){.lease = SCRIPTED_LEASE});
        request = peer_receive_only(connection);
        peer_check(request.operation == PROTOCOL_UNMOUNT && request.lease == SCRIPTED_LEASE);
        peer_answer(connection, &request, (struct wire_reply){0});
        peer_receive_only(connection);
}

START_TEST(mount_root_sends_proc_and_sys_with_their_options) {
        make_mountpoints();
        scripted_start_and_connect(particular);
        ck_assert_int_eq(
                mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_READ_ONLY | MOUNTAT_PIDS_ONLY),
                0);
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(is_there("proc") && is_there("sys"));
}
END_TEST

START_TEST(mount_root_refuses_flags_without_a_meaning) {
        static const uint32_t flags[] = {
                0,
                MOUNTAT_CREATE,
                MOUNTAT_SYSFS | MOUNTAT_PIDS_ONLY,
                MOUNTAT_PROC | 1U << 31,
        };

        scripted_start_and_connect(peer_obliging);
        for (size_t i = 0; i < N_ELEMENTS(flags); i++)
                expect_client_failure(mount_root(flags[i]), EINVAL);
}
END_TEST

START_TEST(mount_root_creates_on_request_until_unmount) {
        scripted_start_and_connect(peer_obliging);
        expect_client_failure(mount_root(MOUNTAT_PROC), ENOENT);
        expect_text("proc");
        ck_assert(!is_there("proc"));

        ck_assert_int_eq(mkdirat(scripted.root, "sys", 0755), 0);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_CREATE), 0);
        ck_assert(is_there("proc"));
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(!is_there("proc"));
        ck_assert(is_there("sys"));
}
END_TEST

START_TEST(unmount_leaves_a_created_directory_in_which_somebody_put_something) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE), 0);
        ck_assert_int_eq(fchmodat(scripted.root, "proc", 0755, 0), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "proc/mine", 0755), 0);
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(is_there("proc/mine"));
}
END_TEST

static void unauthorised(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);
                struct wire_reply reply = {.status = STATUS_NOT_AUTHORISED, .target = 1};

                peer_answer(connection, &request, reply);
        }
}

START_TEST(what_was_created_goes_when_the_daemon_refuses) {
        scripted_start_and_connect(unauthorised);
        expect_failure(mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_CREATE), EPERM,
                       MOUNTAT_STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 1);
        ck_assert(!is_there("proc") && !is_there("sys"));
}
END_TEST

START_TEST(what_was_created_goes_when_the_daemon_does_not_answer) {
        scripted_start_and_connect(peer_silent);
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_CREATE), ETIMEDOUT);
        ck_assert(!is_there("proc") && !is_there("sys"));
}
END_TEST

START_TEST(what_was_created_goes_when_the_next_cannot_be) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(symlinkat("/sys", scripted.root, "sys"), 0);
        expect_client_failure(mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_CREATE), ELOOP);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 1);
        expect_text("symbolic link");
        ck_assert(!is_there("proc"));
}
END_TEST

START_TEST(what_was_created_goes_with_the_struct_when_the_daemon_died) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE), 0);
        scripted_stop();
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), ECONNRESET);
        ck_assert(is_there("proc"));
        scripted.mountat = mountat_free(scripted.mountat);
        ck_assert(!is_there("proc"));
}
END_TEST

/* Mounts, and fails the first unmount. */
static void sticky(int connection) {
        struct wire_reply stuck = {.status = STATUS_HOST_FAILED, .error = EIO};
        struct wire_request request = peer_receive_only(connection);

        peer_answer(connection, &request, (struct wire_reply){.lease = SCRIPTED_LEASE});
        request = peer_receive_only(connection);
        peer_answer(connection, &request, stuck);
        peer_obliging(connection);
}

START_TEST(an_unmount_that_failed_may_be_tried_again) {
        scripted_start_and_connect(sticky);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE), 0);
        expect_failure(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), EIO,
                       MOUNTAT_STATUS_HOST_FAILED);
        ck_assert(is_there("proc"));
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(!is_there("proc"));
}
END_TEST

START_TEST(mount_root_refuses_what_is_no_directory) {
        FD_AUTO int file = openat(scripted.root, "proc", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        uint64_t lease = 77;

        scripted_start_and_connect(peer_obliging);
        expect_failure(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE), ENOTDIR,
                       MOUNTAT_STATUS_NOT_A_DIRECTORY);
        expect_failure(mountat_mount_root(scripted.mountat, file, MOUNTAT_PROC, &lease), ENOTDIR,
                       MOUNTAT_STATUS_NOT_A_DIRECTORY);
        ck_assert(is_there("proc"));
}
END_TEST

START_TEST(mount_root_sees_what_is_mounted_already) {
        FD_AUTO int host = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t lease = 77;

        scripted_start_and_connect(peer_obliging);
        expect_failure(mountat_mount_root(scripted.mountat, host, MOUNTAT_PROC, &lease), EBUSY,
                       MOUNTAT_STATUS_ALREADY_MOUNTED);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 0);
}
END_TEST

START_TEST(all_descriptors_are_close_on_exec) {
        enum { RANGE = 64 };
        bool before[RANGE];
        int made = 0;

        for (int fd = 0; fd < RANGE; fd++)
                before[fd] = fcntl(fd, F_GETFD) >= 0;
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE), 0);
        for (int fd = 0; fd < RANGE; fd++) {
                int flags = before[fd] ? -1 : fcntl(fd, F_GETFD);

                ck_assert_int_ne(flags, 0);
                made += flags == FD_CLOEXEC;
        }
        ck_assert_int_eq(made, 3); /* the socket, its watch and the root */
}
END_TEST

START_TEST(freeing_nothing_is_fine) {
        ck_assert_ptr_null(mountat_free(NULL));
}
END_TEST

int main(void) {
        Suite *suite = suite_create("mountat");
        TCase *asking = scripted_case(suite, "asking");
        TCase *creating = scripted_case(suite, "creating");

        tcase_add_loop_test(asking, a_refusal_is_told_in_full_and_keeps_the_connection, 0,
                            N_ELEMENTS(refused));
        tcase_add_test(asking, targets_are_1_to_16);
        tcase_add_test(asking, a_descriptor_that_is_none_costs_the_request_alone);
        tcase_add_test(asking, mount_root_sends_proc_and_sys_with_their_options);
        tcase_add_test(asking, mount_root_refuses_flags_without_a_meaning);
        tcase_add_test(asking, mount_root_refuses_what_is_no_directory);
        tcase_add_test(asking, mount_root_sees_what_is_mounted_already);
        tcase_add_test(asking, all_descriptors_are_close_on_exec);
        tcase_add_test(asking, freeing_nothing_is_fine);

        tcase_add_test(creating, mount_root_creates_on_request_until_unmount);
        tcase_add_test(creating,
                       unmount_leaves_a_created_directory_in_which_somebody_put_something);
        tcase_add_test(creating, what_was_created_goes_when_the_daemon_refuses);
        tcase_add_test(creating, what_was_created_goes_when_the_daemon_does_not_answer);
        tcase_add_test(creating, what_was_created_goes_when_the_next_cannot_be);
        tcase_add_test(creating, what_was_created_goes_with_the_struct_when_the_daemon_died);
        tcase_add_test(creating, an_unmount_that_failed_may_be_tried_again);
        return suite_run_all(suite);
}
