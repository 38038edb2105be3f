/* SPDX-License-Identifier: Apache-2.0 */

/*
 * libmountat when the daemon goes away and comes back. The peer really mounts, a tmpfs instead of
 * procfs, and adopts only with the roots of these mounts. So the program runs in its own mount
 * namespace.
 */

#include "common/fd.h"
#include "tests/test.h"
#include "tests/unit/client/scripted.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
        ENDLESS = -1,
        BOTH = MOUNTAT_PROC | MOUNTAT_SYSFS,
};

/* ---- the peer ---- */

/* The daemon's behaviour, set by the test before the peer starts. */
static struct plan {
        int requests[3];        /* to serve on each of its first connections, by default ENDLESS */
        bool dies_before_act;   /* at the last of these requests */
        bool dies_before_reply; /* at the last of these requests */
        bool refuses_adoption;
        uint16_t first_adoption; /* the status of the first adoption, if not OK */
        bool releases_refused;   /* a moment later */
        bool finds_mounted;      /* after the first connection */
        bool ignores_adoption;
} plan;

/* The peer's state: a copy of the test's when it starts. */
static struct ledger {
        unsigned connections;
        unsigned granted;
        dev_t devices[PROTOCOL_DEV + 1]; /* of the last mount, by file system */
} peer;

static void peer_place(int fd, const char *suffix, char *path, size_t size) {
        char link[64];
        ssize_t length;

        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        length = readlink(link, path, size - 8);
        peer_check(length > 0);
        path[length] = '\0';
        strcat(path, suffix);
}

static void peer_grant(const struct wire_request *request, const struct fdpass_set *set,
                       struct wire_reply *reply) {
        if (plan.finds_mounted && peer.connections > 1) {
                *reply = (struct wire_reply){.status = STATUS_ALREADY_MOUNTED};
                return;
        }
        for (uint32_t i = 0; i < request->n_targets; i++) {
                char path[256];
                struct stat stat_on_top;

                peer_place(set->fds[i], "", path, sizeof(path));
                peer_check(mount("none", path, "tmpfs", 0, NULL) == 0);
                peer_check(stat(path, &stat_on_top) == 0);
                peer.devices[request->targets[i].file_system] = stat_on_top.st_dev;
        }
        reply->lease = SCRIPTED_LEASE + peer.granted++;
}

static void peer_unmount_all(void) {
        static const char *const names[] = {"proc",      "sys",        "dev",      "other/proc",
                                            "other/sys", "moved/proc", "moved/dev"};

        for (size_t i = 0; i < N_ELEMENTS(names); i++) {
                char path[256];

                snprintf(path, sizeof(path), "%s/root/%s", scripted.dir, names[i]);
                umount2(path, MNT_DETACH);
        }
}

static void peer_adopt(const struct wire_request *request, const struct fdpass_set *set,
                       struct wire_reply *reply) {
        peer_check(request->lease >= SCRIPTED_LEASE);
        if (plan.refuses_adoption) {
                *reply = (struct wire_reply){.status = STATUS_NO_SUCH_LEASE};
                return;
        }
        if (plan.first_adoption) {
                *reply = (struct wire_reply){.status = plan.first_adoption};
                plan.first_adoption = 0;
                return;
        }
        for (uint32_t i = 0; i < request->n_targets; i++) {
                struct stat sent;

                peer_check(request->targets[i].options == 0);
                peer_check(fstat(set->fds[i], &sent) == 0);
                peer_check(sent.st_dev == peer.devices[request->targets[i].file_system] ||
                           peer.granted > 1);
        }
        reply->lease = request->lease;
}

static void peer_act(const struct wire_request *request, const struct fdpass_set *set,
                     struct wire_reply *reply) {
        switch (request->operation) {
        case PROTOCOL_HELLO:
                reply->flags = SCRIPTED_FEATURES;
                break;
        case PROTOCOL_MOUNT:
                peer_grant(request, set, reply);
                break;
        case PROTOCOL_UNMOUNT:
                peer_unmount_all();
                break;
        case PROTOCOL_ADOPT:
                peer_adopt(request, set, reply);
        }
}

static void mortal(int connection) {
        unsigned number = peer.connections++;
        int left = number < N_ELEMENTS(plan.requests) && plan.requests[number]
                           ? plan.requests[number]
                           : ENDLESS;

        while (left != 0) {
                FDPASS_AUTO struct fdpass_set set;
                struct wire_reply reply = {.target = STATUS_NO_TARGET};
                bool last = left > 0 && --left == 0;
                struct wire_request request;

                if (!peer_try_receive(connection, &request, &set))
                        return;
                if (last && plan.dies_before_act)
                        return;
                peer_act(&request, &set, &reply);
                if (last && plan.dies_before_reply)
                        return;
                if (request.operation == PROTOCOL_ADOPT && plan.ignores_adoption)
                        continue;
                peer_answer(connection, &request, reply);
                if (reply.status == STATUS_NO_SUCH_LEASE && plan.releases_refused) {
                        usleep(50000);
                        peer_unmount_all();
                }
        }
}

/* Starts the next instance with the state of the last one. */
static void start_next(void) {
        scripted_listen();
        scripted_start(mortal);
}

/* ---- the tests ---- */

static void teardown(void) {
        peer_unmount_all();
}

static void start(void) {
        make_mountpoints();
        scripted_start_and_connect(mortal);
}

static bool is_mounted(const char *name) {
        struct statx stat;

        ck_assert_int_eq(statx(scripted.root, name, 0, 0, &stat), 0);
        return stat.stx_attributes & STATX_ATTR_MOUNT_ROOT;
}

static int hello(void) {
        return mountat_hello(scripted.mountat, NULL, NULL);
}

/* Waits for the loss of the connection. */
static int recover(void) {
        if (mountat_fd(scripted.mountat) >= 0)
                wait_for_hang_up();
        return mountat_recover(scripted.mountat);
}

static int unmount(void) {
        return mountat_unmount(scripted.mountat, SCRIPTED_LEASE);
}

/* Mounts sys before proc, by one descriptor each, closed afterwards. */
static uint64_t mount_targets(const char *parent) {
        static const struct {
                const char *name;
                uint32_t file_system;
        } kinds[] = {{"sys", MOUNTAT_FILE_SYSTEM_SYSFS}, {"proc", MOUNTAT_FILE_SYSTEM_PROC}};
        struct mountat_target targets[N_ELEMENTS(kinds)];
        uint64_t lease = 0;

        for (size_t i = 0; i < N_ELEMENTS(kinds); i++) {
                char path[64];

                snprintf(path, sizeof(path), "%s/%s", parent, kinds[i].name);
                targets[i] = (struct mountat_target){
                        .fd = openat(scripted.root, path, O_PATH | O_CLOEXEC),
                        .file_system = kinds[i].file_system,
                };
                ck_assert_int_ge(targets[i].fd, 0);
        }
        ck_assert_int_eq(mountat_mount(scripted.mountat, targets, N_ELEMENTS(targets), &lease), 0);
        for (size_t i = 0; i < N_ELEMENTS(kinds); i++)
                close(targets[i].fd);
        return lease;
}

MOUNT_TEST(a_lease_is_adopted_before_the_next_call) {
        plan.requests[0] = 1;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_int_eq(hello(), 0);
        ck_assert(is_mounted("proc") && is_mounted("sys"));
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc") && !is_mounted("sys"));
}

MOUNT_TEST(targets_are_adopted_in_their_own_order) {
        plan.requests[0] = 1;
        start();
        ck_assert_uint_eq(mount_targets("."), SCRIPTED_LEASE);
        ck_assert_int_eq(recover(), 0);
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc"));
}

MOUNT_TEST(a_target_is_found_where_its_parent_was_moved_to) {
        plan.requests[0] = 1;
        start();
        ck_assert_int_eq(mkdirat(scripted.root, "other", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "other/proc", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "other/sys", 0755), 0);
        mount_targets("other");
        ck_assert_int_eq(renameat(scripted.root, "other", scripted.root, "moved"), 0);
        ck_assert_int_eq(recover(), 0);
        ck_assert(is_mounted("moved/proc"));
        ck_assert_int_eq(renameat(scripted.root, "moved", scripted.root, "other"), 0);
}

MOUNT_TEST(several_leases_are_adopted_one_by_one) {
        plan.requests[0] = 2;
        start();
        ck_assert_int_eq(mkdirat(scripted.root, "other", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "other/proc", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "other/sys", 0755), 0);
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_uint_eq(mount_targets("other"), SCRIPTED_LEASE + 1);
        ck_assert_int_eq(recover(), 0);
        ck_assert_int_eq(mountat_unmount(scripted.mountat, SCRIPTED_LEASE + 1), 0);
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(the_next_instance_may_die_while_it_adopts) {
        plan.requests[0] = plan.requests[1] = 1;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0); /* 1 */
        ck_assert_int_eq(hello(), 0);          /* 2: adopts and dies; 3: adopts and answers */
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(recovering_what_is_whole_does_nothing) {
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        plan.refuses_adoption = true;
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(recovering_what_was_never_connected_fails) {
        expect_client_failure(mountat_recover(scripted.mountat), ENOTCONN);
}

/* Each instance is asked for its features before the mount. */
MOUNT_TEST(a_lease_with_a_dev_is_adopted_and_unmounted) {
        plan.requests[0] = 2;
        start();
        ck_assert_int_eq(mount_root(BOTH | MOUNTAT_DEV | MOUNTAT_CREATE), 0);
        ck_assert_int_eq(recover(), 0);
        ck_assert(is_mounted("proc") && is_mounted("sys") && is_mounted("dev"));
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc") && !is_there("dev"));
}

MOUNT_TEST(a_target_named_dev_is_found_where_its_parent_was_moved_to) {
        struct mountat_target target = {.file_system = MOUNTAT_FILE_SYSTEM_DEV};
        uint64_t lease = 77;

        plan.requests[0] = 2;
        start();
        ck_assert_int_eq(mkdirat(scripted.root, "other", 0755), 0);
        ck_assert_int_eq(mkdirat(scripted.root, "other/dev", 0755), 0);
        target.fd = openat(scripted.root, "other/dev", O_PATH | O_CLOEXEC);
        ck_assert_int_eq(mountat_mount(scripted.mountat, &target, 1, &lease), 0);
        close(target.fd);
        ck_assert_int_eq(renameat(scripted.root, "other", scripted.root, "moved"), 0);
        ck_assert_int_eq(recover(), 0);
        ck_assert(is_mounted("moved/dev"));
        ck_assert_int_eq(mountat_unmount(scripted.mountat, lease), 0);
        ck_assert(!is_mounted("moved/dev"));
}

MOUNT_TEST(a_dev_that_is_gone_loses_the_lease) {
        plan.requests[0] = 2;
        start();
        ck_assert_int_eq(mount_root(BOTH | MOUNTAT_DEV | MOUNTAT_CREATE), 0);
        unmount_from("dev");
        expect_failure(recover(), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("gone");
}

MOUNT_TEST(a_mount_that_was_not_begun_is_asked_for_again) {
        plan.requests[0] = 1;
        plan.dies_before_act = true;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert(is_mounted("proc"));
}

MOUNT_TEST(a_mount_that_was_never_sent_is_asked_for_again) {
        plan.requests[0] = 1;
        start();
        ck_assert_int_eq(hello(), 0);
        wait_for_hang_up();
        ck_assert_int_eq(mount_root(BOTH | MOUNTAT_CREATE), 0);
        ck_assert(is_mounted("proc"));
}

MOUNT_TEST(a_mount_that_nobody_was_told_of_is_said_to_be_in_doubt) {
        uint64_t lease = 77;

        plan.requests[0] = 1;
        plan.dies_before_reply = true;
        plan.finds_mounted = true;
        start();
        mountat_set_timeout(scripted.mountat, 50 * SCRIPTED_SHORT); /* it gives up before */
        expect_failure(mountat_mount_root(scripted.mountat, scripted.root, BOTH, &lease), EBUSY,
                       MOUNTAT_STATUS_ALREADY_MOUNTED);
        expect_text("adopt-timeout");
        ck_assert_uint_eq(lease, 77);
        ck_assert_int_ge(mountat_fd(scripted.mountat), 0);
}

MOUNT_TEST(an_unmount_that_was_carried_out_unanswered_is_a_success) {
        plan.requests[0] = 2;
        plan.dies_before_reply = true;
        start();
        ck_assert_int_eq(mount_root(BOTH | MOUNTAT_CREATE), 0);
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc"));
}

MOUNT_TEST(an_unmount_that_was_not_begun_is_asked_for_again) {
        plan.requests[0] = 2;
        plan.dies_before_act = true;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc"));
}

MOUNT_TEST(an_unmount_waits_for_the_release_of_what_was_refused) {
        plan.requests[0] = 2;
        plan.dies_before_act = true;
        plan.refuses_adoption = plan.releases_refused = true;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc"));
}

MOUNT_TEST(an_unmount_does_not_wait_for_ever) {
        int64_t begin;

        plan.requests[0] = 2;
        plan.dies_before_act = true;
        plan.refuses_adoption = true;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        mountat_set_timeout(scripted.mountat, 10 * SCRIPTED_SHORT); /* for all that it tries */
        begin = now();
        expect_failure(unmount(), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_short(begin);
        expect_text("was lost");
}

MOUNT_TEST(a_lease_that_is_refused_is_told_once) {
        plan.requests[0] = 1;
        plan.refuses_adoption = true;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_int_eq(hello(), 0);
        for (int i = 0; i < 2; i++) {
                expect_failure(mountat_recover(scripted.mountat), ENOENT,
                               MOUNTAT_STATUS_NO_SUCH_LEASE);
                expect_text("was lost");
                ck_assert_int_ge(mountat_fd(scripted.mountat), 0);
        }
        expect_failure(unmount(), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("0000001234567890 was lost");
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(unmount(), 0); /* sent */
}

static void offer_twice(uint16_t status, int error) {
        plan.requests[0] = 1;
        plan.first_adoption = status;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        expect_failure(recover(), error, (int)status);
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc") && !is_mounted("sys"));
}

MOUNT_TEST(a_lease_is_offered_again_after_a_limit) {
        offer_twice(STATUS_LIMIT_EXCEEDED, EDQUOT);
}

MOUNT_TEST(a_lease_is_offered_again_after_a_shutdown) {
        offer_twice(STATUS_SHUTTING_DOWN, ESHUTDOWN);
}

MOUNT_TEST(a_lease_whose_mounts_are_gone_is_lost) {
        plan.requests[0] = 1;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        peer_unmount_all();
        expect_failure(recover(), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("gone");
}

MOUNT_TEST(a_lease_whose_directories_are_gone_is_lost) {
        plan.requests[0] = 1;
        start();
        mount_targets(".");
        peer_unmount_all();
        ck_assert_int_eq(unlinkat(scripted.root, "proc", AT_REMOVEDIR), 0);
        ck_assert_int_eq(unlinkat(scripted.root, "sys", AT_REMOVEDIR), 0);
        expect_failure(recover(), ENOENT, MOUNTAT_STATUS_NO_SUCH_LEASE);
        expect_text("gone");
}

MOUNT_TEST(a_daemon_that_stays_away_costs_the_timeout_and_no_lease) {
        int64_t begin;

        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        scripted_stop();
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        for (int i = 0; i < 2; i++) {
                begin = now();
                expect_client_failure(i == 0 ? hello() : mountat_recover(scripted.mountat),
                                      ECONNRESET);
                expect_short(begin);
                expect_text(scripted.path);
                ck_assert_int_eq(mountat_fd(scripted.mountat), -ENOTCONN);
        }
        unlink(scripted.path);
        expect_client_failure(unmount(), ECONNRESET);

        peer.granted = 2; /* the state of the last instance */
        mountat_set_timeout(scripted.mountat, 0);
        start_next();
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc"));
}

MOUNT_TEST(a_daemon_that_does_not_answer_may_still_be_replaced) {
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        scripted_kill(); /* the socket still queues connections */
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(hello(), ETIMEDOUT);

        peer.granted = 2;
        mountat_set_timeout(scripted.mountat, 0);
        scripted_start(mortal);
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(connecting_by_hand_starts_over) {
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        scripted_kill();
        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        expect_client_failure(hello(), ETIMEDOUT);

        mountat_set_timeout(scripted.mountat, 0);
        plan.refuses_adoption = true;
        ck_assert_int_eq(mountat_connect(scripted.mountat, scripted.path), 0);
        scripted_start(mortal);
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
}

MOUNT_TEST(a_shortage_of_descriptors_loses_no_lease) {
        const int *filled;

        plan.requests[0] = 1;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        wait_for_hang_up();
        filled = descriptors_leave(1, scripted.root);
        expect_client_failure(mountat_recover(scripted.mountat), EMFILE);
        ck_assert_int_eq(hello(), 0);
        expect_client_failure(unmount(), EMFILE);
        descriptors_give_back(filled);
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(the_watched_descriptor_stays_the_same) {
        int fd;

        plan.requests[0] = 1;
        start();
        fd = mountat_fd(scripted.mountat);
        ck_assert_int_eq(mount_root(BOTH), 0);
        wait_for_hang_up();
        ck_assert_int_eq(mountat_recover(scripted.mountat), 0);
        ck_assert_int_eq(mountat_fd(scripted.mountat), fd);
        ck_assert_int_eq(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0), 0);
}

/* ---- the keeper ---- */

static void wait_until_connected(void) {
        for (int64_t begin = now(); mountat_fd(scripted.mountat) < 0;) {
                ck_assert_int_lt(now() - begin, 10000);
                usleep(1000);
        }
}

MOUNT_TEST(the_keeper_recovers_while_nobody_calls) {
        start();
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        ck_assert_int_eq(mount_root(BOTH), 0);
        peer.granted = 2;
        scripted_stop();
        while (mountat_fd(scripted.mountat) >= 0)
                usleep(1000);
        start_next();
        wait_until_connected();
        ck_assert_int_eq(unmount(), 0);
        ck_assert(!is_mounted("proc"));
}

MOUNT_TEST(the_keeper_may_be_there_before_the_connection) {
        plan.requests[0] = 1;
        make_mountpoints();
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        scripted_start_and_connect(mortal);
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(the_keeper_and_its_owner_share_a_connection_that_breaks_often) {
        plan.requests[0] = plan.requests[1] = plan.requests[2] = 1;
        start();
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        ck_assert_int_eq(mount_root(BOTH), 0);
        for (int i = 0; i < 100; i++)
                ck_assert_int_eq(hello(), 0);
        ck_assert_int_eq(unmount(), 0);
}

MOUNT_TEST(the_keeper_ends_while_the_daemon_is_away) {
        int64_t begin;

        start();
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        ck_assert_int_eq(mount_root(BOTH), 0);
        scripted_stop();
        usleep(SCRIPTED_SHORT * 1000);
        begin = now();
        scripted.mountat = mountat_free(scripted.mountat);
        ck_assert_int_lt(now() - begin, SCRIPTED_LONG);
}

MOUNT_TEST(the_keeper_ends_while_the_daemon_does_not_answer) {
        int64_t begin;

        plan.requests[0] = 1;
        plan.ignores_adoption = true;
        start();
        ck_assert_int_eq(mount_root(BOTH), 0);
        ck_assert_int_eq(mountat_keep(scripted.mountat), 0);
        usleep(SCRIPTED_SHORT * 1000);

        mountat_set_timeout(scripted.mountat, SCRIPTED_SHORT);
        begin = now();
        expect_client_failure(hello(), ETIMEDOUT); /* waits for the keeper */
        expect_short(begin);
        begin = now();
        scripted.mountat = mountat_free(scripted.mountat);
        ck_assert_int_lt(now() - begin, SCRIPTED_LONG);
}

int main(void) {
        Suite *suite = suite_create("connection_recovery");
        TCase *tcase = scripted_case(suite, "connection_recovery");
        const TTest *const *tests = (const TTest *const[]){
                a_lease_is_adopted_before_the_next_call,
                a_lease_is_offered_again_after_a_limit,
                a_lease_is_offered_again_after_a_shutdown,
                targets_are_adopted_in_their_own_order,
                a_target_is_found_where_its_parent_was_moved_to,
                several_leases_are_adopted_one_by_one,
                the_next_instance_may_die_while_it_adopts,
                recovering_what_is_whole_does_nothing,
                recovering_what_was_never_connected_fails,
                a_lease_with_a_dev_is_adopted_and_unmounted,
                a_target_named_dev_is_found_where_its_parent_was_moved_to,
                a_dev_that_is_gone_loses_the_lease,
                a_mount_that_was_not_begun_is_asked_for_again,
                a_mount_that_was_never_sent_is_asked_for_again,
                a_mount_that_nobody_was_told_of_is_said_to_be_in_doubt,
                an_unmount_that_was_carried_out_unanswered_is_a_success,
                an_unmount_that_was_not_begun_is_asked_for_again,
                an_unmount_waits_for_the_release_of_what_was_refused,
                an_unmount_does_not_wait_for_ever,
                a_lease_that_is_refused_is_told_once,
                a_lease_whose_mounts_are_gone_is_lost,
                a_lease_whose_directories_are_gone_is_lost,
                a_daemon_that_stays_away_costs_the_timeout_and_no_lease,
                a_daemon_that_does_not_answer_may_still_be_replaced,
                connecting_by_hand_starts_over,
                a_shortage_of_descriptors_loses_no_lease,
                the_watched_descriptor_stays_the_same,
                the_keeper_recovers_while_nobody_calls,
                the_keeper_may_be_there_before_the_connection,
                the_keeper_and_its_owner_share_a_connection_that_breaks_often,
                the_keeper_ends_while_the_daemon_is_away,
                the_keeper_ends_while_the_daemon_does_not_answer,
                NULL,
        };

        scripted_isolate();
        tcase_add_checked_fixture(tcase, NULL, teardown);
        for (; *tests; tests++)
                tcase_add_test(tcase, *tests);
        return suite_run_all(suite);
}
