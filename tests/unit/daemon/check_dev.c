/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/dev.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

enum {
        SHM = 64 << 20,
        OF_A_NODE = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
};

static const unsigned feature_sets[] = {0, FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_CLONES,
                                        FAKE_ALL_FEATURES};

enum { N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]) };

static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};

enum { N_NODES = sizeof(nodes) / sizeof(nodes[0]) };

static struct mount_setup setup;

static struct dev *start(unsigned features, uint64_t shm_size) {
        struct dev *dev = NULL;

        fake_features(features);
        fake_misplace(NULL);
        setup = (struct mount_setup){.source = "label", .features = features};
        ck_assert_uint_eq(dev_new(&setup, shm_size, &dev).status, STATUS_OK);
        fake_calls_reset();
        return dev;
}

/* A complete dev, attached to a directory of its own; the caller owns both descriptors. */
static int mount_one(struct dev *dev, int *directory) {
        int root = -EBADF;

        *directory = fake_directory(&(struct fake_directory){.path = "/r/dev"});
        ck_assert_uint_eq(dev_make(dev, &root).status, STATUS_OK);
        ck_assert_uint_eq(mount_attach(root, *directory).status, STATUS_OK);
        ck_assert_uint_eq(dev_complete(dev, root).status, STATUS_OK);
        return root;
}

static void is_mount(const struct fake_mount *mount, const char *options, unsigned attributes) {
        ck_assert_ptr_nonnull(mount);
        ck_assert_str_eq(mount->options, options);
        ck_assert_uint_eq(mount->attributes, attributes);
}

START_TEST(has_nodes_that_can_not_be_changed_and_what_is_its_own) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                unsigned descriptors = descriptors_count();
                struct dev *dev = start(feature_sets[f], SHM);
                int directory, root = mount_one(dev, &directory);
                const struct fake_mount *mount = fake_mount_on(directory);
                char device[16];

                is_mount(mount, "tmpfs,source=label,mode=0755,size=64k,nr_inodes=32,ro",
                         OF_A_NODE | MOUNT_ATTR_NODEV);
                ck_assert_str_eq(mount->files,
                                 "pts shm null zero full random urandom tty fd=/proc/self/fd "
                                 "stdin=/proc/self/fd/0 stdout=/proc/self/fd/1 "
                                 "stderr=/proc/self/fd/2 ptmx=pts/ptmx");
                for (size_t i = 0; i < N_NODES; i++) {
                        snprintf(device, sizeof(device), "/dev/%s", nodes[i]);
                        is_mount(fake_part(root, nodes[i]), device, OF_A_NODE);
                }
                is_mount(fake_part(root, "pts"),
                         "devpts,source=label,newinstance,ptmxmode=0666,mode=0620,gid=5,max=256",
                         MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
                is_mount(fake_part(root, "shm"),
                         "tmpfs,source=label,mode=1777,size=67108864,nr_inodes=16400",
                         MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
                ck_assert_uint_eq(dev_mounts(dev), 9);
                fake_uncover(directory);
                close(root);
                close(directory);
                ck_assert_ptr_null(dev_free(dev));
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
        ck_assert_ptr_null(dev_free(NULL));
}
END_TEST

START_TEST(has_no_shm_where_none_is_wanted) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct dev *dev = start(feature_sets[f], 0);
                int directory, root = mount_one(dev, &directory);

                ck_assert_ptr_null(strstr(fake_mount_on(directory)->files, "shm"));
                ck_assert_ptr_null(fake_part(root, "shm"));
                ck_assert_ptr_nonnull(fake_part(root, "pts"));
                ck_assert_uint_eq(dev_mounts(dev), 8);
                fake_uncover(directory);
                close(root);
                close(directory);
                dev_free(dev);
        }
}
END_TEST

/* Parts that leases share are made once. */
START_TEST(clones_what_never_changes) {
        struct dev *dev = start(FAKE_ALL_FEATURES, SHM);

        for (unsigned i = 1; i <= 3; i++) {
                FD_AUTO int root = -EBADF;

                ck_assert_uint_eq(dev_make(dev, &root).status, STATUS_OK);
                ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE_ALL), i);
                ck_assert_uint_eq(fake_calls(FAKE_MOVE_BELOW), 2 * i);
                ck_assert_uint_eq(dev_complete(dev, root).status, STATUS_OK);
        }
        ck_assert_uint_eq(fake_calls(FAKE_MAKE) + fake_calls(FAKE_SETATTR), 0);
        ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 6);
        dev_free(dev);
}
END_TEST

/* ---- what the host lacks ---- */

START_TEST(node_that_is_missing_or_another_device_is_named) {
        static const char *const paths[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                            "/dev/random", "/dev/urandom", "/dev/tty"};

        for (unsigned n = 1; n <= N_NODES; n++)
                for (unsigned wrong = 0; wrong < 2; wrong++) {
                        unsigned descriptors = descriptors_count();
                        struct dev *dev = NULL;
                        struct verdict verdict;

                        fake_features(FAKE_ALL_FEATURES);
                        fake_calls_reset();
                        fake_misplace(wrong ? paths[n - 1] : NULL);
                        if (!wrong)
                                fake_fail(FAKE_OPEN_NODE, n, 1, ENOENT);
                        verdict = dev_new(&setup, SHM, &dev);
                        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
                        ck_assert_ptr_nonnull(strstr(verdict.text, paths[n - 1]));
                        ck_assert_ptr_nonnull(strstr(verdict.text, wrong ? "a different device"
                                                                         : "no such device"));
                        ck_assert_ptr_null(dev);
                        ck_assert_uint_eq(descriptors_count(), descriptors);
                }
}
END_TEST

START_TEST(kernel_without_devpts_is_found_out_at_the_start) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                unsigned descriptors = descriptors_count();
                struct dev *dev = NULL;

                fake_features(feature_sets[f]);
                setup = (struct mount_setup){.source = "label", .features = feature_sets[f]};
                fake_misplace(NULL);
                fake_calls_reset();
                fake_fail(FAKE_FSOPEN, 2, 1, ENODEV); /* after the tmpfs */
                ck_assert_uint_eq(dev_new(&setup, SHM, &dev).status, STATUS_HOST_FAILED);
                ck_assert_ptr_null(dev);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

/* ---- each call fails in turn ---- */

static const int errors[] = {EPERM, ENOENT, EINVAL, EBUSY, ENOSPC, ENOMEM, EROFS, EMFILE};

enum { N_ERRORS = sizeof(errors) / sizeof(errors[0]) };

START_TEST(each_call_that_fails_at_the_start_leaves_nothing) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                unsigned descriptors = descriptors_count(), calls;
                struct dev *dev = NULL;

                fake_features(feature_sets[f]);
                setup = (struct mount_setup){.source = "label", .features = feature_sets[f]};
                fake_misplace(NULL);
                fake_calls_reset();
                ck_assert_uint_eq(dev_new(&setup, SHM, &dev).status, STATUS_OK);
                dev = dev_free(dev);
                calls = fake_calls(FAKE_ANY);
                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < N_ERRORS; e++) {
                                struct verdict verdict;

                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                verdict = dev_new(&setup, SHM, &dev);
                                ck_assert_msg(verdict.status == STATUS_HOST_FAILED,
                                              "call %u of %u, errno %d: status %u", n, calls,
                                              errors[e], verdict.status);
                                ck_assert(verdict.text[0]);
                                ck_assert_ptr_null(dev);
                                ck_assert_uint_eq(descriptors_count(), descriptors);
                        }
        }
}
END_TEST

/* Only from an attached tree can somebody else have detached the mount that a part belongs on. */
static enum status wanted_status(enum fake_call call, bool attached, int error) {
        bool gone = error == ENOENT || error == EINVAL;

        return call == FAKE_MOVE_BELOW && attached && gone ? STATUS_TARGET_VANISHED
                                                           : STATUS_HOST_FAILED;
}

static struct verdict try(struct dev *dev, int directory, bool *attached, int *root) {
        struct verdict verdict = dev_make(dev, root);

        *attached = false;
        if (verdict.status != STATUS_OK)
                return verdict;
        verdict = mount_attach(*root, directory);
        *attached = verdict.status == STATUS_OK;
        return *attached ? dev_complete(dev, *root) : verdict;
}

START_TEST(each_call_that_fails_is_told) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct dev *dev = start(feature_sets[f], SHM);
                FD_AUTO int directory = fake_directory(&(struct fake_directory){.path = "/r/dev"});
                unsigned descriptors = descriptors_count(), calls;
                bool attached;
                int root = -EBADF;

                ck_assert_uint_eq(try(dev, directory, &attached, &root).status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                fake_uncover(directory);
                root = fd_close(root);
                for (unsigned n = 1; n <= calls; n++)
                        for (unsigned e = 0; e < N_ERRORS; e++) {
                                struct verdict verdict;
                                enum fake_call call;

                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                verdict = try(dev, directory, &attached, &root);
                                call = fake_call_at(n);
                                if (call != FAKE_MOVE_MOUNT)
                                        ck_assert_msg(verdict.status == wanted_status(call,
                                                                                      attached,
                                                                                      errors[e]),
                                                      "call %u of %u, errno %d: status %u", n,
                                                      calls, errors[e], verdict.status);
                                if (call == FAKE_MOVE_BELOW && attached && errors[e] == ENOSPC)
                                        ck_assert_ptr_nonnull(strstr(verdict.text, "mount-max"));
                                if (attached)
                                        fake_uncover(directory);
                                root = fd_close(root);
                                ck_assert_uint_eq(fake_mounts(), 0);
                                ck_assert_uint_eq(descriptors_count(), descriptors);
                        }
                dev_free(dev);
        }
}
END_TEST

int main(void) {
        return SUITE_RUN("dev", has_nodes_that_can_not_be_changed_and_what_is_its_own,
                         has_no_shm_where_none_is_wanted, clones_what_never_changes,
                         node_that_is_missing_or_another_device_is_named,
                         kernel_without_devpts_is_found_out_at_the_start,
                         each_call_that_fails_at_the_start_leaves_nothing,
                         each_call_that_fails_is_told);
}
