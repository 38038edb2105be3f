/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Directories whose file system is a process of the client's: refused unless an administrator has
 * opened the place, and not waited for where avoidable.
 */

#include "common/fd.h"
#include "tests/test.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

enum visibility {
        FOR_ALL,
        HIDDEN, /* from all but Alice, even the daemon */
};

struct fixture {
        struct service service;
        struct fuse fuse;
        int client;
        int target;
};

/* Alice's FUSE on "build", which is a build directory if given to the daemon. */
static bool fixture_open(struct fixture *fixture, const char *test, enum visibility visibility,
                         bool allowed) {
        const char *path = sandbox_make_directory(USER_ALICE, 0755, "build");

        if (!fuse_mount(&fixture->fuse, path, USER_ALICE, visibility == FOR_ALL)) {
                test_skip_report(test, "there is no /dev/fuse");
                return false;
        }
        fixture->target = fuse_open(&fixture->fuse, "proc", USER_ALICE);
        fixture->service = service_start_with("a", "--build-directory",
                                              allowed ? path : sandbox_path("elsewhere"));
        fixture->client = client_connect(&fixture->service, USER_ALICE);
        return true;
}

static void fixture_close(struct fixture *fixture) {
        close(fixture->client);
        close(fixture->target);
        service_stop(&fixture->service);
        fuse_unmount(&fixture->fuse);
}

static void expect_refused(struct fixture *fixture) {
        struct wire_reply reply = client_mount(fixture->client, PROTOCOL_PROC, 0, fixture->target);

        client_expect(reply, STATUS_NOT_AUTHORISED, 0, 0);
        ck_assert_ptr_nonnull(strstr(reply.text, "on FUSE"));
        ck_assert_ptr_nonnull(strstr(reply.text, "--build-directory"));
}

static void expect_mounted(struct fixture *fixture) {
        struct wire_reply reply = client_mount(fixture->client, PROTOCOL_PROC, 0, fixture->target);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, fixture->service.source), 1);
        client_expect(client_unmount(fixture->client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(sandbox_count_mounts(0, fixture->service.source), 0);
}

SANDBOX_TEST(fuse_outside_the_build_directories_is_refused) {
        struct fixture fixture;

        if (!fixture_open(&fixture, "fuse_outside_the_build_directories_is_refused", FOR_ALL,
                          false))
                return;
        expect_refused(&fixture);
        fixture_close(&fixture);
}

SANDBOX_TEST(hidden_fuse_outside_the_build_directories_is_refused) {
        struct fixture fixture;

        if (!fixture_open(&fixture, "hidden_fuse_outside_the_build_directories_is_refused", HIDDEN,
                          false))
                return;
        expect_refused(&fixture);
        fixture_close(&fixture);
}

SANDBOX_TEST(fuse_below_a_build_directory_is_mounted_on) {
        struct fixture fixture;

        if (!fixture_open(&fixture, "fuse_below_a_build_directory_is_mounted_on", FOR_ALL, true))
                return;
        expect_mounted(&fixture);
        fixture_close(&fixture);
}

SANDBOX_TEST(hidden_fuse_below_a_build_directory_is_mounted_on) {
        struct fixture fixture;

        if (!fixture_open(&fixture, "hidden_fuse_below_a_build_directory_is_mounted_on", HIDDEN,
                          true))
                return;
        expect_mounted(&fixture);
        fixture_close(&fixture);
}

SANDBOX_TEST(stalled_fuse_is_refused_without_asking_it) {
        struct fixture fixture;

        if (!fixture_open(&fixture, "stalled_fuse_is_refused_without_asking_it", FOR_ALL, false))
                return;
        fuse_stall(&fixture.fuse);
        expect_refused(&fixture);
        fixture_close(&fixture);
}

/* Without a lookup in progress in the directory, the kernel has nothing to ask the server. */
SANDBOX_TEST(stalled_fuse_below_a_build_directory_is_mounted_on_without_asking_it) {
        struct fixture fixture;

        if (!fixture_open(&fixture,
                          "stalled_fuse_below_a_build_directory_is_mounted_on_without_asking_it",
                          FOR_ALL, true))
                return;
        fuse_stall(&fixture.fuse);
        expect_mounted(&fixture);
        fixture_close(&fixture);
}

/* bb_worker's file system detaches by itself when an action's directory is removed. */
SANDBOX_TEST(fuse_that_ends_under_a_mount_does_not_keep_the_lease) {
        struct fixture fixture;
        struct wire_reply reply;

        if (!fixture_open(&fixture, "fuse_that_ends_under_a_mount_does_not_keep_the_lease", FOR_ALL,
                          true))
                return;
        reply = client_mount(fixture.client, PROTOCOL_PROC, 0, fixture.target);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        fuse_unmount(&fixture.fuse);
        ck_assert_uint_eq(sandbox_count_mounts(0, fixture.service.source), 0);
        client_expect(client_unmount(fixture.client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        close(fixture.client);
        close(fixture.target);
        service_stop(&fixture.service);
}

static bool is_mounted_on(const struct fuse *fuse, const char *name) {
        FD_AUTO int fd = fuse_open(fuse, name, USER_ALICE);
        struct statfs stat;

        /* For a FUSE hidden from us it would be EACCES. */
        return fstatfs(fd, &stat) == 0 && stat.f_type == PROC_SUPER_MAGIC;
}

/*
 * In a detached tree, whose path is /build/proc for the kernel. Since Linux 6.15 it can be mounted
 * on, and nobody can unmount that; a user with own user and mount namespaces can have such a tree
 * without privilege.
 */
SANDBOX_TEST(fuse_that_is_attached_nowhere_is_refused_whatever_its_path) {
        static const int denied[] = {0, CALL_STATMOUNT, SYS_name_to_handle_at};
        enum { KERNELS = sizeof(denied) / sizeof(denied[0]) };

        for (unsigned i = 0; i < 2 * KERNELS; i++) {
                struct service service = service_start(&(struct service_plan){
                        .name = "a",
                        .denied = {denied[i / 2]},
                        .options = {"--build-directory=/build", "--log-level=debug"},
                });
                struct fuse fuse;
                int client, target;

                if (!fuse_create(&fuse, USER_ALICE, i % 2)) {
                        test_skip_report(
                                "fuse_that_is_attached_nowhere_is_refused_whatever_its_path",
                                "there is no /dev/fuse");
                        service_stop(&service);
                        return;
                }
                client = client_connect(&service, USER_ALICE);
                target = fuse_open(&fuse, "build/proc", USER_ALICE);
                client_expect(client_mount(client, PROTOCOL_PROC, 0, target),
                              STATUS_FOREIGN_NAMESPACE, 0, 0);
                sandbox_wait_for(service_has_logged(&service, "foreign-namespace: /build/proc"));
                ck_assert(!is_mounted_on(&fuse, "build/proc"));
                close(client);
                close(target);
                fuse_unmount(&fuse);
                service_stop(&service);
        }
}

int main(void) {
        TCase *tests = tcase_create("fuse");

        tcase_add_test(tests, fuse_outside_the_build_directories_is_refused);
        tcase_add_test(tests, hidden_fuse_outside_the_build_directories_is_refused);
        tcase_add_test(tests, fuse_below_a_build_directory_is_mounted_on);
        tcase_add_test(tests, hidden_fuse_below_a_build_directory_is_mounted_on);
        tcase_add_test(tests, stalled_fuse_is_refused_without_asking_it);
        tcase_add_test(tests, stalled_fuse_below_a_build_directory_is_mounted_on_without_asking_it);
        tcase_add_test(tests, fuse_that_ends_under_a_mount_does_not_keep_the_lease);
        tcase_add_test(tests, fuse_that_is_attached_nowhere_is_refused_whatever_its_path);
        return sandbox_run(tests);
}
