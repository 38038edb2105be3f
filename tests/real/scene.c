/* SPDX-License-Identifier: Apache-2.0 */

#include "tests/real/scene.h"

struct scene scene_open(void) {
        struct scene scene = {.service = service_start_with("a", NULL)};

        scene.alice = client_connect(&scene.service, WORLD_ALICE);
        client_hello(scene.alice);
        world_make_root(WORLD_ALICE, "root");
        scene.fds = scene.service.fds + 1;
        return scene;
}

void scene_expect_unharmed(const struct scene *scene) {
        client_hello(scene->alice);
        world_wait_for(service_count_fds(&scene->service) == scene->fds);
        ck_assert_uint_eq(world_count_mounts(0, scene->service.source), 0);
}

void scene_close(struct scene *scene) {
        scene_expect_unharmed(scene);
        client_expect(client_unmount(scene->alice, client_hold_root(scene->alice, WORLD_ALICE,
                                                                    world_path("root"))),
                      STATUS_OK, 0, STATUS_NO_TARGET);
        close(scene->alice);
        service_stop(&scene->service);
}
