/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/mount.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "daemon/kernel.h"
#include "tests/test.h"
#include "tests/unit/daemon/fake_kernel.h"
#include "tests/unit/daemon/feature_sets.h"

#include <errno.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/mount.h>

static struct mount_setup setup_of(unsigned features) {
        fake_features(features);
        return (struct mount_setup){features, "label"};
}

static int directory_at(const char *path, unsigned flags) {
        return fake_directory(&(struct fake_directory){.path = path, .flags = flags});
}

/* A detached procfs. */
static int new_mount(void) {
        FD_AUTO int context = kernel_fsopen("proc");
        int fd;

        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_SET_STRING, "source", "label"), 0);
        ck_assert_int_eq(kernel_fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL), 0);
        fd = kernel_fsmount(context, 0);
        ck_assert_int_ge(fd, 0);
        return fd;
}

/* target.c's facts about the directory; hidden ones have only the old id. */
static struct target_facts *facts_of(unsigned features, int directory, bool hidden) {
        static struct target_facts facts;
        bool unique = (features & PROTOCOL_FEATURE_STATMOUNT) && !hidden;

        facts.mount_id_unique = unique;
        ck_assert_int_eq(mount_identify(unique ? PROTOCOL_FEATURE_UNIQUE_IDS : 0, directory,
                                        &facts.mount_id),
                         0);
        return &facts;
}

static uint64_t id_of(unsigned features, int fd) {
        uint64_t id = 0;

        ck_assert_int_eq(mount_identify(features, fd, &id), 0);
        ck_assert_uint_ne(id, 0);
        return id;
}

static void is_refused(struct verdict verdict, enum status status) {
        ck_assert_uint_eq(verdict.status, status);
        ck_assert_int_eq(verdict.error, 0);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
}

static void has_failed(struct verdict verdict, int error) {
        ck_assert_uint_eq(verdict.status, STATUS_HOST_FAILED);
        ck_assert_int_eq(verdict.error, error);
        ck_assert_uint_eq(verdict.target, STATUS_NO_TARGET);
}

/* ---- its id ---- */

START_TEST(identity_stays_the_same_when_it_is_attached) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                unsigned features = setup_of(feature_sets[f]).features;
                FD_AUTO int directory = directory_at("/proc", 0);
                FD_AUTO int mount = new_mount();
                uint64_t before = id_of(features, mount);
                bool unique = features & PROTOCOL_FEATURE_UNIQUE_IDS;

                ck_assert_uint_eq(mount_attach(mount, directory).status, STATUS_OK);
                ck_assert_uint_eq(id_of(features, mount), before);
                ck_assert_uint_eq(before, unique ? fake_mount_on(directory)->id
                                                 : fake_mount_on(directory)->id_old);
        }
}
END_TEST

/* An older kernel ignores the bit and returns the other id. */
START_TEST(takes_no_reusable_id_for_a_unique_one) {
        FD_AUTO int directory = directory_at("/proc", 0);
        uint64_t id = 7;

        fake_features(0);
        ck_assert_int_eq(mount_identify(PROTOCOL_FEATURE_UNIQUE_IDS, directory, &id), -EOPNOTSUPP);
        ck_assert_uint_eq(id, 7);
}
END_TEST

START_TEST(identity_that_is_not_to_be_had_is_an_errno) {
        FD_AUTO int directory = directory_at("/proc", 0);
        uint64_t id = 7;

        fake_fail(FAKE_STATX, 1, 1, ENOMEM);
        ck_assert_int_eq(mount_identify(0, directory, &id), -ENOMEM);
        ck_assert_uint_eq(id, 7);
}
END_TEST

/* ---- attached ---- */

static const struct {
        int error;
        enum status status;
} answers[] = {
        {ENOENT, STATUS_TARGET_VANISHED},  {EINVAL, STATUS_FOREIGN_NAMESPACE},
        {ENOTDIR, STATUS_NOT_A_DIRECTORY}, {ENOSPC, STATUS_HOST_FAILED},
        {EPERM, STATUS_HOST_FAILED},       {EBUSY, STATUS_HOST_FAILED},
        {ENOMEM, STATUS_HOST_FAILED},      {EACCES, STATUS_HOST_FAILED},
        {ELOOP, STATUS_HOST_FAILED},
};

/* Somebody else's mount on the directory is detached at the moment when ours is attached. */
START_TEST(refusal_that_does_not_last_is_not_taken_for_another_namespace) {
        FD_AUTO int directory = directory_at("/proc", 0);
        FD_AUTO int mount = new_mount();

        fake_calls_reset();
        fake_fail(FAKE_MOVE_MOUNT, 1, MOUNT_ATTACH_TRIES - 1, EINVAL);
        ck_assert_uint_eq(mount_attach(mount, directory).status, STATUS_OK);
        ck_assert_uint_eq(fake_mounts(), 1);
        fake_uncover(directory);
}
END_TEST

START_TEST(each_answer_of_the_kernel_has_its_status) {
        FD_AUTO int directory = directory_at("/proc", 0);
        FD_AUTO int mount = new_mount();

        for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
                struct verdict verdict;

                fake_calls_reset();
                fake_fail(FAKE_MOVE_MOUNT, 1, MOUNT_ATTACH_TRIES, answers[i].error);
                verdict = mount_attach(mount, directory);
                if (answers[i].status == STATUS_HOST_FAILED)
                        has_failed(verdict, answers[i].error);
                else
                        is_refused(verdict, answers[i].status);
                ck_assert_int_eq(strstr(verdict.text, "fs.mount-max") != NULL,
                                 answers[i].error == ENOSPC);
                ck_assert_uint_eq(fake_mounts(), 0);
        }
}
END_TEST

static const struct {
        unsigned flags;
        enum status status;
} targets[] = {
        {FAKE_VANISHES, STATUS_TARGET_VANISHED},
        {FAKE_IS_DELETED, STATUS_TARGET_VANISHED},
        {FAKE_IS_FOREIGN, STATUS_FOREIGN_NAMESPACE},
        {FAKE_IS_FILE, STATUS_NOT_A_DIRECTORY},
        {FAKE_IS_HIDDEN, STATUS_OK},
        {0, STATUS_OK},
};

START_TEST(target_that_is_not_fit_is_the_clients_fault) {
        for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
                FD_AUTO int directory = directory_at("/proc", targets[i].flags);
                FD_AUTO int mount = new_mount();

                is_refused(mount_attach(mount, directory), targets[i].status);
                ck_assert_int_eq(fake_mount_on(directory) != NULL, targets[i].status == STATUS_OK);
        }
}
END_TEST

/* ---- verified ---- */

START_TEST(verifies_that_it_sits_on_the_directory_itself) {
        for (size_t f = 0; f < N_FEATURE_SETS * 2; f++) {
                unsigned features = setup_of(feature_sets[f / 2]).features;
                FD_AUTO int free = directory_at("/a/proc", 0);
                FD_AUTO int covered = directory_at("/b/proc", 0);
                FD_AUTO int good = new_mount();
                FD_AUTO int bad = new_mount();
                uint64_t good_id = id_of(features, good), bad_id = id_of(features, bad);

                fake_cover(covered);
                ck_assert_uint_eq(mount_attach(good, free).status, STATUS_OK);
                ck_assert_uint_eq(mount_attach(bad, covered).status, STATUS_OK);
                is_refused(mount_verify(features, good, good_id, facts_of(features, free, f % 2)),
                           STATUS_OK);
                is_refused(mount_verify(features, bad, bad_id, facts_of(features, covered, f % 2)),
                           STATUS_ALREADY_MOUNTED);
                fake_uncover(free);
                is_refused(mount_verify(features, good, good_id, facts_of(features, free, f % 2)),
                           STATUS_TARGET_VANISHED);
        }
}
END_TEST

START_TEST(what_can_not_be_verified_is_an_error) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                unsigned features = setup_of(feature_sets[f]).features, calls;
                FD_AUTO int directory = directory_at("/proc", 0);
                FD_AUTO int mount = new_mount();
                const struct target_facts *facts = facts_of(features, directory, false);
                uint64_t id = id_of(features, mount);

                ck_assert_uint_eq(mount_attach(mount, directory).status, STATUS_OK);
                fake_calls_reset();
                ck_assert_uint_eq(mount_verify(features, mount, id, facts).status, STATUS_OK);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_gt(calls, 0);
                for (unsigned n = 1; n <= calls; n++) {
                        fake_calls_reset();
                        fake_fail(FAKE_ANY, n, 1, EMFILE);
                        has_failed(mount_verify(features, mount, id, facts), EMFILE);
                }
                fake_calls_reset();
        }
}
END_TEST

START_TEST(reads_no_mount_table_where_there_is_statmount) {
        struct mount_setup setup = setup_of(FAKE_ALL_FEATURES);
        FD_AUTO int directory = directory_at("/proc", 0);
        FD_AUTO int mount = new_mount();
        uint64_t id = id_of(FAKE_ALL_FEATURES, mount), found;
        char path[PATH_MAX];

        ck_assert_uint_eq(mount_attach(mount, directory).status, STATUS_OK);
        ck_assert_uint_eq(mount_verify(FAKE_ALL_FEATURES, mount, id,
                                       facts_of(FAKE_ALL_FEATURES, directory, false))
                                  .status,
                          STATUS_OK);
        ck_assert_int_eq(mount_recognise(&setup, mount, PROTOCOL_PROC, &found), 0);
        ck_assert_int_eq(mount_locate(&setup, &(struct mount_name){id, PROTOCOL_PROC}, path), 0);
        ck_assert_uint_eq(fake_calls(FAKE_MOUNTINFO), 0);
}
END_TEST

/* ---- recognised ---- */

/*
 * A directory sent by a client, or the root of a mount on it. With exact ids the record decides
 * about a mount, so only a directory that isn't a root is refused here.
 */
static const struct {
        const char *options; /* of the mount, or NULL */
        unsigned flags;      /* of the directory */
        uint8_t file_system;
        int exact, inexact;
} roots[] = {
        {"proc,source=label", 0, PROTOCOL_PROC, 0, 0},
        {"proc,source=label,hidepid=ptraceable,ro", 0, PROTOCOL_PROC, 0, 0},
        {"sysfs,source=label", 0, PROTOCOL_SYSFS, 0, 0},
        {"proc,source=label", 0, PROTOCOL_SYSFS, 0, -ENOENT},
        {"sysfs,source=label", 0, PROTOCOL_PROC, 0, -ENOENT},
        {"proc,source=proc", 0, PROTOCOL_PROC, 0, -ENOENT},
        {"proc,source=label:b", 0, PROTOCOL_PROC, 0, -ENOENT},
        {"proc,source=labe", 0, PROTOCOL_PROC, 0, -ENOENT},
        {"fuse,source=label", 0, PROTOCOL_PROC, 0, -ENOENT},
        {NULL, 0, PROTOCOL_PROC, -EINVAL, -EINVAL},
        {NULL, FAKE_IS_FILE, PROTOCOL_PROC, -EINVAL, -EINVAL},
        {NULL, FAKE_IS_HIDDEN, PROTOCOL_PROC, -EINVAL, -EINVAL},
        {NULL, FAKE_IS_FOREIGN, PROTOCOL_PROC, -EINVAL, -EINVAL},
        {NULL, FAKE_IS_ROOT, PROTOCOL_PROC, 0, -ENOENT},
        {NULL, FAKE_IS_ROOT | FAKE_IS_FOREIGN, PROTOCOL_PROC, 0, -ENOENT},
};

START_TEST(recognises_the_roots_of_our_mounts) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (size_t i = 0; i < sizeof(roots) / sizeof(roots[0]); i++) {
                        struct mount_setup setup = setup_of(feature_sets[f]);
                        bool exact = setup.features & PROTOCOL_FEATURE_STATMOUNT;
                        FD_AUTO int directory = directory_at("/proc", roots[i].flags);
                        FD_AUTO int root = -EBADF;
                        uint64_t id = 7;
                        int r, fd = directory;

                        if (roots[i].options) {
                                fake_mount_before(directory, roots[i].options);
                                fd = root = fake_open_mount(directory);
                        }
                        r = mount_recognise(&setup, fd, roots[i].file_system, &id);
                        ck_assert_msg(r == (exact ? roots[i].exact : roots[i].inexact),
                                      "row %zu, features %#x: %d", i, setup.features, r);
                        ck_assert_uint_eq(id, r == 0 ? id_of(setup.features, fd) : 7);
                }
}
END_TEST

/* A FUSE that refuses access, and an older kernel, are no failures of the host; all else is. */
START_TEST(recognition_that_fails_is_an_errno) {
        static const int errors[] = {EACCES, EOPNOTSUPP, EINVAL, ENOMEM, EIO, ENOENT};

        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                        struct mount_setup setup = setup_of(feature_sets[f]);
                        FD_AUTO int directory = directory_at("/proc", 0);
                        FD_AUTO int root = -EBADF;
                        uint64_t id = 7;
                        unsigned calls;

                        fake_mount_before(directory, "proc,source=label");
                        root = fake_open_mount(directory);
                        fake_calls_reset();
                        ck_assert_int_eq(mount_recognise(&setup, root, PROTOCOL_PROC, &id), 0);
                        calls = fake_calls(FAKE_ANY);
                        ck_assert_uint_ge(calls, 2);
                        id = 7;
                        for (unsigned n = 1; n <= calls; n++) {
                                int wanted = -errors[e];

                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                if (n <= 2 && (errors[e] == EACCES || errors[e] == EOPNOTSUPP))
                                        wanted = -EINVAL;
                                ck_assert_int_eq(mount_recognise(&setup, root, PROTOCOL_PROC, &id),
                                                 wanted);
                                ck_assert_uint_eq(id, 7);
                        }
                        fake_calls_reset();
                }
}
END_TEST

/* ---- found again ---- */

/* Rows as above; here the type is checked even if ids are exact. */
static const struct {
        const char *options;
        uint8_t file_system;
        int exact, inexact;
} mounts[] = {
        {"proc,source=label", PROTOCOL_PROC, 0, 0},
        {"sysfs,source=label", PROTOCOL_SYSFS, 0, 0},
        {"proc,source=label", PROTOCOL_SYSFS, -ENOENT, -ENOENT},
        {"sysfs,source=label", PROTOCOL_PROC, -ENOENT, -ENOENT},
        {"fuse,source=label", PROTOCOL_PROC, -ENOENT, -ENOENT},
        {"proc,source=other", PROTOCOL_PROC, 0, -ENOENT}, /* the record decides, not the label */
};

START_TEST(locates_a_mount_by_its_id) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++) {
                        struct mount_setup setup = setup_of(feature_sets[f]);
                        bool exact = setup.features & PROTOCOL_FEATURE_STATMOUNT;
                        int wanted = exact ? mounts[i].exact : mounts[i].inexact;
                        FD_AUTO int directory = directory_at("/a path/proc", 0);
                        struct mount_name name = {.file_system = mounts[i].file_system};
                        char path[PATH_MAX] = "";

                        fake_mount_before(directory, mounts[i].options);
                        name.id = exact ? fake_mount_on(directory)->id
                                        : fake_mount_on(directory)->id_old;
                        ck_assert_int_eq(mount_locate(&setup, &name, path), wanted);
                        if (wanted == 0)
                                ck_assert_str_eq(path, "/a path/proc");
                        fake_uncover(directory);
                        ck_assert_int_eq(mount_locate(&setup, &name, path), -ENOENT);
                }
}
END_TEST

/* It may be there, but that is unknown: it must not be taken for gone. */
START_TEST(unique_id_is_no_good_without_statmount) {
        static const struct {
                uint64_t id;
                int result;
        } ids[] = {{1, -ENOENT}, /* reusable, and gone */
                   {1ULL << 31, -ENOENT},
                   {(1ULL << 31) + 1, -EOPNOTSUPP},
                   {UINT64_MAX, -EOPNOTSUPP}};
        struct mount_setup setup = setup_of(0);
        char path[PATH_MAX];

        for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
                struct mount_name name = {ids[i].id, PROTOCOL_PROC};

                ck_assert_int_eq(mount_locate(&setup, &name, path), ids[i].result);
        }
}
END_TEST

START_TEST(search_that_fails_is_an_errno) {
        static const int errors[] = {EPERM, ENOSYS, EIO, ENOMEM};

        for (size_t f = 0; f < N_FEATURE_SETS; f++)
                for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                        struct mount_setup setup = setup_of(feature_sets[f]);
                        FD_AUTO int directory = directory_at("/proc", 0);
                        FD_AUTO int root = -EBADF;
                        struct mount_name name = {.file_system = PROTOCOL_PROC};
                        char path[PATH_MAX];
                        unsigned calls;

                        fake_mount_before(directory, "proc,source=label");
                        root = fake_open_mount(directory);
                        name.id = id_of(setup.features, root);
                        fake_calls_reset();
                        ck_assert_int_eq(mount_locate(&setup, &name, path), 0);
                        calls = fake_calls(FAKE_ANY);
                        ck_assert_uint_gt(calls, 0);
                        for (unsigned n = 1; n <= calls; n++) {
                                fake_calls_reset();
                                fake_fail(FAKE_ANY, n, 1, errors[e]);
                                ck_assert_int_eq(mount_locate(&setup, &name, path), -errors[e]);
                        }
                        fake_calls_reset();
                        fake_uncover(directory);
                }
}
END_TEST

/* ---- opened ---- */

START_TEST(opens_that_mount_and_no_other) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct mount_setup setup = setup_of(feature_sets[f]);
                FD_AUTO int directory = directory_at("/proc", 0);
                FD_AUTO int root = -EBADF;
                unsigned descriptors;
                uint64_t id;
                int fd;

                fake_mount_before(directory, "proc,source=label");
                root = fake_open_mount(directory);
                id = id_of(setup.features, root);
                descriptors = descriptors_count();
                fd = mount_open(&setup, id, "/proc", 0);
                ck_assert_int_ge(fd, 0);
                ck_assert_uint_eq(id_of(setup.features, fd), id);
                fd_close(fd);

                fake_cover(directory);
                ck_assert_int_eq(mount_open(&setup, id, "/proc", 0), -EBUSY);
                fake_uncover(directory);
                ck_assert_int_eq(mount_open(&setup, id + 1, "/proc", 0), -EBUSY);
                fake_uncover(directory);
                ck_assert_int_eq(mount_open(&setup, id, "/proc", 0), -ENOENT);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
}
END_TEST

START_TEST(does_not_ask_a_server_unless_it_may) {
        struct mount_setup setup = setup_of(FAKE_ALL_FEATURES);
        FD_AUTO int directory = directory_at("/proc", FAKE_IS_REMOTE);
        FD_AUTO int fd = -EBADF;
        uint64_t id = fake_mount_before(directory, "proc,source=label")->id;

        ck_assert_int_eq(mount_open(&setup, id, "/proc", RESOLVE_CACHED), -EAGAIN);
        fd = mount_open(&setup, id, "/proc", 0);
        ck_assert_int_ge(fd, 0);
}
END_TEST

START_TEST(failed_opening_leaves_no_descriptor) {
        struct mount_setup setup = setup_of(FAKE_ALL_FEATURES);
        FD_AUTO int directory = directory_at("/proc", 0);
        FD_AUTO int private = directory_at("/private/proc", FAKE_IS_PRIVATE);
        uint64_t id = fake_mount_before(directory, "proc,source=label")->id;
        unsigned descriptors = descriptors_count(), calls;

        fake_calls_reset();
        fd_close(mount_open(&setup, id, "/proc", 0));
        calls = fake_calls(FAKE_ANY);
        ck_assert_uint_ge(calls, 2);
        for (unsigned n = 1; n <= calls; n++) {
                fake_calls_reset();
                fake_fail(FAKE_ANY, n, 1, EMFILE);
                ck_assert_int_eq(mount_open(&setup, id, "/proc", 0), -EMFILE);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
        fake_calls_reset();
        id = fake_mount_before(private, "proc,source=label")->id;
        ck_assert_int_eq(mount_open(&setup, id, "/private/proc", 0), -EACCES);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "mount", identity_stays_the_same_when_it_is_attached,
                takes_no_reusable_id_for_a_unique_one, identity_that_is_not_to_be_had_is_an_errno,
                refusal_that_does_not_last_is_not_taken_for_another_namespace,
                each_answer_of_the_kernel_has_its_status,
                target_that_is_not_fit_is_the_clients_fault,
                verifies_that_it_sits_on_the_directory_itself, what_can_not_be_verified_is_an_error,
                reads_no_mount_table_where_there_is_statmount, recognises_the_roots_of_our_mounts,
                recognition_that_fails_is_an_errno, locates_a_mount_by_its_id,
                unique_id_is_no_good_without_statmount, search_that_fails_is_an_errno,
                opens_that_mount_and_no_other, does_not_ask_a_server_unless_it_may,
                failed_opening_leaves_no_descriptor);
}
