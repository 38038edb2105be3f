/* SPDX-License-Identifier: Apache-2.0 */

/* The flag and the file system dev in libmountat: the requests, with new and old daemons. */

#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        ALL = MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_DEV,
        OLD_FEATURES = 0x1f, /* of mountatd 0.1 */
        NO_DEV = SCRIPTED_FEATURES & ~PROTOCOL_FEATURE_DEV,
};

/* The features in the script's hello. */
static struct wire_reply greeting;

static void answer_hello(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_check(request.operation == PROTOCOL_HELLO);
        peer_answer(connection, &request, greeting);
}

static void start(uint32_t features, const char *version, void (*script)(int connection)) {
        greeting = (struct wire_reply){.flags = features};
        snprintf(greeting.text, sizeof(greeting.text), "%s", version);
        scripted_start_and_connect(script);
}

static struct mountat_target target(uint32_t file_system) {
        return (struct mountat_target){.fd = scripted.root, .file_system = file_system};
}

/* ---- requests ---- */

static const struct selection {
        uint32_t flags;
        uint32_t file_systems[3];
        const char *directories[3];
} selections[] = {
        {MOUNTAT_DEV, {PROTOCOL_DEV}, {"dev"}},
        {MOUNTAT_PROC | MOUNTAT_DEV, {PROTOCOL_PROC, PROTOCOL_DEV}, {"proc", "dev"}},
        {MOUNTAT_SYSFS | MOUNTAT_DEV, {PROTOCOL_SYSFS, PROTOCOL_DEV}, {"sys", "dev"}},
        {ALL, {PROTOCOL_PROC, PROTOCOL_SYSFS, PROTOCOL_DEV}, {"proc", "sys", "dev"}},
};

static const struct selection *selected;

static void check_target(const struct wire_request *request, const struct fdpass_set *set,
                         uint32_t i) {
        const char *directory = selected->directories[i];
        struct stat sent, expected;

        peer_check(request->targets[i].file_system == selected->file_systems[i]);
        peer_check(request->targets[i].options == 0);
        peer_check(directory && fstat(set->fds[i], &sent) == 0);
        peer_check(fstatat(scripted.root, directory, &expected, AT_SYMLINK_NOFOLLOW) == 0);
        peer_check(sent.st_ino == expected.st_ino && sent.st_dev == expected.st_dev);
}

static void particular(int connection) {
        uint32_t n = 0;

        answer_hello(connection);
        for (int i = 0; i < 2; i++) {
                FDPASS_AUTO struct fdpass_set set;
                struct wire_request request = peer_receive(connection, &set);

                peer_check(request.operation == PROTOCOL_MOUNT);
                for (n = 0; n < request.n_targets; n++)
                        check_target(&request, &set, n);
                peer_check(n == N_ELEMENTS(selected->directories) || !selected->directories[n]);
                peer_answer(connection, &request, (struct wire_reply){.lease = SCRIPTED_LEASE});
        }
        peer_receive_only(connection);
        peer_check(false);
}

START_TEST(targets_are_in_the_order_of_file_systems_and_hello_is_asked_once) {
        selected = &selections[_i];
        make_mountpoints();
        ck_assert_int_eq(mkdirat(scripted.root, "dev", 0755), 0);
        start(SCRIPTED_FEATURES, "mountatd 0.2.0", particular);
        ck_assert_int_eq(mount_root(selected->flags), 0);
        ck_assert_int_eq(mount_root(selected->flags), 0);
        expect_end();
}
END_TEST

START_TEST(a_missing_dev_is_named) {
        make_mountpoints();
        scripted_start_and_connect(peer_obliging);
        expect_client_failure(mount_root(ALL), ENOENT);
        expect_text("no directory dev below the root");
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 2);
}
END_TEST

START_TEST(pids_only_takes_procfs_all_the_same) {
        scripted_start_and_connect(peer_obliging);
        expect_client_failure(mount_root(MOUNTAT_DEV | MOUNTAT_PIDS_ONLY), EINVAL);
}
END_TEST

START_TEST(a_created_dev_goes_with_the_lease) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(mkdirat(scripted.root, "proc", 0755), 0);
        ck_assert_int_eq(mount_root(ALL | MOUNTAT_CREATE), 0);
        ck_assert(is_there("sys") && is_there("dev"));
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(is_there("proc") && !is_there("sys") && !is_there("dev"));
}
END_TEST

START_TEST(a_dev_that_was_there_stays) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(mkdirat(scripted.root, "dev", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "dev/mine", 0755), 0);
        ck_assert_int_eq(mount_root(MOUNTAT_DEV | MOUNTAT_CREATE), 0);
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(is_there("dev/mine"));
}
END_TEST

START_TEST(what_was_created_goes_when_dev_cannot_be) {
        scripted_start_and_connect(peer_obliging);
        ck_assert_int_eq(symlinkat("/dev", scripted.root, "dev"), 0);
        expect_client_failure(mount_root(ALL | MOUNTAT_CREATE), ELOOP);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 2);
        ck_assert(!is_there("proc") && !is_there("sys"));
}
END_TEST

/* ---- daemons without it ---- */

static void greets(int connection) {
        for (;;)
                answer_hello(connection);
}

START_TEST(an_older_daemon_is_not_asked_and_named) {
        struct mountat_target targets[] = {target(MOUNTAT_FILE_SYSTEM_DEV)};
        uint64_t lease = 77;

        start(OLD_FEATURES, "mountatd 0.1.0", greets);
        expect_failure(mount_root(ALL | MOUNTAT_CREATE), EOPNOTSUPP,
                       MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM);
        expect_text("mountatd 0.1.0 can't mount a /dev");
        expect_text("0.2 or later");
        ck_assert(!is_there("proc") && !is_there("sys") && !is_there("dev"));
        expect_failure(mountat_mount(scripted.mountat, targets, 1, &lease), EOPNOTSUPP,
                       MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM);
        ck_assert_uint_eq(lease, 77);
        expect_failure(mountat_check(scripted.mountat, targets, 1), ENOSYS,
                       MOUNTAT_STATUS_UNKNOWN_OPERATION);
        expect_text("can't check");
        expect_failure(mount_root(MOUNTAT_DEV | MOUNTAT_CREATE | MOUNTAT_KEEP), ENOSYS,
                       MOUNTAT_STATUS_UNKNOWN_OPERATION);
        expect_text("can't keep");
        expect_end();
}
END_TEST

static void knows_proc_alone(int connection) {
        struct wire_request request = peer_receive_only(connection);

        peer_check(request.operation == PROTOCOL_MOUNT);
        peer_answer(connection, &request, (struct wire_reply){.lease = SCRIPTED_LEASE});
        greets(connection);
}

START_TEST(an_older_daemon_goes_on_with_proc_and_sysfs) {
        make_mountpoints();
        start(OLD_FEATURES, "mountatd 0.1.0", knows_proc_alone);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS), 0);
        expect_failure(mount_root(MOUNTAT_DEV | MOUNTAT_CREATE), EOPNOTSUPP,
                       MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM);
        expect_end();
}
END_TEST

static void explains(int connection) {
        for (;;) {
                struct wire_request request = peer_receive_only(connection);

                if (request.operation == PROTOCOL_HELLO) {
                        peer_answer(connection, &request, greeting);
                        continue;
                }
                peer_check(request.operation == PROTOCOL_MOUNT);
                peer_answer(connection, &request,
                            (struct wire_reply){.status = STATUS_UNSUPPORTED_FILE_SYSTEM,
                                                .target = request.n_targets - 1,
                                                .text = "no /dev/tty here"});
        }
}

START_TEST(a_daemon_that_has_none_says_why_itself) {
        struct mountat_target targets[] = {target(MOUNTAT_FILE_SYSTEM_DEV)};

        start(NO_DEV, "mountatd 0.2.0", explains);
        for (int i = 0; i < 2; i++) {
                expect_failure(mount_root(ALL | MOUNTAT_CREATE), EOPNOTSUPP,
                               MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM);
                ck_assert_str_eq(mountat_error_text(scripted.mountat), "no /dev/tty here");
                ck_assert_uint_eq(mountat_error_target(scripted.mountat), 2);
                ck_assert(!is_there("dev"));
        }
        expect_failure(mountat_check(scripted.mountat, targets, 1), EOPNOTSUPP,
                       MOUNTAT_STATUS_UNSUPPORTED_FILE_SYSTEM);
        ck_assert_str_eq(mountat_error_text(scripted.mountat), "no /dev/tty here");
        expect_end();
}
END_TEST

int main(void) {
        Suite *suite = suite_create("mountat_dev");
        TCase *asking = scripted_case(suite, "asking");
        TCase *lacking = scripted_case(suite, "lacking");

        tcase_add_loop_test(asking,
                            targets_are_in_the_order_of_file_systems_and_hello_is_asked_once, 0,
                            N_ELEMENTS(selections));
        tcase_add_test(asking, a_missing_dev_is_named);
        tcase_add_test(asking, pids_only_takes_procfs_all_the_same);
        tcase_add_test(asking, a_created_dev_goes_with_the_lease);
        tcase_add_test(asking, a_dev_that_was_there_stays);
        tcase_add_test(asking, what_was_created_goes_when_dev_cannot_be);

        tcase_add_test(lacking, an_older_daemon_is_not_asked_and_named);
        tcase_add_test(lacking, an_older_daemon_goes_on_with_proc_and_sysfs);
        tcase_add_test(lacking, a_daemon_that_has_none_says_why_itself);
        return suite_run_all(suite);
}
