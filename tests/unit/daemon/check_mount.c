/* SPDX-License-Identifier: Apache-2.0 */

#include "daemon/mount.h"

#include "common/fd.h"
#include "common/protocol.h"
#include "tests/fixtures/descriptors.h"
#include "tests/fixtures/suite.h"
#include "tests/unit/daemon/fake_kernel.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

enum { FORCED = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC };

static const struct {
        enum mount_kind kind;
        const char *options;
        unsigned attributes;
} kinds[MOUNT_KINDS] = {
        {MOUNT_PROC, "proc,source=label,hidepid=invisible,ro", FORCED | MOUNT_ATTR_RDONLY},
        {MOUNT_PROC_PIDS, "proc,source=label,hidepid=invisible,subset=pid,ro",
         FORCED | MOUNT_ATTR_RDONLY},
        {MOUNT_PROC_WRITABLE, "proc,source=label,hidepid=invisible", FORCED},
        {MOUNT_PROC_WRITABLE_PIDS, "proc,source=label,hidepid=invisible,subset=pid", FORCED},
        {MOUNT_SYSFS, "sysfs,source=label", FORCED | MOUNT_ATTR_RDONLY},
};

static const unsigned feature_sets[] = {
        0,
        PROTOCOL_FEATURE_PIDS_ONLY,
        PROTOCOL_FEATURE_CLONES | PROTOCOL_FEATURE_PIDS_ONLY,
        PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT,
        FAKE_ALL_FEATURES,
};

enum { N_FEATURE_SETS = sizeof(feature_sets) / sizeof(feature_sets[0]) };

static struct mount_templates *templates_new(unsigned features) {
        struct mount_templates *templates = NULL;
        char text[256];

        fake_features(features);
        ck_assert_int_eq(mount_templates_new("label", &templates, text, sizeof(text)), 0);
        return templates;
}

START_TEST(finds_out_what_the_kernel_can_do) {
        for (size_t i = 0; i < N_FEATURE_SETS; i++) {
                unsigned descriptors = descriptors_count();
                struct mount_templates *templates = templates_new(feature_sets[i]);

                ck_assert_uint_eq(mount_features(templates), feature_sets[i]);
                ck_assert_ptr_null(mount_templates_free(templates));
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
        ck_assert_ptr_null(mount_templates_free(NULL));
}
END_TEST

/* statmount can't be asked without the ids that it takes, and by them nothing else finds a mount.
 */
START_TEST(unique_ids_and_statmount_are_of_use_together) {
        static const unsigned alone[] = {PROTOCOL_FEATURE_STATMOUNT, PROTOCOL_FEATURE_UNIQUE_IDS};

        for (size_t i = 0; i < 2; i++) {
                struct mount_templates *templates =
                        templates_new(alone[i] | PROTOCOL_FEATURE_CLONES);

                ck_assert_uint_eq(mount_features(templates), PROTOCOL_FEATURE_CLONES);
                mount_templates_free(templates);
        }
}
END_TEST

/* A seccomp filter says EPERM or ENOSYS as it likes. */
START_TEST(takes_any_error_of_a_probe_for_no) {
        static const int errors[] = {EPERM, ENOSYS, EINVAL, EOPNOTSUPP};
        static const struct {
                enum fake_call call;
                unsigned lost;
        } probes[] = {
                {FAKE_OPEN_TREE, PROTOCOL_FEATURE_CLONES},
                {FAKE_STATX, PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT},
                {FAKE_STATMOUNT, PROTOCOL_FEATURE_UNIQUE_IDS | PROTOCOL_FEATURE_STATMOUNT},
        };

        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
                for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                        struct mount_templates *templates;

                        fake_calls_reset();
                        fake_fail(probes[i].call, 1, 100, errors[e]);
                        templates = templates_new(FAKE_ALL_FEATURES);
                        ck_assert_uint_eq(mount_features(templates),
                                          FAKE_ALL_FEATURES & ~probes[i].lost);
                        mount_templates_free(templates);
                }
}
END_TEST

/* It would be the daemon's answer for all its life, and a predecessor's mounts would be forgotten.
 */
START_TEST(does_not_take_a_shortage_for_an_answer) {
        static const int errors[] = {ENOMEM, EMFILE, ENFILE, ENOSPC, EINTR, EAGAIN, EIO};
        static const enum fake_call probes[] = {FAKE_OPEN_TREE, FAKE_STATX, FAKE_STATMOUNT};
        unsigned descriptors = descriptors_count();

        fake_features(FAKE_ALL_FEATURES);
        for (size_t i = 0; i < sizeof(probes) / sizeof(probes[0]); i++)
                for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++) {
                        struct mount_templates *templates = NULL;
                        char text[256];

                        fake_calls_reset();
                        fake_fail(probes[i], 1, 1, errors[e]);
                        ck_assert_int_eq(
                                mount_templates_new("label", &templates, text, sizeof(text)),
                                -errors[e]);
                        ck_assert_ptr_null(templates);
                        ck_assert_uint_eq(descriptors_count(), descriptors);
                }
}
END_TEST

START_TEST(does_not_start_without_procfs_and_sysfs) {
        unsigned descriptors = descriptors_count(), failures = 0;
        char text[256];
        unsigned calls;

        fake_features(FAKE_ALL_FEATURES);
        mount_templates_free(templates_new(FAKE_ALL_FEATURES));
        calls = fake_calls(FAKE_ANY);

        for (unsigned n = 1; n <= calls; n++) {
                struct mount_templates *templates = NULL;
                int r;

                fake_calls_reset();
                fake_fail(FAKE_ANY, n, 1, EMFILE);
                r = mount_templates_new("label", &templates, text, sizeof(text));
                ck_assert(r == 0 || r == -EMFILE);
                ck_assert((r == 0) == (templates != NULL));
                if (r < 0 && fake_call_at(n) == FAKE_FSCONFIG)
                        ck_assert_str_eq(text, "the fake kernel refuses");
                failures += r < 0;
                mount_templates_free(templates);
                ck_assert_uint_eq(descriptors_count(), descriptors);
        }
        ck_assert_uint_eq(failures, calls);
}
END_TEST

START_TEST(forces_options_and_attributes_on_every_kind) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct mount_templates *templates = templates_new(feature_sets[f]);

                if (!(feature_sets[f] & PROTOCOL_FEATURE_PIDS_ONLY))
                        fake_features(feature_sets[f] | PROTOCOL_FEATURE_PIDS_ONLY);
                for (size_t i = 0; i < MOUNT_KINDS; i++) {
                        FD_AUTO int directory =
                                fake_directory(&(struct fake_directory){.path = "/r/proc"});
                        char text[256];
                        FD_AUTO int mount =
                                mount_create(templates, kinds[i].kind, text, sizeof(text));

                        ck_assert_int_ge(mount, 0);
                        ck_assert_str_eq(text, "");
                        ck_assert_int_eq(mount_attach(mount, directory), 0);
                        ck_assert_str_eq(fake_mount_on(directory)->options, kinds[i].options);
                        ck_assert_uint_eq(fake_mount_on(directory)->attributes,
                                          kinds[i].attributes);
                }
                mount_templates_free(templates);
        }
}
END_TEST

START_TEST(clones_one_template_per_kind) {
        unsigned descriptors = descriptors_count();
        struct mount_templates *templates = templates_new(FAKE_ALL_FEATURES);
        char text[256];

        fake_calls_reset();
        for (unsigned round = 0; round < 5; round++)
                for (size_t i = 0; i < MOUNT_KINDS; i++)
                        fd_close(mount_create(templates, kinds[i].kind, text, sizeof(text)));
        ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 3); /* two were there from the start */
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 5 * MOUNT_KINDS);
        mount_templates_free(templates);
        ck_assert_uint_eq(descriptors_count(), descriptors);
}
END_TEST

START_TEST(makes_a_superblock_each_where_it_can_not_clone) {
        struct mount_templates *templates =
                templates_new(FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_CLONES);
        char text[256];

        fake_calls_reset();
        for (unsigned i = 0; i < 3; i++)
                fd_close(mount_create(templates, MOUNT_PROC, text, sizeof(text)));
        ck_assert_uint_eq(fake_calls(FAKE_FSOPEN), 3);
        ck_assert_uint_eq(fake_calls(FAKE_OPEN_TREE), 0);
        mount_templates_free(templates);
}
END_TEST

START_TEST(failed_creation_leaves_nothing_and_tells_the_kernels_words) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                struct mount_templates *templates = templates_new(feature_sets[f]);
                unsigned descriptors = descriptors_count(), calls;
                char text[256];

                fake_calls_reset();
                fd_close(mount_create(templates, MOUNT_PROC, text, sizeof(text)));
                calls = fake_calls(FAKE_ANY);
                for (unsigned n = 1; n <= calls; n++) {
                        fake_calls_reset();
                        fake_fail(FAKE_ANY, n, 1, EPERM);
                        memset(text, '#', sizeof(text));
                        ck_assert_int_eq(mount_create(templates, MOUNT_PROC, text, sizeof(text)),
                                         -EPERM);
                        ck_assert_str_eq(text, fake_call_at(n) == FAKE_FSCONFIG
                                                       ? "the fake kernel refuses"
                                                       : "");
                        ck_assert_uint_eq(descriptors_count(), descriptors);
                }
                mount_templates_free(templates);
        }
}
END_TEST

START_TEST(without_the_option_pids_only_is_the_kernels_error) {
        struct mount_templates *templates =
                templates_new(FAKE_ALL_FEATURES & ~PROTOCOL_FEATURE_PIDS_ONLY);
        char text[256];

        ck_assert_int_eq(mount_create(templates, MOUNT_PROC_PIDS, text, sizeof(text)), -EINVAL);
        ck_assert_str_eq(text, "the fake kernel refuses");
        mount_templates_free(templates);
}
END_TEST

START_TEST(identity_stays_the_same_when_it_is_attached) {
        static const unsigned sets[] = {0, FAKE_ALL_FEATURES};

        for (size_t i = 0; i < 2; i++) {
                struct mount_templates *templates = templates_new(sets[i]);
                FD_AUTO int directory = fake_directory(&(struct fake_directory){.path = "/proc"});
                uint64_t before = 0, after = 0;
                char text[256];
                FD_AUTO int mount = mount_create(templates, MOUNT_PROC, text, sizeof(text));

                ck_assert_int_eq(mount_identify(sets[i], mount, &before), 0);
                ck_assert_int_eq(mount_attach(mount, directory), 0);
                ck_assert_int_eq(mount_identify(sets[i], mount, &after), 0);
                ck_assert_uint_eq(before, after);
                ck_assert_uint_eq(before, sets[i] ? fake_mount_on(directory)->id
                                                  : fake_mount_on(directory)->id_old);
                mount_templates_free(templates);
        }
}
END_TEST

/* An older kernel ignores the bit and gives the other id. */
START_TEST(takes_no_reusable_id_for_a_unique_one) {
        FD_AUTO int directory = fake_directory(&(struct fake_directory){.path = "/proc"});
        uint64_t id = 7;

        fake_features(0);
        ck_assert_int_eq(mount_identify(PROTOCOL_FEATURE_UNIQUE_IDS, directory, &id), -EOPNOTSUPP);
        ck_assert_uint_eq(id, 7);
}
END_TEST

/* What target.c finds out about the directory; the hidden kind has the old id alone. */
static struct target_facts *facts_of(unsigned features, int directory, bool hidden) {
        static struct target_facts facts;
        bool unique = (features & PROTOCOL_FEATURE_STATMOUNT) && !hidden;

        facts.mount_id_unique = unique;
        ck_assert_int_eq(mount_identify(unique ? PROTOCOL_FEATURE_UNIQUE_IDS : 0, directory,
                                        &facts.mount_id),
                         0);
        return &facts;
}

START_TEST(verifies_that_it_sits_on_the_directory_itself) {
        for (size_t f = 0; f < N_FEATURE_SETS * 2; f++) {
                unsigned features = feature_sets[f / 2];
                struct mount_templates *templates = templates_new(features);
                FD_AUTO int free = fake_directory(&(struct fake_directory){.path = "/a/proc"});
                FD_AUTO int covered = fake_directory(&(struct fake_directory){.path = "/b/proc"});
                char text[256];
                FD_AUTO int good = mount_create(templates, MOUNT_PROC, text, sizeof(text));
                FD_AUTO int bad = mount_create(templates, MOUNT_PROC, text, sizeof(text));
                uint64_t good_id = 0, bad_id = 0;

                fake_cover(covered);
                ck_assert_int_eq(mount_identify(features, good, &good_id), 0);
                ck_assert_int_eq(mount_identify(features, bad, &bad_id), 0);
                ck_assert_int_eq(mount_attach(good, free), 0);
                ck_assert_int_eq(mount_attach(bad, covered), 0);
                ck_assert_int_eq(
                        mount_verify(features, good, good_id, facts_of(features, free, f % 2)), 0);
                ck_assert_int_eq(
                        mount_verify(features, bad, bad_id, facts_of(features, covered, f % 2)),
                        -EBUSY);
                fake_uncover(free);
                ck_assert_int_eq(
                        mount_verify(features, good, good_id, facts_of(features, free, f % 2)),
                        -ENOENT);
                mount_templates_free(templates);
        }
}
END_TEST

START_TEST(what_can_not_be_verified_is_an_error) {
        for (size_t f = 0; f < N_FEATURE_SETS; f++) {
                unsigned features = feature_sets[f], calls;
                struct mount_templates *templates = templates_new(features);
                FD_AUTO int directory = fake_directory(&(struct fake_directory){.path = "/proc"});
                char text[256];
                FD_AUTO int mount = mount_create(templates, MOUNT_PROC, text, sizeof(text));
                const struct target_facts *facts = facts_of(features, directory, false);
                uint64_t id = 0;

                ck_assert_int_eq(mount_identify(features, mount, &id), 0);
                ck_assert_int_eq(mount_attach(mount, directory), 0);
                fake_calls_reset();
                ck_assert_int_eq(mount_verify(features, mount, id, facts), 0);
                calls = fake_calls(FAKE_ANY);
                ck_assert_uint_gt(calls, 0);
                for (unsigned n = 1; n <= calls; n++) {
                        fake_calls_reset();
                        fake_fail(FAKE_ANY, n, 1, EMFILE);
                        ck_assert_int_eq(mount_verify(features, mount, id, facts), -EMFILE);
                }
                fake_calls_reset();
                mount_templates_free(templates);
        }
}
END_TEST

START_TEST(reads_no_mount_table_where_there_is_statmount) {
        struct mount_templates *templates = templates_new(FAKE_ALL_FEATURES);
        FD_AUTO int directory = fake_directory(&(struct fake_directory){.path = "/proc"});
        char text[256];
        FD_AUTO int mount = mount_create(templates, MOUNT_PROC, text, sizeof(text));
        uint64_t id = 0;

        ck_assert_int_eq(mount_identify(FAKE_ALL_FEATURES, mount, &id), 0);
        ck_assert_int_eq(mount_attach(mount, directory), 0);
        ck_assert_int_eq(mount_verify(FAKE_ALL_FEATURES, mount, id,
                                      facts_of(FAKE_ALL_FEATURES, directory, false)),
                         0);
        ck_assert_uint_eq(fake_calls(FAKE_MOUNTINFO), 0);
        mount_templates_free(templates);
}
END_TEST

int main(void) {
        return SUITE_RUN(
                "mount", finds_out_what_the_kernel_can_do,
                unique_ids_and_statmount_are_of_use_together, takes_any_error_of_a_probe_for_no,
                does_not_take_a_shortage_for_an_answer, does_not_start_without_procfs_and_sysfs,
                forces_options_and_attributes_on_every_kind, clones_one_template_per_kind,
                makes_a_superblock_each_where_it_can_not_clone,
                failed_creation_leaves_nothing_and_tells_the_kernels_words,
                without_the_option_pids_only_is_the_kernels_error,
                identity_stays_the_same_when_it_is_attached, takes_no_reusable_id_for_a_unique_one,
                verifies_that_it_sits_on_the_directory_itself, what_can_not_be_verified_is_an_error,
                reads_no_mount_table_where_there_is_statmount);
}
