/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/unmount.h"

#include "common/fd.h"
#include "daemon/mount.h"
#include "tests/fixtures/suite.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>

static const unsigned feature_sets[] = {0, FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_STATMOUNT,
                                        FAKE_ALL_FEATURES};

enum { N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]) };

/* One mount of ours on one directory, in an isolated thread. */
struct scene {
        struct mount_templates *templates;
        unsigned features;
        int directory;
        int mount;
        uint64_t id;
};

static struct scene scene_new(unsigned features) {
        struct scene scene = {.features = features};
        char text[256];

        fake_features(features);
        ck_assert_int_eq(mount_templates_new("x", &scene.templates, text, sizeof(text)), 0);
        scene.directory = fake_directory(&(struct fake_directory){.path = "/r/proc"});
        scene.mount = mount_create(scene.templates, MOUNT_PROC, text, sizeof(text));
        ck_assert_int_eq(mount_identify(features, scene.mount, &scene.id), 0);
        ck_assert_int_eq(mount_attach(scene.mount, scene.directory), 0);
        ck_assert_int_eq(unmount_isolate(), 0);
        fake_calls_reset();
        return scene;
}

static void scene_end(struct scene *scene) {
        fd_close(scene->mount);
        fd_close(scene->directory);
        mount_templates_free(scene->templates);
}

START_TEST(detaches_the_mount_and_leaves_it) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct scene scene = scene_new(feature_sets[f]);
                unsigned strangers = 99;

                ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                 0);
                ck_assert_uint_eq(strangers, 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                unmount_return();
                ck_assert(fake_is_in_root());
                scene_end(&scene);
        }
}
END_TEST

START_TEST(detaches_once_where_it_can_ask) {
        struct scene scene = scene_new(FAKE_ALL_FEATURES);
        unsigned strangers;

        ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers), 0);
        ck_assert_uint_eq(fake_calls(FAKE_UMOUNT), 1);
        scene_end(&scene);
}
END_TEST

START_TEST(mount_that_is_gone_is_a_success) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct scene scene = scene_new(feature_sets[f]);
                unsigned strangers = 99;

                fake_uncover(scene.directory);
                ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                 0);
                ck_assert_uint_eq(strangers, 0);
                unmount_return();
                ck_assert(fake_is_in_root());
                scene_end(&scene);
        }
}
END_TEST

START_TEST(detaches_strangers_on_top_first_and_counts_them) {
        static const unsigned numbers[] = {1, 2, 7, 63};

        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
                        struct scene scene = scene_new(feature_sets[f]);
                        unsigned strangers = 99, wanted = numbers[i];

                        /* The end is seen by one try more where nobody can be asked. */
                        if (!(scene.features & PROTOCOL_FEATURE_STATMOUNT) && wanted == 63)
                                wanted = 62;
                        for (unsigned n = 0; n < wanted; n++)
                                fake_cover(scene.directory);
                        ck_assert_int_eq(
                                unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                0);
                        ck_assert_uint_eq(strangers, wanted);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        ck_assert_uint_eq(fake_strangers(), 0);
                        unmount_return();
                        ck_assert(fake_is_in_root());
                        scene_end(&scene);
                }
}
END_TEST

/* Not to know is no reason to believe that ours has gone with the stranger. */
START_TEST(question_that_fails_is_not_taken_for_gone) {
        static const int errors[] = {EPERM, ENOSYS, EIO, EINVAL};

        for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
                for (unsigned n = 1; n <= 2; n++) {
                        struct scene scene = scene_new(FAKE_ALL_FEATURES);
                        unsigned strangers = 99;

                        fake_cover(scene.directory);
                        fake_fail(FAKE_STATMOUNT, n, 1, errors[e]);
                        ck_assert_int_eq(
                                unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                0);
                        ck_assert_uint_eq(strangers, 1);
                        ck_assert_uint_eq(fake_mounts(), 0);
                        scene_end(&scene);
                }
}
END_TEST

START_TEST(leaves_what_lies_below_it_alone) {
        struct scene scene = scene_new(FAKE_ALL_FEATURES);
        unsigned strangers;
        FD_AUTO int other = fake_directory(&(struct fake_directory){.path = "/other/proc"});

        fake_cover(other);
        ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers), 0);
        ck_assert_uint_eq(fake_strangers(), 1);
        scene_end(&scene);
}
END_TEST

START_TEST(gives_up_on_a_stack_that_does_not_end) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct scene scene = scene_new(feature_sets[f]);
                unsigned strangers;

                for (unsigned n = 0; n < 200; n++)
                        fake_cover(scene.directory);
                ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                 -EBUSY);
                ck_assert_uint_eq(fake_mounts(), 1);
                unmount_return();
                ck_assert(fake_is_in_root());
                while (fake_mount_on(scene.directory))
                        fake_uncover(scene.directory);
                scene_end(&scene);
        }
}
END_TEST

static const struct {
        enum fake_call call;
        int error;
        int result;
        unsigned mounts_left;
} failures[] = {
        {FAKE_FCHDIR, EACCES, -EACCES, 1},
        {FAKE_FCHDIR, EIO, -EIO, 1},
        {FAKE_UMOUNT, EPERM, -EPERM, 1},
        {FAKE_UMOUNT, ENOMEM, -ENOMEM, 1},
        {FAKE_STATMOUNT, EPERM, 0, 0}, /* then EINVAL is the end that it waits for */
        {FAKE_STATMOUNT, EIO, 0, 0},
        {FAKE_CHDIR_ROOT, ENOMEM, 0, 0}, /* the thread doesn't stay there */
};

START_TEST(what_the_kernel_refuses_is_an_errno_and_can_be_tried_again) {
        for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
                struct scene scene = scene_new(FAKE_ALL_FEATURES);
                unsigned strangers = 99;

                fake_fail(failures[i].call, 1, 1, failures[i].error);
                ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                 failures[i].result);
                ck_assert_uint_eq(strangers, 0);
                ck_assert_uint_eq(fake_mounts(), failures[i].mounts_left);
                unmount_return();
                ck_assert(fake_is_in_root());
                ck_assert_int_eq(unmount_detach(scene.features, scene.mount, scene.id, &strangers),
                                 0);
                ck_assert_uint_eq(fake_mounts(), 0);
                scene_end(&scene);
        }
}
END_TEST

START_TEST(isolation_that_fails_is_an_errno) {
        fake_fail(FAKE_UNSHARE, 1, 1, EPERM);
        ck_assert_int_eq(unmount_isolate(), -EPERM);
        fake_calls_reset();
        fake_fail(FAKE_CHDIR_ROOT, 1, 1, EACCES);
        ck_assert_int_eq(unmount_isolate(), -EACCES);
        ck_assert_int_eq(unmount_isolate(), 0);
        ck_assert(fake_is_in_root());
}
END_TEST

int main(void) {
        return SUITE_RUN("unmount", detaches_the_mount_and_leaves_it,
                         detaches_once_where_it_can_ask, mount_that_is_gone_is_a_success,
                         detaches_strangers_on_top_first_and_counts_them,
                         question_that_fails_is_not_taken_for_gone, leaves_what_lies_below_it_alone,
                         gives_up_on_a_stack_that_does_not_end,
                         what_the_kernel_refuses_is_an_errno_and_can_be_tried_again,
                         isolation_that_fails_is_an_errno);
}
