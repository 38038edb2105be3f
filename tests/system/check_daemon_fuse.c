/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Directories whose file system is a process of the client's: refused unless an administrator has
 * opened the place, and never waited for where that can be helped.
 */

#include "common/fd.h"
#include "tests/fixtures/client.h"
#include "tests/fixtures/fuse.h"

#include <stdlib.h>

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
        scene->target = fuse_open_proc(&scene->fuse, WORLD_ALICE);
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
        client_expect(client_mount(scene->client, PROTOCOL_PROC, 0, scene->target),
                      STATUS_UNSUPPORTED_FILE_SYSTEM, 0, 0);
}

/* Without statmount the kernel must be asked by fstatfs(2), which asks the file system's server. */
static bool can_be_stalled(struct scene *scene, const char *test) {
        struct wire_request request = {.operation = PROTOCOL_HELLO};

        if (client_call(scene->client, &request, NULL, 0).flags & PROTOCOL_FEATURE_STATMOUNT)
                return true;
        test_skip_report(test, "impossible here: the kernel has no statmount");
        return false;
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
        if (can_be_stalled(&scene, "stalled_fuse_is_refused_without_asking_it")) {
                fuse_stall(&scene.fuse);
                expect_refused(&scene);
        }
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

int main(void) {
        TCase *tests = tcase_create("fuse");

        tcase_add_test(tests, fuse_outside_the_build_directories_is_refused);
        tcase_add_test(tests, hidden_fuse_outside_the_build_directories_is_refused);
        tcase_add_test(tests, fuse_below_a_build_directory_is_mounted_on);
        tcase_add_test(tests, hidden_fuse_below_a_build_directory_is_mounted_on);
        tcase_add_test(tests, stalled_fuse_is_refused_without_asking_it);
        tcase_add_test(tests, stalled_fuse_below_a_build_directory_is_mounted_on_without_asking_it);
        tcase_add_test(tests, fuse_that_ends_under_a_mount_does_not_keep_the_lease);
        return world_run(tests);
}
