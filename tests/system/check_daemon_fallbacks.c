/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The daemon on a kernel that lacks newer calls, or under a filter that doesn't know them: without
 * statmount (before Linux 6.8), without clones of detached mounts (before 6.15).
 */

#include "common/fd.h"
#include "tests/test.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/syscall.h>

enum {
        CALL_OPEN_TREE = SYS_open_tree,
};

/* What can be lacking, and the features that depend on it. */
static const struct {
        int denied[2];
        uint32_t lacking;
} kernels[] = {
        {{CALL_STATMOUNT}, PROTOCOL_FEATURE_STATMOUNT},
        {{CALL_OPEN_TREE}, PROTOCOL_FEATURE_CLONES},
        {{CALL_STATMOUNT, CALL_OPEN_TREE}, PROTOCOL_FEATURE_STATMOUNT | PROTOCOL_FEATURE_CLONES},
};

enum { KERNELS = sizeof(kernels) / sizeof(kernels[0]) };

struct fixture {
        struct service service;
        int client;
};

static struct fixture fixture_open(unsigned kernel) {
        struct fixture fixture = {
                .service = service_start(&(struct service_plan){
                        .name = "a",
                        .denied = {kernels[kernel].denied[0], kernels[kernel].denied[1]},
                }),
        };

        fixture.client = client_connect(&fixture.service, USER_ALICE);
        return fixture;
}

static void fixture_close(struct fixture *fixture) {
        close(fixture->client);
        sandbox_wait_for(service_count_fds(&fixture->service) == fixture->service.fds);
        service_stop(&fixture->service);
}

SANDBOX_TEST(hello_tells_what_is_lacking) {
        for (unsigned k = 0; k < KERNELS; k++) {
                struct wire_request request = {.operation = PROTOCOL_HELLO};
                struct fixture fixture = fixture_open(k);
                struct wire_reply reply = client_call(fixture.client, &request, NULL, 0);

                client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
                ck_assert_uint_eq(reply.flags & kernels[k].lacking, 0);
                fixture_close(&fixture);
        }
}

SANDBOX_TEST(mounts_are_the_same_and_can_be_removed_at_once) {
        sandbox_make_root(USER_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct fixture fixture = fixture_open(k);
                struct sandbox_mount proc, sys;
                uint64_t lease = client_hold_root(fixture.client, USER_ALICE, sandbox_path("root"));

                ck_assert_uint_eq(sandbox_count_mounts(0, fixture.service.source), 2);
                ck_assert(sandbox_find_mount(0, sandbox_path("root/proc"), &proc));
                ck_assert_str_eq(proc.options, "ro,nosuid,nodev,noexec,relatime");
                ck_assert(sandbox_has_option(proc.super, "ro"));
                ck_assert(sandbox_has_option(proc.super, "hidepid=ptraceable"));
                ck_assert(sandbox_find_mount(0, sandbox_path("root/sys"), &sys));
                ck_assert_str_eq(sys.options, "ro,nosuid,nodev,noexec,relatime");

                client_expect(client_unmount(fixture.client, lease), STATUS_OK, 0,
                              STATUS_NO_TARGET);
                ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
                sandbox_make_directory(USER_ALICE, 0755, "root/proc");
                fixture_close(&fixture);
        }
}

SANDBOX_TEST(covered_directory_is_found_out) {
        sandbox_make_root(USER_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct fixture fixture = fixture_open(k);
                FD_AUTO int covered = sandbox_open(USER_ALICE, sandbox_path("root/proc"));

                ck_assert_int_eq(mount("other", sandbox_path("root/proc"), "tmpfs", 0, NULL), 0);
                client_expect(client_mount(fixture.client, PROTOCOL_PROC, 0, covered),
                              STATUS_ALREADY_MOUNTED, 0, 0);
                ck_assert_uint_eq(sandbox_count_mounts(0, fixture.service.source), 0);
                ck_assert_uint_eq(sandbox_count_mounts(0, "other"), 1);
                ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
                fixture_close(&fixture);
        }
}

/* Without statmount all mounts stacked on ours are detached with it. */
SANDBOX_TEST(stranger_on_top_is_detached_with_ours) {
        sandbox_make_root(USER_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct fixture fixture = fixture_open(k);
                uint64_t lease = client_hold_root(fixture.client, USER_ALICE, sandbox_path("root"));

                ck_assert_int_eq(mount("stranger", sandbox_path("root/proc"), "tmpfs", 0, NULL), 0);
                client_expect(client_unmount(fixture.client, lease), STATUS_OK, 0,
                              STATUS_NO_TARGET);
                ck_assert_uint_eq(sandbox_count_mounts(0, fixture.service.source), 0);
                ck_assert_uint_eq(sandbox_count_mounts(0, "stranger"), 0);
                sandbox_wait_for(service_has_logged(&fixture.service, "detached 1 mount"));
                fixture_close(&fixture);
        }
}

/* A mount on the directory above, older than ours, isn't stacked on ours. */
SANDBOX_TEST(what_lies_below_ours_stays) {
        sandbox_make_directory(USER_ALICE, 0755, "under");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct fixture fixture = fixture_open(k);
                uint64_t lease;

                ck_assert_int_eq(mount("under", sandbox_path("under"), "tmpfs", 0, "mode=0755"), 0);
                ck_assert_int_eq(chown(sandbox_path("under"), USER_ALICE, USER_ALICE), 0);
                sandbox_make_directory(USER_ALICE, 0755, "under/proc");
                sandbox_make_directory(USER_ALICE, 0755, "under/sys");
                lease = client_hold_root(fixture.client, USER_ALICE, sandbox_path("under"));
                client_expect(client_unmount(fixture.client, lease), STATUS_OK, 0,
                              STATUS_NO_TARGET);
                ck_assert_uint_eq(sandbox_count_mounts(0, "under"), 1);
                ck_assert_int_eq(umount2(sandbox_path("under"), MNT_DETACH), 0);
                fixture_close(&fixture);
        }
}

SANDBOX_TEST(mount_that_root_has_unmounted_is_unmounted_already) {
        sandbox_make_root(USER_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct fixture fixture = fixture_open(k);
                uint64_t lease = client_hold_root(fixture.client, USER_ALICE, sandbox_path("root"));

                ck_assert_int_eq(umount2(sandbox_path("root/proc"), MNT_DETACH), 0);
                client_expect(client_unmount(fixture.client, lease), STATUS_OK, 0,
                              STATUS_NO_TARGET);
                ck_assert_uint_eq(sandbox_count_mounts(0, fixture.service.source), 0);
                fixture_close(&fixture);
        }
}

SANDBOX_TEST(removed_and_detached_directories_are_refused) {
        sandbox_make_root(USER_ALICE, "root");
        for (unsigned k = 0; k < KERNELS; k++) {
                struct fixture fixture = fixture_open(k);
                FD_AUTO int tree = open_tree(AT_FDCWD, sandbox_path("root"),
                                             OPEN_TREE_CLONE | O_CLOEXEC),
                            gone = sandbox_open(USER_ALICE, sandbox_path("root/proc")),
                            detached = -EBADF;

                ck_assert_int_ge(tree, 0);
                detached = openat(tree, "sys", O_PATH | O_CLOEXEC);
                client_expect(client_mount(fixture.client, PROTOCOL_SYSFS, 0, detached),
                              STATUS_FOREIGN_NAMESPACE, 0, 0);
                ck_assert_uint_eq(sandbox_count_mounts(0, fixture.service.source), 0);
                ck_assert_int_eq(sandbox_rmdir(USER_ALICE, sandbox_path("root/proc")), 0);
                client_expect(client_mount(fixture.client, PROTOCOL_PROC, 0, gone),
                              STATUS_TARGET_VANISHED, 0, 0);
                sandbox_make_directory(USER_ALICE, 0755, "root/proc");
                fixture_close(&fixture);
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
        return sandbox_run(tests);
}
