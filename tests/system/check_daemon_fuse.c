/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Directories whose file system is a process of the client's: refused unless an administrator has
 * opened the place, and never waited for where that can be helped.
 */

#include "common/fd.h"
#include "tests/fixtures/client.h"
#include "tests/fixtures/fuse.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

enum visibility {
        FOR_ALL,
        HIDDEN, /* from all but Alice, the daemon included */
};

struct scene {
        struct service service;
        struct fuse fuse;
        int client;
        int target;
};

/* A FUSE of Alice's on "build", which is a build directory if the daemon is told so. */
static bool scene_open(struct scene *scene, const char *test, enum visibility visibility,
                       bool allowed) {
        const char *path = world_make_directory(WORLD_ALICE, 0755, "build");

        if (!fuse_mount(&scene->fuse, path, WORLD_ALICE, visibility == FOR_ALL)) {
                test_skip_report(test, "there is no /dev/fuse");
                return false;
        }
        scene->target = fuse_open(&scene->fuse, "proc", WORLD_ALICE);
        scene->service = service_start_with("a", "--build-directory",
                                            allowed ? path : world_path("elsewhere"));
        scene->client = client_connect(&scene->service, WORLD_ALICE);
        return true;
}

static void scene_close(struct scene *scene) {
        close(scene->client);
        close(scene->target);
        service_stop(&scene->service);
        fuse_unmount(&scene->fuse);
}

static void expect_refused(struct scene *scene) {
        struct wire_reply reply = client_mount(scene->client, PROTOCOL_PROC, 0, scene->target);

        client_expect(reply, STATUS_NOT_AUTHORISED, 0, 0);
        ck_assert_ptr_nonnull(strstr(reply.text, "on FUSE"));
        ck_assert_ptr_nonnull(strstr(reply.text, "--build-directory"));
}

static void expect_mounted(struct scene *scene) {
        struct wire_reply reply = client_mount(scene->client, PROTOCOL_PROC, 0, scene->target);

        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(world_count_mounts(0, scene->service.source), 1);
        client_expect(client_unmount(scene->client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        ck_assert_uint_eq(world_count_mounts(0, scene->service.source), 0);
}

WORLD_TEST(fuse_outside_the_build_directories_is_refused) {
        struct scene scene;

        if (!scene_open(&scene, "fuse_outside_the_build_directories_is_refused", FOR_ALL, false))
                return;
        expect_refused(&scene);
        scene_close(&scene);
}

WORLD_TEST(hidden_fuse_outside_the_build_directories_is_refused) {
        struct scene scene;

        if (!scene_open(&scene, "hidden_fuse_outside_the_build_directories_is_refused", HIDDEN,
                        false))
                return;
        expect_refused(&scene);
        scene_close(&scene);
}

WORLD_TEST(fuse_below_a_build_directory_is_mounted_on) {
        struct scene scene;

        if (!scene_open(&scene, "fuse_below_a_build_directory_is_mounted_on", FOR_ALL, true))
                return;
        expect_mounted(&scene);
        scene_close(&scene);
}

WORLD_TEST(hidden_fuse_below_a_build_directory_is_mounted_on) {
        struct scene scene;

        if (!scene_open(&scene, "hidden_fuse_below_a_build_directory_is_mounted_on", HIDDEN, true))
                return;
        expect_mounted(&scene);
        scene_close(&scene);
}

WORLD_TEST(stalled_fuse_is_refused_without_asking_it) {
        struct scene scene;

        if (!scene_open(&scene, "stalled_fuse_is_refused_without_asking_it", FOR_ALL, false))
                return;
        fuse_stall(&scene.fuse);
        expect_refused(&scene);
        scene_close(&scene);
}

/* Unless a lookup in the directory is under way, the kernel has nothing to ask it either. */
WORLD_TEST(stalled_fuse_below_a_build_directory_is_mounted_on_without_asking_it) {
        struct scene scene;

        if (!scene_open(&scene,
                        "stalled_fuse_below_a_build_directory_is_mounted_on_without_asking_it",
                        FOR_ALL, true))
                return;
        fuse_stall(&scene.fuse);
        expect_mounted(&scene);
        scene_close(&scene);
}

/* The worker of bb_worker detaches by itself when an action's directory goes. */
WORLD_TEST(fuse_that_ends_under_a_mount_does_not_keep_the_lease) {
        struct scene scene;
        struct wire_reply reply;

        if (!scene_open(&scene, "fuse_that_ends_under_a_mount_does_not_keep_the_lease", FOR_ALL,
                        true))
                return;
        reply = client_mount(scene.client, PROTOCOL_PROC, 0, scene.target);
        client_expect(reply, STATUS_OK, 0, STATUS_NO_TARGET);
        fuse_unmount(&scene.fuse);
        ck_assert_uint_eq(world_count_mounts(0, scene.service.source), 0);
        client_expect(client_unmount(scene.client, reply.lease), STATUS_OK, 0, STATUS_NO_TARGET);
        close(scene.client);
        close(scene.target);
        service_stop(&scene.service);
}

static bool is_mounted_on(const struct fuse *fuse, const char *name) {
        FD_AUTO int fd = fuse_open(fuse, name, WORLD_ALICE);
        struct statfs stat;

        /* Of a FUSE that hides from us it would be EACCES. */
        return fstatfs(fd, &stat) == 0 && stat.f_type == PROC_SUPER_MAGIC;
}

/*
 * In a detached tree, where the kernel calls it /build/proc. Since Linux 6.15 it can be mounted on,
 * and nobody can unmount that; one of user and mount namespaces of its own has such a tree without
 * any privilege.
 */
WORLD_TEST(fuse_that_is_attached_nowhere_is_refused_whatever_its_path) {
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

                if (!fuse_create(&fuse, WORLD_ALICE, i % 2)) {
                        test_skip_report(
                                "fuse_that_is_attached_nowhere_is_refused_whatever_its_path",
                                "there is no /dev/fuse");
                        service_stop(&service);
                        return;
                }
                client = client_connect(&service, WORLD_ALICE);
                target = fuse_open(&fuse, "build/proc", WORLD_ALICE);
                client_expect(client_mount(client, PROTOCOL_PROC, 0, target),
                              STATUS_FOREIGN_NAMESPACE, 0, 0);
                world_wait_for(service_has_logged(&service, "foreign-namespace: /build/proc"));
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
        return world_run(tests);
}
