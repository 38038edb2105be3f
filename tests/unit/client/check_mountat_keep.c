/* SPDX-License-Identifier: Apache-2.0 */

/* Kept leases and checks in libmountat: the requests, and what stays afterwards. */

#include "tests/fixtures/descriptors.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <unistd.h>

static const struct wire_reply able = {
        .flags = PROTOCOL_FEATURE_KEEP | PROTOCOL_FEATURE_CHECK,
        .text = "mountatd 0.2.0",
};

/* The number of the script's connection, from 1. */
static unsigned connections;

static struct wire_request receive(int connection, uint16_t operation) {
        struct wire_request request = peer_receive_only(connection);

        peer_check(request.operation == operation);
        return request;
}

static void answer_hello(int connection, struct wire_reply reply) {
        struct wire_request request = receive(connection, PROTOCOL_HELLO);

        peer_answer(connection, &request, reply);
}

static void answer_mount(int connection, uint32_t flags, struct wire_reply reply) {
        struct wire_request request = receive(connection, PROTOCOL_MOUNT);

        peer_check(request.flags == flags);
        peer_answer(connection, &request, reply);
}

static void answer_unmount(int connection, struct wire_reply reply) {
        struct wire_request request = receive(connection, PROTOCOL_UNMOUNT);

        peer_check(request.lease == SCRIPTED_LEASE && request.flags == 0);
        peer_answer(connection, &request, reply);
}

/* Expects no further request. */
static void expect_hang_up(int connection) {
        peer_receive_only(connection);
        peer_check(false);
}

static struct mountat_target target(void) {
        return (struct mountat_target){.fd = scripted.root,
                                       .file_system = MOUNTAT_FILE_SYSTEM_PROC};
}

static int mount_kept(void) {
        struct mountat_target targets[] = {target()};
        uint64_t lease = 77;
        int result = mountat_mount_kept(scripted.mountat, targets, 1, &lease);

        ck_assert_uint_eq(lease, result == 0 ? SCRIPTED_LEASE : 77);
        return result;
}

static int check(void) {
        struct mountat_target targets[] = {target()};

        return mountat_check(scripted.mountat, targets, 1);
}

/* ---- requests ---- */

static void keeps_thrice(int connection) {
        answer_hello(connection, able);
        for (int i = 0; i < 3; i++)
                answer_mount(connection, PROTOCOL_KEEP,
                             (struct wire_reply){.lease = SCRIPTED_LEASE});
        expect_hang_up(connection);
}

START_TEST(a_kept_mount_asks_for_the_feature_once_and_closing_leaves_it) {
        unsigned before = descriptors_count();

        make_mountpoints();
        scripted_start_and_connect(keeps_thrice);
        ck_assert_int_eq(mount_kept(), 0);
        ck_assert_int_eq(mount_kept(), 0);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_SYSFS | MOUNTAT_KEEP), 0);
        ck_assert_uint_eq(descriptors_count(), before + 2); /* the socket and its watch */
        expect_end();
}
END_TEST

static void checks(int connection) {
        answer_hello(connection, able);
        answer_mount(connection, PROTOCOL_CHECK, (struct wire_reply){0});
        answer_mount(connection, PROTOCOL_CHECK,
                     (struct wire_reply){.status = STATUS_NOT_AUTHORISED, .target = 0});
        expect_hang_up(connection);
}

START_TEST(a_check_has_a_mounts_answers_and_no_lease) {
        scripted_start_and_connect(checks);
        ck_assert_int_eq(check(), 0);
        expect_failure(check(), EPERM, MOUNTAT_STATUS_NOT_AUTHORISED);
        ck_assert_uint_eq(mountat_error_target(scripted.mountat), 0);
        expect_end();
}
END_TEST

START_TEST(targets_of_both_are_1_to_16) {
        struct mountat_target targets[MOUNTAT_TARGETS_MAX + 1] = {0};
        size_t n = N_ELEMENTS(targets);
        uint64_t lease;

        expect_client_failure(mountat_mount_kept(scripted.mountat, targets, 0, &lease), EINVAL);
        expect_client_failure(mountat_mount_kept(scripted.mountat, targets, n, &lease), EINVAL);
        expect_client_failure(mountat_check(scripted.mountat, targets, 0), EINVAL);
        expect_client_failure(mountat_check(scripted.mountat, targets, n), EINVAL);
        expect_client_failure(mount_kept(), ENOTCONN);
        expect_client_failure(check(), ENOTCONN);
}
END_TEST

static void promises_too_much(int connection) {
        answer_hello(connection, able);
        answer_mount(connection, PROTOCOL_CHECK, (struct wire_reply){.lease = SCRIPTED_LEASE});
        answer_hello(connection, able);
}

START_TEST(a_check_that_gives_a_lease_breaks_the_protocol) {
        scripted_start_and_connect(promises_too_much);
        expect_client_failure(check(), EPROTO);
        expect_closed("broke the protocol");
}
END_TEST

static void promises_too_little(int connection) {
        answer_hello(connection, able);
        answer_mount(connection, PROTOCOL_KEEP, (struct wire_reply){0});
        answer_hello(connection, able);
}

START_TEST(a_kept_mount_without_a_lease_breaks_the_protocol) {
        scripted_start_and_connect(promises_too_little);
        expect_client_failure(mount_kept(), EPROTO);
        expect_closed("broke the protocol");
}
END_TEST

/* ---- older daemons ---- */

/* 0.1 refuses the flags as malformed, so it must not get any. */
static void old(int connection) {
        struct wire_reply reply = {.flags = 0x1f, .text = "mountatd 0.1.0"};

        for (;;)
                answer_hello(connection, reply);
}

START_TEST(an_older_daemon_is_not_asked_and_named) {
        scripted_start_and_connect(old);
        expect_failure(mount_kept(), ENOSYS, MOUNTAT_STATUS_UNKNOWN_OPERATION);
        expect_text("mountatd 0.1.0 can't keep");
        expect_text("0.2 or later");
        expect_failure(check(), ENOSYS, MOUNTAT_STATUS_UNKNOWN_OPERATION);
        expect_text("mountatd 0.1.0 can't check");
        expect_failure(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE | MOUNTAT_KEEP), ENOSYS,
                       MOUNTAT_STATUS_UNKNOWN_OPERATION);
        ck_assert(!is_there("proc"));
        expect_end();
}
END_TEST

static void refuses_connections(int connection) {
        peer_send(connection, &(struct wire_reply){.status = STATUS_LIMIT_EXCEEDED});
}

START_TEST(a_refused_connection_is_no_older_daemon) {
        scripted_start_and_connect(refuses_connections);
        expect_failure(mount_kept(), EDQUOT, MOUNTAT_STATUS_LIMIT_EXCEEDED);
}
END_TEST

/* The next instance is older than the one before. */
static void ages(int connection) {
        if (++connections > 1)
                old(connection);
        answer_hello(connection, able);
        answer_mount(connection, PROTOCOL_KEEP, (struct wire_reply){.lease = SCRIPTED_LEASE});
        receive(connection, PROTOCOL_MOUNT);
}

START_TEST(each_instance_is_asked_for_its_features) {
        scripted_start_and_connect(ages);
        ck_assert_int_eq(mount_kept(), 0);
        expect_failure(mount_kept(), ENOSYS, MOUNTAT_STATUS_UNKNOWN_OPERATION);
        expect_end();
}
END_TEST

/* ---- unmounting ---- */

static void obliges_by_turns(int connection) {
        switch (++connections) {
        case 1:
                answer_hello(connection, able);
                answer_mount(connection, PROTOCOL_KEEP,
                             (struct wire_reply){.lease = SCRIPTED_LEASE});
                receive(connection, PROTOCOL_HELLO);
                return;
        default:
                answer_hello(connection, able);
                answer_unmount(connection, (struct wire_reply){0});
                expect_hang_up(connection);
        }
}

START_TEST(a_kept_lease_is_not_adopted_and_unmounted_by_its_number) {
        scripted_start_and_connect(obliges_by_turns);
        ck_assert_int_eq(mount_root(MOUNTAT_PROC | MOUNTAT_CREATE | MOUNTAT_KEEP), 0);
        ck_assert_int_eq(mountat_hello(scripted.mountat, NULL, NULL), 0);
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        ck_assert(is_there("proc"));
        expect_end();
}
END_TEST

static void unmounts(int connection) {
        answer_unmount(connection, (struct wire_reply){0});
        answer_unmount(connection, (struct wire_reply){.status = STATUS_NO_SUCH_LEASE});
        expect_hang_up(connection);
}

START_TEST(another_connection_unmounts_by_number) {
        scripted_start_and_connect(unmounts);
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), 0);
        expect_failure(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), ENOENT,
                       MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("no such lease");
        expect_end();
}
END_TEST

/* ---- doubts ---- */

static void dies_before_it_answers(int connection) {
        if (++connections == 1) {
                receive(connection, PROTOCOL_UNMOUNT);
                return;
        }
        answer_unmount(connection, (struct wire_reply){.status = STATUS_NO_SUCH_LEASE});
        expect_hang_up(connection);
}

START_TEST(an_unmount_in_doubt_says_so) {
        scripted_start_and_connect(dies_before_it_answers);
        expect_failure(mountat_unmount(scripted.mountat, SCRIPTED_LEASE), ENOENT,
                       MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("went away");
        expect_text("0000001234567890");
}
END_TEST

static void grants_and_dies(int connection) {
        answer_hello(connection, able);
        if (++connections == 1) {
                receive(connection, PROTOCOL_MOUNT);
                return;
        }
        for (;;)
                answer_mount(connection, PROTOCOL_KEEP,
                             (struct wire_reply){.status = STATUS_ALREADY_MOUNTED});
}

START_TEST(a_kept_mount_in_doubt_names_the_list) {
        scripted_start_and_connect(grants_and_dies);
        expect_failure(mount_kept(), EBUSY, MOUNTAT_STATUS_ALREADY_MOUNTED);
        expect_text("mountatctl list");
}
END_TEST

static void dies_of_hello(int connection) {
        if (++connections == 1) {
                receive(connection, PROTOCOL_HELLO);
                return;
        }
        answer_hello(connection, able);
        answer_mount(connection, PROTOCOL_KEEP,
                     (struct wire_reply){.status = STATUS_ALREADY_MOUNTED, .text = "as it was"});
        expect_hang_up(connection);
}

START_TEST(a_loss_before_the_mount_was_asked_is_no_doubt) {
        scripted_start_and_connect(dies_of_hello);
        expect_failure(mount_kept(), EBUSY, MOUNTAT_STATUS_ALREADY_MOUNTED);
        expect_text("as it was");
}
END_TEST

static void checks_after_a_loss(int connection) {
        answer_hello(connection, able);
        if (++connections == 1) {
                receive(connection, PROTOCOL_MOUNT);
                return;
        }
        answer_mount(connection, PROTOCOL_CHECK,
                     (struct wire_reply){.status = STATUS_ALREADY_MOUNTED, .text = "as it was"});
        expect_hang_up(connection);
}

/* A check mounts nothing, so an existing mount isn't its own. */
START_TEST(a_check_is_never_in_doubt) {
        scripted_start_and_connect(checks_after_a_loss);
        expect_failure(check(), EBUSY, MOUNTAT_STATUS_ALREADY_MOUNTED);
        expect_text("as it was");
}
END_TEST

int main(void) {
        Suite *suite = suite_create("mountat_keep");
        TCase *asking = scripted_case(suite, "asking");
        TCase *afterwards = scripted_case(suite, "afterwards");

        tcase_add_test(asking, a_kept_mount_asks_for_the_feature_once_and_closing_leaves_it);
        tcase_add_test(asking, a_check_has_a_mounts_answers_and_no_lease);
        tcase_add_test(asking, targets_of_both_are_1_to_16);
        tcase_add_test(asking, a_check_that_gives_a_lease_breaks_the_protocol);
        tcase_add_test(asking, a_kept_mount_without_a_lease_breaks_the_protocol);
        tcase_add_test(asking, an_older_daemon_is_not_asked_and_named);
        tcase_add_test(asking, a_refused_connection_is_no_older_daemon);
        tcase_add_test(asking, each_instance_is_asked_for_its_features);

        tcase_add_test(afterwards, a_kept_lease_is_not_adopted_and_unmounted_by_its_number);
        tcase_add_test(afterwards, another_connection_unmounts_by_number);
        tcase_add_test(afterwards, an_unmount_in_doubt_says_so);
        tcase_add_test(afterwards, a_kept_mount_in_doubt_names_the_list);
        tcase_add_test(afterwards, a_loss_before_the_mount_was_asked_is_no_doubt);
        tcase_add_test(afterwards, a_check_is_never_in_doubt);
        return suite_run_all(suite);
}
