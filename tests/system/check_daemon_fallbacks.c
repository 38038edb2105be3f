/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The daemon on a kernel that lacks what newer ones have, or under a filter that doesn't know it:
 * without statmount (before Linux 6.8), without clones of detached mounts (before 6.15).
 */

#include "common/fd.h"
#include "tests/fixtures/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>

enum {
        CALL_OPEN_TREE = SYS_open_tree,
};

/* What can be lacking, and which features go with it. */
static const struct {
        int denied[2];
        uint32_t lacking;
} kernels[] = {
        {{CALL_STATMOUNT}, PROTOCOL_FEATURE_STATMOUNT},
        {{CALL_OPEN_TREE}, PROTOCOL_FEATURE_CLONES},
        {{CALL_STATMOUNT, CALL_OPEN_TREE}, PROTOCOL_FEATURE_STATMOUNT | PROTOCOL_FEATURE_CLONES},
};

enum { KERNELS = sizeof(kernels) / sizeof(kernels[0]) };

struct trial {
        struct service service;
        int client;
};

static struct trial trial_open(unsigned kernel) {
        struct trial trial = {
                .service = service_start(&(struct service_plan){
                        .name = "a",
                        .denied = {kernels[kernel].denied[0], kernels[kernel].denied[1]},
                }),
        };

        trial.client = client_connect(&trial.service, WORLD_ALICE);
        return trial;
}

static void trial_close(struct trial *trial) {
        close(trial->client);
        world_wait_for(service_count_fds(&trial->service) == trial->service.fds);
        service_stop(&trial->service);
}

WORLD_TEST(hello_tells_what_is_lacking) {
        for (unsigned k = 0; k < KERNELS; k++) {
                struct wire_request request = {.operation = PROTOCOL_HELLO};
                struct trial trial = trial_open(k);
                struct wire_reply reply = client_call(trial.client, &request, NULL, 0);

                client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(reply.flags & kernels[k].lacking, 0);
                trial_close(&trial);
        }
}

WORLD_TEST(mounts_are_the_same_and_can_be_removed_at_once) {
        world_make_root(WORLD_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct trial trial = trial_open(k);
                struct world_mount proc, sys;
                uint64_t lease = client_hold_root(trial.client, WORLD_ALICE, world_path("root"));

                ck_assert_uint_eq(world_count_mounts(0, trial.service.source), 2);
                ck_assert(world_find_mount(0, world_path("root/proc"), &proc));
                ck_assert_str_eq(proc.options, "ro,nosuid,nodev,noexec,relatime");
                ck_assert(world_has_option(proc.super, "ro"));
                ck_assert(world_has_option(proc.super, "hidepid=ptraceable"));
                ck_assert(world_find_mount(0, world_path("root/sys"), &sys));
                ck_assert_str_eq(sys.options, "ro,nosuid,nodev,noexec,relatime");

                client_expect(client_unmount(trial.client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_int_eq(world_rmdir(WORLD_ALICE, world_path("root/proc")), 0);
                world_make_directory(WORLD_ALICE, 0755, "root/proc");
                trial_close(&trial);
        }
}

WORLD_TEST(covered_directory_is_found_out) {
        world_make_root(WORLD_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct trial trial = trial_open(k);
                FD_AUTO int covered = world_open(WORLD_ALICE, world_path("root/proc"));

                ck_assert_int_eq(mount("other", world_path("root/proc"), "tmpfs", 0, NULL), 0);
                client_expect(client_mount(trial.client, PROTOCOL_PROC, 0, covered),
                              STATUS_ALREADY_MOUNTED, 0, 0);
                ck_assert_uint_eq(world_count_mounts(0, trial.service.source), 0);
                ck_assert_uint_eq(world_count_mounts(0, "other"), 1);
                ck_assert_int_eq(umount2(world_path("root/proc"), MNT_DETACH), 0);
                trial_close(&trial);
        }
}

/* Without statmount all that is stacked on our mount goes, which is what goes with it. */
WORLD_TEST(stranger_on_top_is_detached_with_ours) {
        world_make_root(WORLD_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct trial trial = trial_open(k);
                uint64_t lease = client_hold_root(trial.client, WORLD_ALICE, world_path("root"));

                ck_assert_int_eq(mount("stranger", world_path("root/proc"), "tmpfs", 0, NULL), 0);
                client_expect(client_unmount(trial.client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(world_count_mounts(0, trial.service.source), 0);
                ck_assert_uint_eq(world_count_mounts(0, "stranger"), 0);
                world_wait_for(service_has_logged(&trial.service, "detached 1 mount"));
                trial_close(&trial);
        }
}

/* Another mount that was there before ours, on the directory above, is no stranger on top. */
WORLD_TEST(what_lies_below_ours_stays) {
        world_make_directory(WORLD_ALICE, 0755, "under");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct trial trial = trial_open(k);
                uint64_t lease;

                ck_assert_int_eq(mount("under", world_path("under"), "tmpfs", 0, "mode=0755"), 0);
                ck_assert_int_eq(chown(world_path("under"), WORLD_ALICE, WORLD_ALICE), 0);
                world_make_directory(WORLD_ALICE, 0755, "under/proc");
                world_make_directory(WORLD_ALICE, 0755, "under/sys");
                lease = client_hold_root(trial.client, WORLD_ALICE, world_path("under"));
                client_expect(client_unmount(trial.client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(world_count_mounts(0, "under"), 1);
                ck_assert_int_eq(umount2(world_path("under"), MNT_DETACH), 0);
                trial_close(&trial);
        }
}

WORLD_TEST(mount_that_root_has_unmounted_is_unmounted_already) {
        world_make_root(WORLD_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct trial trial = trial_open(k);
                uint64_t lease = client_hold_root(trial.client, WORLD_ALICE, world_path("root"));

                ck_assert_int_eq(umount2(world_path("root/proc"), MNT_DETACH), 0);
                client_expect(client_unmount(trial.client, lease), STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(world_count_mounts(0, trial.service.source), 0);
                trial_close(&trial);
        }
}

WORLD_TEST(removed_and_detached_directories_are_refused) {
        world_make_root(WORLD_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct trial trial = trial_open(k);
                FD_AUTO int tree = open_tree(AT_FDCWD, world_path("root"),
                                             OPEN_TREE_CLONE | O_CLOEXEC),
                            gone = world_open(WORLD_ALICE, world_path("root/proc")),
                            detached = -EBADF;

                ck_assert_int_ge(tree, 0);
                detached = openat(tree, "sys", O_PATH | O_CLOEXEC);
                client_expect(client_mount(trial.client, PROTOCOL_SYSFS, 0, detached),
                              STATUS_FOREIGN_NAMESPACE, 0, 0);
                ck_assert_uint_eq(world_count_mounts(0, trial.service.source), 0);
                ck_assert_int_eq(world_rmdir(WORLD_ALICE, world_path("root/proc")), 0);
                client_expect(client_mount(trial.client, PROTOCOL_PROC, 0, gone),
                              STATUS_TARGET_VANISHED, 0, 0);
                world_make_directory(WORLD_ALICE, 0755, "root/proc");
                trial_close(&trial);
        }
}

int main(void) {
        TCase *tests = tcase_create("fallbacks");

        tcase_add_test(tests, hello_tells_what_is_lacking);
        tcase_add_test(tests, mounts_are_the_same_and_can_be_removed_at_once);
        tcase_add_test(tests, covered_directory_is_found_out);
        tcase_add_test(tests, stranger_on_top_is_detached_with_ours);
        tcase_add_test(tests, what_lies_below_ours_stays);
        tcase_add_test(tests, mount_that_root_has_unmounted_is_unmounted_already);
        tcase_add_test(tests, removed_and_detached_directories_are_refused);
        return world_run(tests);
}
